//! Is a workload injected?

use std::fmt;

use crate::{
    annotation::{Annotations, INJECT, Inject},
    template::Template,
    values::Values,
};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There are these two.
pub enum Origin {
    /// The API server, for every new pod: annotations say whether it is wanted.
    Webhook,
    /// A person: it is wanted unless the workload forbids it.
    Cli,
}

/// Which annotation asks for injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There are these two.
pub enum AnnotationAt {
    /// The namespace's.
    Namespace,
    /// The workload's.
    Workload,
}

/// Why a workload is not injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Redirecting its connections would redirect the node's.
    HostNetwork,
    /// There is a proxy already.
    SidecarExists,
    /// It makes no pods.
    UnsupportedResource,
    /// Nobody asks for it.
    InjectAnnotationAbsent,
    /// The workload forbids it.
    InjectAnnotationDisabled,
    /// The namespace's annotation means nothing.
    InvalidAnnotationAtNamespace,
    /// The workload's annotation means nothing.
    InvalidAnnotationAtWorkload,
    /// The proxy could not prove who it is.
    NoServiceAccountToken,
    /// Only told: UDP goes past the proxy.
    UdpPorts,
}

/// Whether a workload is injected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It is, or it is not.
pub enum Decision {
    /// It is.
    Inject(AnnotationAt),
    /// It is not, for at least one reason.
    Skip(Vec<Reason>),
}

/// Decides about a workload. `template` is `None` for objects that make no pods.
#[must_use]
pub fn decide(origin: Origin, template: Option<Template<'_>>, namespace: &Annotations, values: &Values) -> Decision {
    let Some(template) = template else {
        return Decision::Skip(vec![Reason::UnsupportedResource]);
    };
    let mut reasons = Vec::new();
    if template.has_host_network() {
        reasons.push(Reason::HostNetwork);
    }
    if template.has_sidecar() {
        reasons.push(Reason::SidecarExists);
    }
    let asked = match origin {
        Origin::Webhook => asked(&template.annotations(), namespace),
        Origin::Cli if template.annotations().get(INJECT).is_some_and(|value| value == "disabled") => Err(Reason::InjectAnnotationDisabled),
        Origin::Cli => Ok(AnnotationAt::Workload),
    };
    reasons.extend(asked.err());
    if !values.identity.service_account_token_projection && !has_token(origin, template) {
        reasons.push(Reason::NoServiceAccountToken);
    }
    match asked {
        Ok(at) if reasons.is_empty() => Decision::Inject(at),
        _ => Decision::Skip(reasons),
    }
}

/// What the annotations ask for.
fn asked(pod: &Annotations, namespace: &Annotations) -> Result<AnnotationAt, Reason> {
    let namespace = Inject::of(namespace).map_err(|_| Reason::InvalidAnnotationAtNamespace)?;
    let pod = Inject::of(pod).map_err(|_| Reason::InvalidAnnotationAtWorkload)?;
    let wanted = |inject: Option<Inject>| matches!(inject, Some(Inject::Enabled | Inject::Ingress));
    match pod {
        Some(Inject::Disabled) if wanted(namespace) => Err(Reason::InjectAnnotationDisabled),
        _ if wanted(namespace) => Ok(AnnotationAt::Namespace),
        _ if wanted(pod) => Ok(AnnotationAt::Workload),
        _ => Err(Reason::InjectAnnotationAbsent),
    }
}

/// A new pod has been given its mount; a template says whether it will be.
fn has_token(origin: Origin, template: Template<'_>) -> bool {
    template.mounts_token() && (origin == Origin::Cli || template.token_mount().is_some())
}

impl AnnotationAt {
    /// In metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Workload => "workload",
        }
    }
}

impl Reason {
    /// In metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::HostNetwork => "host_network_enabled",
            Self::SidecarExists => "sidecar_already_exists",
            Self::UnsupportedResource => "unsupported_resource",
            Self::InjectAnnotationAbsent => "injection_enable_annotation_absent",
            Self::InjectAnnotationDisabled => "injection_disable_annotation_present",
            Self::InvalidAnnotationAtNamespace => "invalid_inject_annotation_at_ns",
            Self::InvalidAnnotationAtWorkload => "invalid_inject_annotation_at_workload",
            Self::NoServiceAccountToken => "disabled_automount_service_account_token_account",
            Self::UdpPorts => "udp_ports_enabled",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostNetwork => "hostNetwork is enabled",
            Self::SidecarExists => "pod has a sidecar injected already",
            Self::UnsupportedResource => "this resource kind is unsupported",
            Self::InjectAnnotationAbsent => "neither the namespace nor the pod have the annotation \"linkerd.io/inject:enabled\"",
            Self::InjectAnnotationDisabled => "pod has the annotation \"linkerd.io/inject:disabled\"",
            Self::InvalidAnnotationAtNamespace => "invalid value for annotation \"linkerd.io/inject\" at namespace",
            Self::InvalidAnnotationAtWorkload => "invalid value for annotation \"linkerd.io/inject\" at workload",
            Self::NoServiceAccountToken => {
                "automountServiceAccountToken set to \"false\", with Values.identity.serviceAccountTokenProjection set to \"false\""
            }
            Self::UdpPorts => "UDP port(s) configured on pod spec",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judge(origin: Origin, pod: &Value, namespace: &str, values: &Values) -> Result<&'static str, Vec<&'static str>> {
        let namespace = [(INJECT.to_owned(), namespace.to_owned())].into();
        match decide(origin, Some(Template::new(pod)), &namespace, values) {
            Decision::Inject(at) => Ok(at.as_str()),
            Decision::Skip(reasons) => Err(reasons.iter().map(|reason| reason.code()).collect()),
        }
    }

    #[test]
    fn namespace_and_workload_decide_together() {
        const ABSENT: &str = "injection_enable_annotation_absent";
        const DISABLED: &str = "injection_disable_annotation_present";
        let table = [
            ("what", "enabled", Err("invalid_inject_annotation_at_ns")),
            ("enabled", "what", Err("invalid_inject_annotation_at_workload")),
            ("", "what", Err("invalid_inject_annotation_at_workload")),
            ("enabled", "", Ok("namespace")),
            ("ingress", "enabled", Ok("namespace")),
            ("enabled", "ingress", Ok("namespace")),
            ("ingress", "disabled", Err(DISABLED)),
            ("", "enabled", Ok("workload")),
            ("disabled", "ingress", Ok("workload")),
            ("", "", Err(ABSENT)),
            ("disabled", "disabled", Err(ABSENT)),
            ("", "disabled", Err(ABSENT)),
        ];
        for (namespace, pod, expected) in table {
            let template = json!({"metadata": {"annotations": {INJECT: pod}}});
            let found = judge(Origin::Webhook, &template, namespace, &Values::default());
            assert_eq!(found, expected.map_err(|code| vec![code]), "{namespace:?} {pod:?}");
        }
    }

    #[test]
    fn every_reason_is_collected() {
        let mut values = Values::default();
        values.identity.service_account_token_projection = false;
        let pod = json!({"spec": {"hostNetwork": true, "automountServiceAccountToken": false, "containers": [{"name": "istio-proxy"}]}});
        let reasons = judge(Origin::Webhook, &pod, "", &values).unwrap_err();
        let wanted = [
            "host_network_enabled",
            "sidecar_already_exists",
            "injection_enable_annotation_absent",
            "disabled_automount_service_account_token_account",
        ];
        assert_eq!(reasons, wanted);
        assert_eq!(decide(Origin::Cli, None, &Annotations::new(), &values), Decision::Skip(vec![Reason::UnsupportedResource]));
    }

    #[test]
    fn the_token_matters_only_without_projection() {
        let mut values = Values::default();
        let pod = json!({"spec": {"containers": [{"name": "a"}]}});
        assert_eq!(judge(Origin::Webhook, &pod, "enabled", &values), Ok("namespace"));
        values.identity.service_account_token_projection = false;
        assert!(judge(Origin::Webhook, &pod, "enabled", &values).is_err(), "no mount in the first container");
        assert_eq!(judge(Origin::Cli, &pod, "", &values), Ok("workload"), "a template has no mounts yet");
        let mount = json!({"name": "t", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
        let pod = json!({"spec": {"containers": [{"name": "a", "volumeMounts": [mount]}]}});
        assert_eq!(judge(Origin::Webhook, &pod, "enabled", &values), Ok("namespace"));
    }

    #[test]
    fn a_person_asks_unless_the_workload_forbids_it() {
        let pod = |inject: &str| json!({"metadata": {"annotations": {INJECT: inject}}});
        assert_eq!(judge(Origin::Cli, &pod("disabled"), "", &Values::default()), Err(vec!["injection_disable_annotation_present"]));
        assert_eq!(judge(Origin::Cli, &pod("enabled"), "what", &Values::default()), Ok("workload"));
    }
}
