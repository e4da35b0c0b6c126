//! The variables of a proxy, in their order: those of a pod's container and those of a process are made by one function.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::values::{Proxy, Values};

/// Where a variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It is this.
    Text(String),
    /// A field of the pod.
    Field(&'static str),
    /// A key of a ConfigMap.
    ConfigMap { name: &'static str, key: &'static str },
}

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) source: Source,
}

/// Where a proxy runs, in words that its environment understands: `$(_pod_ns)` in a pod.
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) node: &'a str,
    pub(crate) local_name: String,
    pub(crate) ips: Source,
    pub(crate) ports: String,
    /// The address that others reach it at.
    pub(crate) listen: String,
    /// Where it accepts what the application sends; all of them, and the first.
    pub(crate) listen_outbound: Vec<String>,
    pub(crate) destination: String,
    pub(crate) policy: String,
    pub(crate) identity: String,
    pub(crate) trust_anchors: Source,
    pub(crate) identity_dir: &'a str,
    pub(crate) token_file: &'a str,
    /// What stands before the identity's variables: those that the identity is put together from.
    pub(crate) identity_parts: Vec<Variable>,
    /// `k=v` lines of every trace.
    pub(crate) trace: Option<Trace>,
}

/// What traces say of a pod.
pub(crate) struct Trace {
    pub(crate) service_name: String,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Variable {
    pub(crate) fn text(name: &str, value: impl fmt::Display) -> Self {
        Self { name: name.to_owned(), source: Source::Text(value.to_string()) }
    }

    pub(crate) fn field(name: &str, path: &'static str) -> Self {
        Self { name: name.to_owned(), source: Source::Field(path) }
    }

    /// As a container has it.
    pub(crate) fn to_json(&self) -> Value {
        match &self.source {
            Source::Text(value) => json!({"name": self.name, "value": value}),
            Source::Field(path) => json!({"name": self.name, "valueFrom": {"fieldRef": {"fieldPath": path}}}),
            Source::ConfigMap { name, key } => json!({"name": self.name, "valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}),
        }
    }
}

/// Every variable that the proxy reads.
pub(crate) fn variables(values: &Values, place: Place<'_>) -> Vec<Variable> {
    let proxy = &values.proxy;
    let mut env = Environment::default();
    threads(&mut env, proxy);
    env.unless_empty("INBOUND_PORTS_REQUIRE_IDENTITY", &proxy.require_identity_on_inbound_ports);
    env.unless_empty("INBOUND_PORTS_REQUIRE_TLS", &proxy.require_tls_on_inbound_ports);
    env.set("SHUTDOWN_ENDPOINT_ENABLED", proxy.enable_shutdown_endpoint);
    let headers = if proxy.log_http_headers == "insecure" { "" } else { ",[{headers}]=off,[{request}]=off" };
    env.set("LOG", format_args!("{}{headers}", proxy.log_level));
    env.set("LOG_FORMAT", &proxy.log_format);
    control(&mut env, values, &place);
    env.set("INBOUND_CONNECT_TIMEOUT", &proxy.inbound_connect_timeout);
    env.set("OUTBOUND_CONNECT_TIMEOUT", &proxy.outbound_connect_timeout);
    env.set("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", &proxy.outbound_discovery_cache_unused_timeout);
    env.set("INBOUND_DISCOVERY_IDLE_TIMEOUT", &proxy.inbound_discovery_cache_unused_timeout);
    if proxy.disable_outbound_protocol_detect_timeout {
        env.set("OUTBOUND_DETECT_TIMEOUT", "365d");
    }
    if proxy.disable_inbound_protocol_detect_timeout {
        env.set("INBOUND_DETECT_TIMEOUT", "365d");
    }
    listeners(&mut env, values, &place);
    env.set("INBOUND_ACCEPT_KEEPALIVE", "10000ms");
    env.set("OUTBOUND_CONNECT_KEEPALIVE", "10000ms");
    env.set("INBOUND_ACCEPT_USER_TIMEOUT", "30s");
    env.set("OUTBOUND_CONNECT_USER_TIMEOUT", "30s");
    env.set("OUTBOUND_METRICS_HOSTNAME_LABELS", proxy.metrics.hostname_labels);
    if let Some(trace) = &place.trace {
        traces(&mut env, values, trace);
    }
    parameters(&mut env, "INBOUND", &proxy.inbound);
    parameters(&mut env, "OUTBOUND", &proxy.outbound);
    env.set("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", &proxy.opaque_ports);
    let Place { namespace, node, pod, .. } = place;
    env.set("DESTINATION_CONTEXT", format_args!(r#"{{"ns":"{namespace}", "nodeName":"{node}", "pod":"{pod}"}}"#));
    identity(&mut env, values, place);
    env.unless_empty("ACCESS_LOG", &proxy.access_log);
    env.unless_empty("SHUTDOWN_GRACE_PERIOD", &proxy.shutdown_grace_period);
    env.0
}

fn threads(env: &mut Environment, proxy: &Proxy) {
    let workers = &proxy.runtime.workers;
    let (minimum, maximum) = proxy.cores.map_or((workers.minimum, workers.maximum), |cores| (cores.max(1), Some(cores.max(1))));
    env.set("CORES", minimum);
    env.set("CORES_MIN", minimum);
    if let Some(maximum) = maximum {
        env.set("CORES_MAX", maximum);
    }
    if let Some(ratio) = workers.maximum_cpu_ratio {
        env.set("CORES_MAX_RATIO", ratio);
    }
}

/// Whom it asks, and as whom.
fn control(env: &mut Environment, values: &Values, place: &Place<'_>) {
    let streams = &values.proxy.control.streams;
    let Place { namespace, pod, .. } = place;
    env.set("DESTINATION_SVC_ADDR", &place.destination);
    env.set("DESTINATION_PROFILE_NETWORKS", &values.cluster_networks);
    env.set("POLICY_SVC_ADDR", &place.policy);
    env.set("POLICY_WORKLOAD", format_args!("{{\"ns\":\"{namespace}\", \"pod\":\"{pod}\"}}\n"));
    env.set("INBOUND_DEFAULT_POLICY", &values.proxy.default_inbound_policy);
    env.set("POLICY_CLUSTER_NETWORKS", &values.cluster_networks);
    env.set("CONTROL_STREAM_INITIAL_TIMEOUT", &streams.initial_timeout);
    env.set("CONTROL_STREAM_IDLE_TIMEOUT", &streams.idle_timeout);
    env.set("CONTROL_STREAM_LIFETIME", &streams.lifetime);
}

fn listeners(env: &mut Environment, values: &Values, place: &Place<'_>) {
    let (proxy, listen) = (&values.proxy, &place.listen);
    env.set("CONTROL_LISTEN_ADDR", format_args!("{listen}:{}", proxy.ports.control));
    env.set("ADMIN_LISTEN_ADDR", format_args!("{listen}:{}", proxy.ports.admin));
    let outbound: Vec<_> = place.listen_outbound.iter().map(|ip| format!("{ip}:{}", proxy.ports.outbound)).collect();
    env.unless_empty("OUTBOUND_LISTEN_ADDR", outbound.first().map_or("", String::as_str));
    env.set("OUTBOUND_LISTEN_ADDRS", outbound.join(","));
    env.set("INBOUND_LISTEN_ADDR", format_args!("{listen}:{}", proxy.ports.inbound));
    env.source("INBOUND_IPS", place.ips.clone());
    env.set("INBOUND_PORTS", &place.ports);
    let cluster = format!("svc.{}.", values.cluster_domain);
    if proxy.is_gateway {
        env.set("INBOUND_GATEWAY_SUFFIXES", &cluster);
    }
    if proxy.is_ingress {
        env.set("INGRESS_MODE", true);
    }
    env.set("DESTINATION_PROFILE_SUFFIXES", if proxy.enable_external_profiles { "." } else { &cluster });
}

fn traces(env: &mut Environment, values: &Values, trace: &Trace) {
    let collector = &values.proxy.tracing.collector;
    env.set("TRACE_ATTRIBUTES_PATH", "/var/run/linkerd/podinfo/labels");
    env.set("TRACE_ANNOTATIONS_PATH", "/var/run/linkerd/podinfo/annotations");
    env.set("TRACE_PROTOCOL", "opentelemetry");
    env.set("TRACE_SERVICE_NAME", &trace.service_name);
    env.set("TRACE_COLLECTOR_SVC_ADDR", &collector.endpoint);
    let who = &collector.mesh_identity;
    if !who.service_account_name.is_empty() {
        env.set("TRACE_COLLECTOR_SVC_NAME", values.identity_of(&who.service_account_name, &who.namespace));
    }
    let lines: String = trace.attributes.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    env.set("TRACE_EXTRA_ATTRIBUTES", lines);
}

/// `server.http2.keepAliveInterval` of a direction becomes `.._SERVER_HTTP2_KEEP_ALIVE_INTERVAL`, and so does every other.
fn parameters(env: &mut Environment, direction: &str, scopes: &Map<String, Value>) {
    for (scope, protocols) in scopes {
        for (protocol, parameters) in protocols.as_object().into_iter().flatten() {
            for (parameter, value) in parameters.as_object().into_iter().flatten() {
                let name = [scope, protocol, parameter].map(|word| upper_snake(word)).join("_");
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                env.set(&format!("{direction}_{name}"), value);
            }
        }
    }
}

fn upper_snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_uppercase());
    }
    snake
}

fn identity(env: &mut Environment, values: &Values, place: Place<'_>) {
    let controller = |name: &str| values.identity_of(name, &values.namespace);
    env.0.extend(place.identity_parts);
    env.set("IDENTITY_DIR", place.identity_dir);
    env.source("IDENTITY_TRUST_ANCHORS", place.trust_anchors);
    env.set("IDENTITY_TOKEN_FILE", place.token_file);
    env.set("IDENTITY_SVC_ADDR", place.identity);
    env.set("IDENTITY_LOCAL_NAME", place.local_name);
    env.set("IDENTITY_SVC_NAME", controller("linkerd-identity"));
    env.set("DESTINATION_SVC_NAME", controller("linkerd-destination"));
    env.set("POLICY_SVC_NAME", controller("linkerd-destination"));
}

/// Variables whose names all begin alike.
#[derive(Default)]
struct Environment(Vec<Variable>);

impl Environment {
    fn source(&mut self, name: &str, source: Source) {
        self.0.push(Variable { name: format!("LINKERD2_PROXY_{name}"), source });
    }

    fn set(&mut self, name: &str, value: impl fmt::Display) {
        self.source(name, Source::Text(value.to_string()));
    }

    fn unless_empty(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.set(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_variables() {
        let scopes = json!({"server": {"http2": {"keepAliveInterval": "10s", "maxConcurrentStreams": 100}}});
        let mut env = Environment::default();
        parameters(&mut env, "INBOUND", scopes.as_object().unwrap());
        let mut found = env.0;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(
            found,
            [
                Variable::text("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
                Variable::text("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", "100"),
            ]
        );
    }
}
