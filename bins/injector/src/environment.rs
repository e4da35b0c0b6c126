//! The environment of a workload's proxy.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;

/// Annotation prefix of the settings of one workload.
const PREFIX: &str = "config.linkerd.io/";

/// What is the same for every proxy of a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Namespace of the control plane: `linkerd`.
    pub namespace: String,
    /// The DNS domain of the cluster: `cluster.local`.
    pub cluster_domain: String,
    /// The last part of every identity.
    pub trust_domain: String,
    /// `host:port` of the destination API.
    pub destination: String,
    /// `host:port` of the policy API.
    pub policy: String,
    /// `host:port` of the identity API.
    pub identity: String,
    /// PEM.
    pub trust_anchors: String,
    /// Networks whose addresses belong to the cluster.
    pub cluster_networks: Vec<IpNet>,
    /// What a port without a Server allows, unless the workload says otherwise.
    pub default_inbound_policy: String,
    /// The log filter, unless the workload says otherwise.
    pub log: String,
}

/// What is told apart from one proxy to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Its service account.
    pub service_account: &'a str,
    /// The node it runs on.
    pub node: &'a str,
    /// The pod's addresses.
    pub ips: &'a [IpAddr],
    /// Ports of its containers and of their HTTP probes.
    pub ports: &'a [u16],
    /// The pod's annotations, those inherited from the namespace included.
    pub annotations: &'a BTreeMap<String, String>,
    /// Where the proxy listens: the wildcard address in a pod, the replica's own address on a shared machine.
    pub listen: IpAddr,
    /// Where the proxy accepts what the application sends: the loopback address in a pod.
    pub listen_outbound: IpAddr,
    /// Holds the proxy's key and signing request.
    pub identity_dir: &'a str,
    /// Holds the token that proves the service account.
    pub token_file: &'a str,
}

/// An annotation whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnnotation {
    key: String,
    value: String,
    wanted: &'static str,
}

/// Annotations whose value becomes a variable as it is.
const VERBATIM: &[(&str, &str)] = &[
    ("access-log", "LINKERD2_PROXY_ACCESS_LOG"),
    ("proxy-log-format", "LINKERD2_PROXY_LOG_FORMAT"),
    ("proxy-metrics-hostname-labels", "LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS"),
    ("proxy-cpu-ratio-limit", "LINKERD2_PROXY_CORES_MAX_RATIO"),
    ("proxy-require-identity-inbound-ports", "LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY"),
    ("shutdown-grace-period", "LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD"),
    ("proxy-inbound-connect-timeout", "LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT"),
    ("proxy-outbound-connect-timeout", "LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT"),
    ("proxy-inbound-discovery-cache-unused-timeout", "LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT"),
    ("proxy-outbound-discovery-cache-unused-timeout", "LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT"),
    ("opaque-ports", "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"),
];

/// Ports that carry protocols in which the server speaks first, opaque unless a workload says otherwise.
const DEFAULT_OPAQUE_PORTS: &str = "25,587,3306,4444,5432,6379,9300,11211";

const DEFAULT_POLICIES: &[&str] =
    &["all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated", "deny", "audit"];

/// The variables of a workload's proxy, in the order in which a manifest lists them.
///
/// # Errors
/// An annotation of the workload has a value that the proxy would refuse.
pub fn environment(mesh: &Mesh, workload: &Workload<'_>) -> Result<Vec<(String, String)>, Vec<BadAnnotation>> {
    let mut faults = Vec::new();
    let mut port = |key: &str, default: u16| match workload.annotations.get(&format!("{PREFIX}{key}")) {
        None => default,
        Some(value) => value.parse().ok().filter(|p| *p != 0).unwrap_or_else(|| {
            faults.push(BadAnnotation { key: format!("{PREFIX}{key}"), value: value.clone(), wanted: "a port from 1 to 65535" });
            default
        }),
    };
    let (control, admin) = (port("control-port", 4190), port("admin-port", 4191));
    let (inbound, outbound) = (port("inbound-port", 4143), port("outbound-port", 4140));
    let annotation = |key: &str| workload.annotations.get(&format!("{PREFIX}{key}")).map(String::as_str);
    let default_policy = annotation("default-inbound-policy").unwrap_or(&mesh.default_inbound_policy);
    if !DEFAULT_POLICIES.contains(&default_policy) {
        faults.push(BadAnnotation {
            key: format!("{PREFIX}default-inbound-policy"),
            value: default_policy.to_owned(),
            wanted: "one of all-unauthenticated, all-authenticated, cluster-unauthenticated, cluster-authenticated, deny, audit",
        });
    }
    if !faults.is_empty() {
        return Err(faults);
    }

    let Workload { namespace, pod, node, service_account, .. } = workload;
    let networks = join(&mesh.cluster_networks);
    let account = |sa: &str, ns: &str| format!("{sa}.{ns}.serviceaccount.identity.{}.{}", mesh.namespace, mesh.trust_domain);
    let controller = |name: &str| account(name, &mesh.namespace);
    let address = |port: u16| std::net::SocketAddr::new(workload.listen, port).to_string();
    let suffixes = match annotation("enable-external-profiles") {
        Some("true") => ".".to_owned(),
        _ => format!("svc.{}.", mesh.cluster_domain),
    };

    let mut env = Environment::default();
    env.set("LINKERD2_PROXY_LOG", annotation("proxy-log-level").unwrap_or(&mesh.log));
    env.set("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", annotation("proxy-admin-shutdown") == Some("enabled"));
    env.set("LINKERD2_PROXY_DESTINATION_SVC_ADDR", &mesh.destination);
    env.set("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", &networks);
    env.set("LINKERD2_PROXY_POLICY_SVC_ADDR", &mesh.policy);
    env.set("LINKERD2_PROXY_POLICY_WORKLOAD", format_args!(r#"{{"ns":"{namespace}", "pod":"{pod}"}}"#));
    env.set("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", default_policy);
    env.set("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", &networks);
    env.set("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s");
    env.set("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "5m");
    env.set("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "1h");
    env.set("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", "100ms");
    env.set("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "1000ms");
    env.set("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s");
    env.set("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s");
    if annotation("proxy-disable-outbound-protocol-detect-timeout") == Some("true") {
        env.set("LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT", "365d");
    }
    if annotation("proxy-disable-inbound-protocol-detect-timeout") == Some("true") {
        env.set("LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT", "365d");
    }
    env.set("LINKERD2_PROXY_CONTROL_LISTEN_ADDR", address(control));
    env.set("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", address(admin));
    env.set("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", std::net::SocketAddr::new(workload.listen_outbound, outbound));
    env.set("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", address(inbound));
    env.set("LINKERD2_PROXY_INBOUND_IPS", join(workload.ips));
    env.set("LINKERD2_PROXY_INBOUND_PORTS", join(workload.ports));
    if annotation("enable-gateway") == Some("true") {
        env.set("LINKERD2_PROXY_INBOUND_GATEWAY_SUFFIXES", format_args!("svc.{}.", mesh.cluster_domain));
    }
    if workload.annotations.get("linkerd.io/inject").map(String::as_str) == Some("ingress") {
        env.set("LINKERD2_PROXY_INGRESS_MODE", "true");
    }
    env.set("LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES", suffixes);
    env.set("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", "10000ms");
    env.set("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE", "10000ms");
    env.set("LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT", "30s");
    env.set("LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT", "30s");
    for direction in ["INBOUND", "OUTBOUND"] {
        env.set(&format!("LINKERD2_PROXY_{direction}_SERVER_HTTP2_KEEP_ALIVE_INTERVAL"), "10s");
        env.set(&format!("LINKERD2_PROXY_{direction}_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT"), "3s");
    }
    env.set("LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", DEFAULT_OPAQUE_PORTS);
    env.set("LINKERD2_PROXY_DESTINATION_CONTEXT", format_args!(r#"{{"ns":"{namespace}", "nodeName":"{node}", "pod":"{pod}"}}"#));
    env.set("LINKERD2_PROXY_IDENTITY_DIR", workload.identity_dir);
    env.set("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", &mesh.trust_anchors);
    env.set("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", workload.token_file);
    env.set("LINKERD2_PROXY_IDENTITY_SVC_ADDR", &mesh.identity);
    env.set("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", account(service_account, namespace));
    env.set("LINKERD2_PROXY_IDENTITY_SVC_NAME", controller("linkerd-identity"));
    env.set("LINKERD2_PROXY_DESTINATION_SVC_NAME", controller("linkerd-destination"));
    env.set("LINKERD2_PROXY_POLICY_SVC_NAME", controller("linkerd-destination"));
    for (key, variable) in VERBATIM {
        if let Some(value) = annotation(key) {
            env.set(variable, value);
        }
    }
    Ok(env.0)
}

/// Variables in order of their first mention; the last value wins.
#[derive(Default)]
struct Environment(Vec<(String, String)>);

impl Environment {
    fn set(&mut self, name: &str, value: impl fmt::Display) {
        let value = value.to_string();
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl fmt::Display for BadAnnotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}: {:?} is not {}", self.key, self.value, self.wanted)
    }
}

impl std::error::Error for BadAnnotation {}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> Mesh {
        Mesh {
            namespace: "linkerd".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            destination: "linkerd-dst-headless.linkerd.svc.cluster.local.:8086".to_owned(),
            policy: "linkerd-policy.linkerd.svc.cluster.local.:8090".to_owned(),
            identity: "linkerd-identity-headless.linkerd.svc.cluster.local.:8080".to_owned(),
            trust_anchors: "-----BEGIN CERTIFICATE-----".to_owned(),
            cluster_networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            default_inbound_policy: "all-unauthenticated".to_owned(),
            log: "warn,linkerd=info".to_owned(),
        }
    }

    fn with(annotations: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Vec<BadAnnotation>> {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let workload = Workload {
            namespace: "emojivoto",
            pod: "web-1",
            service_account: "web",
            node: "node-1",
            ips: &["10.0.0.7".parse().unwrap()],
            ports: &[8080, 8801],
            annotations: &annotations,
            listen: "0.0.0.0".parse().unwrap(),
            listen_outbound: "127.0.0.1".parse().unwrap(),
            identity_dir: "/var/run/linkerd/identity/end-entity",
            token_file: "/var/run/secrets/tokens/linkerd-identity-token",
        };
        environment(&mesh(), &workload).map(|env| env.into_iter().collect())
    }

    #[test]
    fn a_proxy_knows_who_it_is_and_whom_to_ask() {
        let env = with(&[]).unwrap();
        let is = |name: &str, value: &str| assert_eq!(env[&format!("LINKERD2_PROXY_{name}")], value);
        is("IDENTITY_LOCAL_NAME", "web.emojivoto.serviceaccount.identity.linkerd.cluster.local");
        is("POLICY_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local");
        is("POLICY_WORKLOAD", r#"{"ns":"emojivoto", "pod":"web-1"}"#);
        is("POLICY_CLUSTER_NETWORKS", "10.0.0.0/8,fd00::/8");
        is("INBOUND_PORTS", "8080,8801");
        is("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140");
        is("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local.");
    }

    #[test]
    fn annotations_change_the_defaults() {
        let env = with(&[
            ("config.linkerd.io/inbound-port", "5143"),
            ("config.linkerd.io/default-inbound-policy", "deny"),
            ("config.linkerd.io/opaque-ports", "9000"),
            ("config.linkerd.io/enable-external-profiles", "true"),
        ])
        .unwrap();
        assert_eq!(env["LINKERD2_PROXY_INBOUND_LISTEN_ADDR"], "0.0.0.0:5143");
        assert_eq!(env["LINKERD2_PROXY_INBOUND_DEFAULT_POLICY"], "deny");
        assert_eq!(env["LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"], "9000");
        assert_eq!(env["LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES"], ".");
    }

    #[test]
    fn every_bad_annotation_is_named() {
        let faults = with(&[("config.linkerd.io/admin-port", "0"), ("config.linkerd.io/default-inbound-policy", "allow")]).unwrap_err();
        let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(said[0], r#"annotation config.linkerd.io/admin-port: "0" is not a port from 1 to 65535"#);
        assert!(said[1].contains("default-inbound-policy"));
    }
}
