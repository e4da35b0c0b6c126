use crate::{annotation::Annotations, values::Values};

/// A setting that a flag of the command can change, as text.
type Setting = (&'static str, fn(&Values) -> String);

const SETTINGS: &[Setting] = &[
    ("config.linkerd.io/proxy-image", |v| v.proxy.image.name.clone()),
    ("config.linkerd.io/proxy-version", |v| v.proxy_version().to_owned()),
    ("config.linkerd.io/image-pull-policy", |v| v.proxy.image.pull_policy.clone()),
    ("config.linkerd.io/debug-image", |v| v.debug_container.image.name.clone()),
    ("config.linkerd.io/debug-image-version", |v| v.debug_container.image.version.clone()),
    ("config.linkerd.io/enable-debug-sidecar", |v| v.debug_container.enabled.to_string()),
    ("config.linkerd.io/skip-inbound-ports", |v| v.proxy_init.ignore_inbound_ports.clone()),
    ("config.linkerd.io/skip-outbound-ports", |v| v.proxy_init.ignore_outbound_ports.clone()),
    ("config.linkerd.io/skip-subnets", |v| v.proxy_init.skip_subnets.clone()),
    ("config.linkerd.io/close-wait-timeout", |v| format!("{}s", v.proxy_init.close_wait_timeout_secs)),
    ("config.linkerd.io/inbound-port", |v| v.proxy.ports.inbound.to_string()),
    ("config.linkerd.io/outbound-port", |v| v.proxy.ports.outbound.to_string()),
    ("config.linkerd.io/control-port", |v| v.proxy.ports.control.to_string()),
    ("config.linkerd.io/admin-port", |v| v.proxy.ports.admin.to_string()),
    ("config.linkerd.io/opaque-ports", |v| v.proxy.opaque_ports.clone()),
    ("config.linkerd.io/proxy-uid", |v| v.proxy.uid.to_string()),
    ("config.linkerd.io/proxy-gid", |v| v.proxy.gid.to_string()),
    ("config.linkerd.io/proxy-log-level", |v| v.proxy.log_level.clone()),
    ("config.linkerd.io/proxy-log-format", |v| v.proxy.log_format.clone()),
    ("config.linkerd.io/access-log", |v| v.proxy.access_log.clone()),
    ("config.linkerd.io/proxy-require-identity-inbound-ports", |v| v.proxy.require_identity_on_inbound_ports.clone()),
    ("config.linkerd.io/enable-external-profiles", |v| v.proxy.enable_external_profiles.to_string()),
    ("config.linkerd.io/proxy-metrics-hostname-labels", |v| v.proxy.metrics.hostname_labels.to_string()),
    ("config.linkerd.io/proxy-cpu-request", |v| v.proxy.resources.cpu.request.clone()),
    ("config.linkerd.io/proxy-cpu-limit", |v| v.proxy.resources.cpu.limit.clone()),
    ("config.linkerd.io/proxy-memory-request", |v| v.proxy.resources.memory.request.clone()),
    ("config.linkerd.io/proxy-memory-limit", |v| v.proxy.resources.memory.limit.clone()),
    ("config.linkerd.io/default-inbound-policy", |v| v.proxy.default_inbound_policy.clone()),
    ("config.linkerd.io/shutdown-grace-period", |v| v.proxy.shutdown_grace_period.clone()),
    ("config.linkerd.io/proxy-enable-native-sidecar", |v| v.proxy.native_sidecar.to_string()),
    ("config.linkerd.io/proxy-await", |v| if v.proxy.r#await { "enabled" } else { "disabled" }.to_owned()),
    ("config.alpha.linkerd.io/proxy-wait-before-exit-seconds", |v| v.proxy.wait_before_exit_seconds.to_string()),
    ("linkerd.io/inject", |v| if v.proxy.is_ingress { "ingress" } else { "enabled" }.to_owned()),
];

/// The annotations that make of the mesh's values the wanted ones: a workload has them if a flag said other than the mesh.
#[must_use]
pub fn overrides(mesh: &Values, wanted: &Values) -> Annotations {
    let differing = SETTINGS.iter().filter(|(_, of)| of(mesh) != of(wanted));
    differing.map(|(key, of)| ((*key).to_owned(), of(wanted))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overrides::Overridden;

    #[test]
    fn what_differs_becomes_annotations_that_say_it_again() {
        let mesh = Values::default();
        let mut wanted = mesh.clone();
        wanted.proxy.ports.admin = 5191;
        wanted.proxy.native_sidecar = false;
        wanted.proxy.r#await = false;
        wanted.proxy.is_ingress = true;
        wanted.proxy.wait_before_exit_seconds = 9;
        wanted.proxy_init.close_wait_timeout_secs = 60;
        wanted.proxy.resources.memory.limit = "250Mi".to_owned();
        wanted.proxy_init.ignore_inbound_ports = "25,8000-8080".to_owned();
        let annotations = overrides(&mesh, &wanted);
        assert_eq!(annotations.len(), 8, "{annotations:?}");
        let again = Overridden::of(&mesh, &annotations, &[]);
        assert_eq!((again.values, again.faults), (wanted, vec![]));
        assert!(overrides(&mesh, &mesh).is_empty());
    }

    #[test]
    fn every_setting_is_known() {
        assert!(SETTINGS.iter().all(|(key, _)| *key == crate::annotation::INJECT || crate::annotation::is_setting(key)));
    }
}
