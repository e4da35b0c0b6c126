//! The part of the configuration that injection needs: the Helm values in ConfigMap `linkerd-config`.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The settings with their names and defaults of the charts.
macro_rules! values {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[allow(clippy::exhaustive_structs)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    )*};
}

values! {
    /// Everything that injection needs to know of the mesh. Unknown values are left alone.
    Values {
        /// Namespace of the control plane. Not in the file: the injector knows where it runs.
        namespace: String = "linkerd".to_owned(),
        /// The DNS domain of the cluster.
        cluster_domain: String = "cluster.local".to_owned(),
        /// The last part of every identity; the cluster's domain if empty.
        identity_trust_domain: String = String::new(),
        /// Networks whose addresses belong to the cluster.
        cluster_networks: String = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8".to_owned(),
        /// PEM.
        #[serde(rename = "identityTrustAnchorsPEM")]
        identity_trust_anchors_pem: String = String::new(),
        /// The version of everything that has none of its own.
        linkerd_version: String = env!("CARGO_PKG_VERSION").to_owned(),
        /// When images are pulled.
        image_pull_policy: String = "IfNotPresent".to_owned(),
        /// Redirection is set up by the CNI plugin.
        cni_enabled: bool = false,
        /// Only IPv4.
        #[serde(rename = "disableIPv6")]
        disable_ipv6: bool = true,
        /// How workloads prove who they are.
        identity: Identity = Identity::default(),
        /// The proxy.
        proxy: Proxy = Proxy::default(),
        /// What redirects connections to it.
        proxy_init: ProxyInit = ProxyInit::default(),
        /// What proves that they are redirected.
        network_validator: NetworkValidator = NetworkValidator::default(),
        /// A container with tools.
        debug_container: DebugContainer = DebugContainer::default(),
    }

    /// How workloads prove who they are.
    Identity {
        /// Each pod gets a token for the identity controller alone.
        service_account_token_projection: bool = true,
    }

    /// The proxy.
    Proxy {
        /// The application's containers wait until the proxy is ready.
        r#await: bool = true,
        /// The proxy is an init container that goes on running.
        native_sidecar: bool = true,
        /// How long the proxy goes on after it is told to stop.
        wait_before_exit_seconds: u32 = 0,
        /// Its image.
        image: Image = Image::named("ghcr.io/meshkit/meshkit-proxy"),
        /// Its log filter.
        log_level: String = "warn,linkerd=info,hickory=error".to_owned(),
        /// `plain` or `json`.
        log_format: String = "plain".to_owned(),
        /// `insecure` to let headers into the log.
        #[serde(rename = "logHTTPHeaders")]
        log_http_headers: String = "off".to_owned(),
        /// `apache` or `json`.
        access_log: String = String::new(),
        /// Where it listens.
        ports: Ports = Ports::default(),
        /// The user that it runs as.
        uid: i64 = 2102,
        /// The group; none if negative.
        gid: i64 = -1,
        /// Ports whose protocol is not looked at.
        opaque_ports: String = crate::ports::DEFAULT_OPAQUE.to_owned(),
        /// Ports of the pod's containers; found out by the injector.
        pod_inbound_ports: String = String::new(),
        /// Ports that admit only meshed clients.
        require_identity_on_inbound_ports: String = String::new(),
        /// Ports that admit only TLS.
        #[serde(rename = "requireTLSOnInboundPorts")]
        require_tls_on_inbound_ports: String = String::new(),
        /// What a port without a Server allows.
        default_inbound_policy: String = "all-unauthenticated".to_owned(),
        /// How long connecting may take.
        outbound_connect_timeout: String = "1000ms".to_owned(),
        /// How long connecting to the application may take.
        inbound_connect_timeout: String = "100ms".to_owned(),
        /// How long an unused destination is remembered.
        outbound_discovery_cache_unused_timeout: String = "5s".to_owned(),
        /// How long an unused port's policy is remembered.
        inbound_discovery_cache_unused_timeout: String = "90s".to_owned(),
        /// Wait for the first bytes of outgoing connections as long as it takes.
        disable_outbound_protocol_detect_timeout: bool = false,
        /// Wait for the first bytes of incoming connections as long as it takes.
        disable_inbound_protocol_detect_timeout: bool = false,
        /// Destinations outside of the cluster may have profiles.
        enable_external_profiles: bool = false,
        /// `POST /shutdown` stops the proxy.
        enable_shutdown_endpoint: bool = false,
        /// How long open connections may go on at the end.
        shutdown_grace_period: String = String::new(),
        /// Hands on what comes from another cluster.
        is_gateway: bool = false,
        /// Goes by the header `l5d-dst-override`.
        is_ingress: bool = false,
        /// Threads; `runtime` is newer.
        cores: Option<u32> = None,
        /// Threads.
        runtime: Runtime = Runtime::default(),
        /// What it may use.
        resources: Resources = Resources::default(),
        /// How it talks to the control plane.
        control: Control = Control::default(),
        /// Scope, protocol and parameter to value, of connections that come in: `server.http2.keepAliveInterval`.
        inbound: Map<String, Value> = keep_alive(),
        /// The same of connections that go out.
        outbound: Map<String, Value> = keep_alive(),
        /// Is it alive?
        liveness_probe: Probe = Probe { initial_delay_seconds: 10, timeout_seconds: Some(1), ..Probe::default() },
        /// Is it ready?
        readiness_probe: Probe = Probe { initial_delay_seconds: 2, timeout_seconds: Some(1), ..Probe::default() },
        /// Has it started?
        startup_probe: Probe = Probe { period_seconds: Some(1), failure_threshold: Some(120), ..Probe::default() },
        /// What metrics tell.
        metrics: Metrics = Metrics::default(),
        /// Where traces go.
        tracing: Tracing = Tracing::default(),
        /// Further variables, each with `name` and `value` or `valueFrom`.
        additional_env: Vec<Value> = Vec::new(),
        /// Further variables, behind those.
        experimental_env: Vec<Value> = Vec::new(),
    }

    /// An image.
    Image {
        /// Registry and name.
        name: String = String::new(),
        /// Its tag; the mesh's version if empty.
        version: String = String::new(),
        /// When it is pulled; as all images if empty.
        pull_policy: String = String::new(),
        /// Where programs lie in it: `meshkit` or `linkerd`. Follows from the name if empty.
        layout: String = String::new(),
    }

    /// Where the proxy listens.
    Ports {
        /// Metrics and probes.
        admin: u16 = 4191,
        /// Tap.
        control: u16 = 4190,
        /// What comes to the pod.
        inbound: u16 = 4143,
        /// What the application sends.
        outbound: u16 = 4140,
    }

    /// Threads.
    Runtime {
        /// How many.
        workers: Workers = Workers::default(),
    }

    /// Threads.
    Workers {
        /// At least.
        minimum: u32 = 1,
        /// At most.
        maximum: Option<u32> = None,
        /// At most this share of the node's.
        #[serde(rename = "maximumCPURatio")]
        maximum_cpu_ratio: Option<f64> = None,
    }

    /// What a container asks for, and what it may use.
    Resources {
        /// Processors.
        cpu: Bounds = Bounds::default(),
        /// Memory.
        memory: Bounds = Bounds::default(),
        /// Disk.
        #[serde(rename = "ephemeral-storage")]
        ephemeral_storage: Bounds = Bounds::default(),
    }

    /// Two quantities; empty ones are not said.
    Bounds {
        /// What is asked for.
        #[serde(deserialize_with = "text")]
        request: String = String::new(),
        /// What is the most.
        #[serde(deserialize_with = "text")]
        limit: String = String::new(),
    }

    /// How the proxy talks to the control plane.
    Control {
        /// Its watches.
        streams: Streams = Streams::default(),
    }

    /// How long watches last.
    Streams {
        /// Until the first answer.
        initial_timeout: String = "3s".to_owned(),
        /// Without an answer.
        idle_timeout: String = "5m".to_owned(),
        /// At most.
        lifetime: String = "1h".to_owned(),
    }

    /// A probe of the kubelet.
    Probe {
        /// Before the first.
        initial_delay_seconds: u32 = 0,
        /// Between two.
        period_seconds: Option<u32> = None,
        /// For one.
        timeout_seconds: Option<u32> = None,
        /// How many in a row count.
        failure_threshold: Option<u32> = None,
    }

    /// What metrics tell.
    Metrics {
        /// Names of hosts outside.
        hostname_labels: bool = false,
    }

    /// Where traces go.
    Tracing {
        /// They are sent at all.
        enabled: bool = false,
        /// The name of the service if the pod has no label that says it.
        trace_service_name: String = "linkerd-proxy".to_owned(),
        /// Who collects them.
        collector: Collector = Collector::default(),
        /// Attributes of all of them.
        labels: BTreeMap<String, String> = trace_labels(),
    }

    /// Who collects traces.
    Collector {
        /// `host:port`.
        endpoint: String = String::new(),
        /// Its identity.
        mesh_identity: MeshIdentity = MeshIdentity::default(),
    }

    /// A meshed workload.
    MeshIdentity {
        /// Its service account.
        service_account_name: String = String::new(),
        /// Its namespace.
        namespace: String = String::new(),
    }

    /// What redirects connections to the proxy.
    ProxyInit {
        /// The image of our own proxies' init container; a stock proxy's is its own.
        image: Image = Image::named("ghcr.io/meshkit/meshkit-init"),
        /// `nft`, `legacy`.
        iptables_mode: String = "nft".to_owned(),
        /// Ports that do not go to the proxy, besides its own.
        #[serde(deserialize_with = "text")]
        ignore_inbound_ports: String = "4567,4568".to_owned(),
        /// Ports of others that do not go through the proxy.
        #[serde(deserialize_with = "text")]
        ignore_outbound_ports: String = "4567,4568".to_owned(),
        /// Ports of the API server, that the control plane reaches without its proxies.
        #[serde(rename = "kubeAPIServerPorts", deserialize_with = "text")]
        kube_api_server_ports: String = "443,6443".to_owned(),
        /// Networks whose connections do not go to the proxy.
        skip_subnets: String = String::new(),
        /// `plain` or `json`.
        log_format: String = String::new(),
        /// Its log level.
        log_level: String = String::new(),
        /// How long the kernel remembers connections that one side has closed; 0 leaves it.
        close_wait_timeout_secs: u64 = 0,
        /// Runs with every privilege.
        privileged: bool = false,
        /// Runs as root.
        run_as_root: bool = false,
        /// The user that it runs as otherwise.
        run_as_user: u32 = 65534,
        /// Its group.
        run_as_group: u32 = 65534,
        /// Where iptables keeps its lock.
        xt_mount_path: XtMountPath = XtMountPath::default(),
    }

    /// Where iptables keeps its lock.
    XtMountPath {
        /// The directory.
        mount_path: String = "/run".to_owned(),
        /// The volume.
        name: String = "linkerd-proxy-init-xtables-lock".to_owned(),
    }

    /// What proves that connections are redirected.
    NetworkValidator {
        /// Its log level.
        log_level: String = "debug".to_owned(),
        /// `plain` or `json`.
        log_format: String = "plain".to_owned(),
        /// An address outside; follows from the family if empty.
        connect_addr: String = String::new(),
        /// Where the proxy will accept what the application sends; follows from the family if empty.
        listen_addr: String = String::new(),
        /// How long it may take.
        timeout: String = "10s".to_owned(),
        /// With a security context of its own.
        enable_security_context: bool = true,
    }

    /// A container with tools.
    DebugContainer {
        /// It is added.
        enabled: bool = false,
        /// Its image.
        image: Image = Image::named("cr.l5d.io/linkerd/debug"),
    }
}

/// The values cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValues(String);

/// Takes away every `key:` behind which nothing stands: Helm leaves them where there is nothing to say.
fn prune(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Values that are text or a number.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn keep_alive() -> Map<String, Value> {
    let http2 = serde_json::json!({"server": {"http2": {"keepAliveInterval": "10s", "keepAliveTimeout": "3s"}}});
    http2.as_object().cloned().unwrap_or_default()
}

fn trace_labels() -> BTreeMap<String, String> {
    let labels = [("k8s.pod.ip", "$(_pod_ip)"), ("k8s.pod.uid", "$(_pod_uid)"), ("k8s.container.name", "$(_pod_containerName)")];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl fmt::Display for InvalidValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the values of the mesh cannot be read: {}", self.0)
    }
}

impl std::error::Error for InvalidValues {}

impl Image {
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl Values {
    /// Reads the file `values` of ConfigMap `linkerd-config`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(yaml: &str, namespace: &str) -> Result<Self, InvalidValues> {
        let invalid = |what: String| InvalidValues(what);
        let mut tree: Value = match yaml.trim() {
            "" => Value::Null,
            _ => serde_saphyr::from_str(yaml).map_err(|error| invalid(error.without_snippet().to_string()))?,
        };
        prune(&mut tree);
        if tree.is_null() {
            tree = Value::Object(Map::new());
        }
        let mut values: Self = serde_json::from_value(tree).map_err(|error| invalid(error.to_string()))?;
        namespace.clone_into(&mut values.namespace);
        Ok(values)
    }

    /// The last part of every identity.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        if self.identity_trust_domain.is_empty() { &self.cluster_domain } else { &self.identity_trust_domain }
    }

    /// The proxy's version.
    #[must_use]
    pub fn proxy_version(&self) -> &str {
        if self.proxy.image.version.is_empty() { &self.linkerd_version } else { &self.proxy.image.version }
    }

    /// The identity of a service account.
    #[must_use]
    pub fn identity_of(&self, account: &str, namespace: &str) -> String {
        format!("{account}.{namespace}.serviceaccount.identity.{}.{}", self.namespace, self.trust_domain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults_and_null_is_nothing_said() {
        assert_eq!(Values::parse("", "linkerd").unwrap(), Values::default());
        let values = Values::parse("proxy:\n  resources:\n    cpu:\n      request:\n  accessLog:\n", "mesh").unwrap();
        assert_eq!((values.namespace.as_str(), values.proxy.access_log.as_str()), ("mesh", ""));
        assert_eq!(values.proxy.uid, 2102);
    }

    #[test]
    fn values_have_the_names_of_the_charts() {
        let values = Values::parse(
            "identityTrustDomain: td\nidentityTrustAnchorsPEM: |\n  PEM\ndisableIPv6: false\nunknown: [1]\nproxy:\n  await: false\n  logHTTPHeaders: insecure\n  \
             resources: {cpu: {limit: 2, request: 100m}, ephemeral-storage: {limit: 1Gi}}\n  runtime: {workers: {maximumCPURatio: 0.5}}\n\
             proxyInit: {kubeAPIServerPorts: 443, ignoreInboundPorts: '25,26'}\n",
            "linkerd",
        )
        .unwrap();
        assert_eq!(values.identity_of("web", "emojivoto"), "web.emojivoto.serviceaccount.identity.linkerd.td");
        assert_eq!(values.identity_trust_anchors_pem, "PEM\n");
        assert!(!values.disable_ipv6 && !values.proxy.r#await);
        assert_eq!((values.proxy.resources.cpu.limit.as_str(), values.proxy.resources.cpu.request.as_str()), ("2", "100m"));
        assert_eq!(values.proxy.runtime.workers, Workers { minimum: 1, maximum: None, maximum_cpu_ratio: Some(0.5) });
        assert_eq!(values.proxy_init.kube_api_server_ports, "443");
    }
}
