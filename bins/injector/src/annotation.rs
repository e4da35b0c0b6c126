//! The annotations that speak to the injector, and those that it writes.

use std::{collections::BTreeMap, fmt};

/// Annotations of one object.
pub type Annotations = BTreeMap<String, String>;

/// Asks for injection: `enabled`, `ingress`, `disabled`.
pub const INJECT: &str = "linkerd.io/inject";
/// Prefix of the settings of one workload.
pub const CONFIG: &str = "config.linkerd.io/";
/// Prefix of settings that may go away.
pub const CONFIG_ALPHA: &str = "config.alpha.linkerd.io/";
/// Prefix of settings that may change.
pub const CONFIG_BETA: &str = "config.beta.linkerd.io/";
/// Prefix of attributes of traces.
pub const TRACE_ATTRIBUTE: &str = "resource.opentelemetry.io/";
/// Ports whose protocol is not looked at.
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// Who injected.
pub const CREATED_BY: &str = "linkerd.io/created-by";
/// The proxy's version.
pub const PROXY_VERSION: &str = "linkerd.io/proxy-version";
/// The SHA-256 of the trust anchors, in hexadecimal digits.
pub const TRUST_ROOT_SHA256: &str = "linkerd.io/trust-root-sha256";
/// Label: the control plane's namespace. A pod that has it is meshed.
pub const CONTROL_PLANE_NS: &str = "linkerd.io/control-plane-ns";
/// Label: the workload's namespace.
pub const WORKLOAD_NS: &str = "linkerd.io/workload-ns";
/// Label: which part of the control plane a pod is.
pub const COMPONENT: &str = "linkerd.io/control-plane-component";
/// Where our programs lie in the proxy image: `meshkit` or `linkerd`. Follows from the image's name unless given.
pub const PROXY_LAYOUT: &str = "config.mesh/proxy-layout";

/// Settings that a pod takes from its namespace if it has none itself.
const INHERITED: &[&str] = &[
    "config.linkerd.io/proxy-image",
    "config.linkerd.io/proxy-version",
    "config.linkerd.io/image-pull-policy",
    "config.linkerd.io/control-port",
    "config.linkerd.io/admin-port",
    "config.linkerd.io/inbound-port",
    "config.linkerd.io/outbound-port",
    "config.linkerd.io/pod-inbound-ports",
    "config.linkerd.io/proxy-cpu-request",
    "config.linkerd.io/proxy-cpu-limit",
    "config.linkerd.io/proxy-memory-request",
    "config.linkerd.io/proxy-memory-limit",
    "config.linkerd.io/proxy-ephemeral-storage-request",
    "config.linkerd.io/proxy-ephemeral-storage-limit",
    "config.linkerd.io/proxy-uid",
    "config.linkerd.io/proxy-gid",
    "config.linkerd.io/proxy-log-level",
    "config.linkerd.io/proxy-log-http-headers",
    "config.linkerd.io/proxy-log-format",
    "config.linkerd.io/access-log",
    "config.linkerd.io/proxy-require-identity-inbound-ports",
    "config.linkerd.io/default-inbound-policy",
    OPAQUE_PORTS,
    "config.linkerd.io/skip-inbound-ports",
    "config.linkerd.io/skip-outbound-ports",
    "config.linkerd.io/skip-subnets",
    "config.linkerd.io/proxy-outbound-connect-timeout",
    "config.linkerd.io/proxy-inbound-connect-timeout",
    "config.linkerd.io/proxy-outbound-discovery-cache-unused-timeout",
    "config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout",
    "config.linkerd.io/proxy-disable-outbound-protocol-detect-timeout",
    "config.linkerd.io/proxy-disable-inbound-protocol-detect-timeout",
    "config.linkerd.io/shutdown-grace-period",
    "config.linkerd.io/proxy-enable-native-sidecar",
    "config.linkerd.io/proxy-await",
    "config.linkerd.io/proxy-admin-shutdown",
    "config.linkerd.io/proxy-metrics-hostname-labels",
    "config.linkerd.io/enable-external-profiles",
    "config.linkerd.io/enable-debug-sidecar",
    "config.linkerd.io/proxy-additional-env",
    "config.alpha.linkerd.io/proxy-wait-before-exit-seconds",
    "config.alpha.linkerd.io/proxy-enable-native-sidecar",
    INJECT,
    PROXY_LAYOUT,
];

/// Settings of a pod alone.
const OWN: &[&str] = &[
    "config.linkerd.io/enable-gateway",
    "config.linkerd.io/proxy-cpu-ratio-limit",
    "config.linkerd.io/debug-image",
    "config.linkerd.io/debug-image-version",
    "config.linkerd.io/debug-image-pull-policy",
    "config.linkerd.io/close-wait-timeout",
    "config.beta.linkerd.io/proxy-enable-native-sidecar",
];

/// What [`INJECT`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The annotation has these three values.
pub enum Inject {
    /// `enabled`.
    Enabled,
    /// `ingress`: the proxy goes by the header `l5d-dst-override`.
    Ingress,
    /// `disabled`.
    Disabled,
}

/// A setting that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    key: String,
    nearest: Option<&'static str>,
}

impl Inject {
    /// Reads the annotation: nothing if it is missing or empty.
    ///
    /// # Errors
    /// The value, if it is none of the three.
    pub fn of(annotations: &Annotations) -> Result<Option<Self>, String> {
        match annotations.get(INJECT).map(String::as_str) {
            None | Some("") => Ok(None),
            Some("enabled") => Ok(Some(Self::Enabled)),
            Some("ingress") => Ok(Some(Self::Ingress)),
            Some("disabled") => Ok(Some(Self::Disabled)),
            Some(other) => Err(other.to_owned()),
        }
    }

    /// The annotation's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Ingress => "ingress",
            Self::Disabled => "disabled",
        }
    }
}

impl UnknownKey {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The key that was probably meant.
    #[must_use]
    pub const fn nearest(&self) -> Option<&'static str> {
        self.nearest
    }
}

/// Every setting that is inherited from the namespace, in a fixed order.
pub fn inherited() -> impl Iterator<Item = &'static str> {
    INHERITED.iter().copied()
}

/// What a pod lacks and its namespace has.
#[must_use]
pub fn inherit(pod: &Annotations, namespace: &Annotations) -> Annotations {
    let missing = inherited().filter(|key| !pod.contains_key(*key));
    missing.filter_map(|key| Some((key.to_owned(), namespace.get(key)?.clone()))).collect()
}

/// Is this the key of a setting?
#[must_use]
pub fn is_setting(key: &str) -> bool {
    key != INJECT && (INHERITED.contains(&key) || OWN.contains(&key) || key.starts_with(TRACE_ATTRIBUTE))
}

/// Settings that nobody knows.
#[must_use]
pub fn unknown(annotations: &Annotations) -> Vec<UnknownKey> {
    let ours = |key: &&String| [CONFIG, CONFIG_ALPHA, CONFIG_BETA].iter().any(|prefix| key.starts_with(prefix));
    let unknown = annotations.keys().filter(ours).filter(|key| !is_setting(key));
    unknown.map(|key| UnknownKey { key: key.clone(), nearest: nearest(key) }).collect()
}

/// The known key with the fewest letters changed; none if nearly everything would have to change.
fn nearest(key: &str) -> Option<&'static str> {
    let name = |key: &'static str| key.rsplit('/').next().unwrap_or(key);
    let wanted = key.rsplit('/').next().unwrap_or(key);
    let settings = INHERITED.iter().chain(OWN).filter(|key| **key != INJECT && **key != PROXY_LAYOUT);
    let (distance, found) = settings.map(|known| (distance(wanted, name(known)), *known)).min_by_key(|(distance, _)| *distance)?;
    (distance <= (wanted.len() / 3).max(2)).then_some(found)
}

/// Levenshtein's distance, in bytes. Keys are at most a few hundred long.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {} is not known and has no effect", self.key)?;
        self.nearest.map_or(Ok(()), |nearest| write!(f, "; did you mean {nearest}?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_pod_goes_before_its_namespace_and_some_settings_are_its_own() {
        let pod = map(&[("config.linkerd.io/proxy-log-level", "debug")]);
        let namespace = map(&[
            ("config.linkerd.io/proxy-log-level", "warn"),
            ("config.linkerd.io/skip-subnets", "10.0.0.0/8"),
            ("config.linkerd.io/enable-gateway", "true"),
            ("config.beta.linkerd.io/proxy-enable-native-sidecar", "true"),
            ("linkerd.io/inject", "ingress"),
            ("unrelated", "x"),
        ]);
        assert_eq!(inherit(&pod, &namespace), map(&[("config.linkerd.io/skip-subnets", "10.0.0.0/8"), ("linkerd.io/inject", "ingress")]));
    }

    #[test]
    fn an_unknown_key_is_told_with_the_nearest_known_one() {
        let unknown = unknown(&map(&[
            ("config.linkerd.io/skip-outbound-port", "25"),
            ("config.alpha.linkerd.io/proxy-wait-before-exit-secs", "5"),
            ("config.linkerd.io/zzz", ""),
            ("config.linkerd.io/proxy-uid", "1"),
            ("other.io/config", ""),
        ]));
        let said: Vec<_> = unknown.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "annotation config.alpha.linkerd.io/proxy-wait-before-exit-secs is not known and has no effect; \
                 did you mean config.alpha.linkerd.io/proxy-wait-before-exit-seconds?",
                "annotation config.linkerd.io/skip-outbound-port is not known and has no effect; \
                 did you mean config.linkerd.io/skip-outbound-ports?",
                "annotation config.linkerd.io/zzz is not known and has no effect",
            ]
        );
    }

    #[test]
    fn distances_are_counted_in_changes() {
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("kitten", "sitting")), (3, 3, 3));
    }
}
