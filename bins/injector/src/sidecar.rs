//! The proxy's container and its volumes.

use serde_json::{Map, Value, json};

use crate::{
    annotation::TRACE_ATTRIBUTE,
    image::{Layout, Program},
    inject::Component,
    template::{PROXY, Template},
    values::{Bounds, Probe, Proxy, Resources, Values},
    variables::{Place, Source, Trace, Variable, variables},
};

/// The volume of the proxy's key and certificate request.
pub(crate) const IDENTITY_VOLUME: &str = "linkerd-identity-end-entity";
/// The volume of the proxy's token.
pub(crate) const TOKEN_VOLUME: &str = "linkerd-identity-token";
/// The volume of the pod's labels.
pub(crate) const PODINFO_VOLUME: &str = "linkerd-podinfo";
const IDENTITY_DIR: &str = "/var/run/linkerd/identity/end-entity";
const TOKEN_DIR: &str = "/var/run/secrets/tokens";
const PODINFO_DIR: &str = "/var/run/linkerd/podinfo";
/// Whom the token is for.
const AUDIENCE: &str = "identity.l5d.io";

/// The proxy's container.
pub(crate) fn container(values: &Values, pod: Template<'_>, component: Option<Component>) -> Value {
    let proxy = &values.proxy;
    let Program { image, pull_policy, .. } = Program::proxy(values);
    let mut container = json!({
        "name": PROXY,
        "image": image,
        "imagePullPolicy": pull_policy,
        "env": env(values, pod, component),
        "livenessProbe": probe(&proxy.liveness_probe, "/live", proxy.ports.admin),
        "readinessProbe": probe(&proxy.readiness_probe, "/ready", proxy.ports.admin),
        "ports": [
            {"name": "linkerd-proxy", "containerPort": proxy.ports.inbound},
            {"name": "linkerd-admin", "containerPort": proxy.ports.admin},
        ],
        "securityContext": security_context(proxy, pod),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(values, pod),
    });
    if let Some(resources) = resources(&proxy.resources) {
        container["resources"] = resources;
    }
    if proxy.native_sidecar {
        container["restartPolicy"] = json!("Always");
        if proxy.r#await {
            container["startupProbe"] = probe(&proxy.startup_probe, "/ready", proxy.ports.admin);
        }
    } else {
        let mut lifecycle = Map::new();
        let layout = Layout::of(values);
        if proxy.r#await {
            lifecycle.insert("postStart".to_owned(), json!({"exec": {"command": layout.await_command(proxy.ports.admin)}}));
        }
        if proxy.wait_before_exit_seconds > 0 {
            lifecycle.insert("preStop".to_owned(), json!({"exec": {"command": layout.sleep_command(proxy.wait_before_exit_seconds)}}));
        }
        if !lifecycle.is_empty() {
            container["lifecycle"] = Value::Object(lifecycle);
        }
    }
    container
}

/// The volumes that it mounts, in their order.
pub(crate) fn volumes(values: &Values) -> Vec<Value> {
    let mut volumes = vec![json!({"name": IDENTITY_VOLUME, "emptyDir": {"medium": "Memory"}})];
    if values.proxy.tracing.enabled {
        let labels = json!({"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}});
        volumes.push(json!({"name": PODINFO_VOLUME, "downwardAPI": {"items": [labels]}}));
    }
    if values.identity.service_account_token_projection {
        let token = json!({"path": TOKEN_VOLUME, "expirationSeconds": 86400, "audience": AUDIENCE});
        volumes.push(json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}));
    }
    volumes
}

/// What a container asks for; nothing if there is nothing to say.
pub(crate) fn resources(resources: &Resources) -> Option<Value> {
    let named = [("cpu", &resources.cpu), ("memory", &resources.memory), ("ephemeral-storage", &resources.ephemeral_storage)];
    let of = |which: fn(&Bounds) -> &String| -> Map<String, Value> {
        let said = named.iter().filter(|(_, bounds)| !which(bounds).is_empty());
        said.map(|(name, bounds)| ((*name).to_owned(), json!(which(bounds)))).collect()
    };
    let all = [("limits", of(|bounds| &bounds.limit)), ("requests", of(|bounds| &bounds.request))];
    let said: Map<_, _> = all.into_iter().filter(|(_, map)| !map.is_empty()).map(|(name, map)| (name.to_owned(), map.into())).collect();
    (!said.is_empty()).then_some(said.into())
}

fn probe(probe: &Probe, path: &str, port: u16) -> Value {
    let mut spec = json!({"httpGet": {"path": path, "port": port}, "initialDelaySeconds": probe.initial_delay_seconds});
    for (name, value) in
        [("periodSeconds", probe.period_seconds), ("timeoutSeconds", probe.timeout_seconds), ("failureThreshold", probe.failure_threshold)]
    {
        if let Some(value) = value {
            spec[name] = json!(value);
        }
    }
    spec
}

fn security_context(proxy: &Proxy, pod: Template<'_>) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": proxy.uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if proxy.gid >= 0 {
        context["runAsGroup"] = json!(proxy.gid);
    }
    // What the first container may do is what the pod's author found right: the proxy asks for nothing else.
    if let Some(capabilities) = pod.first().and_then(|container| container.pointer("/securityContext/capabilities")) {
        context["capabilities"] = capabilities.clone();
    }
    context
}

fn mounts(values: &Values, pod: Template<'_>) -> Vec<Value> {
    let mut mounts = vec![json!({"mountPath": IDENTITY_DIR, "name": IDENTITY_VOLUME})];
    if values.proxy.tracing.enabled {
        mounts.push(json!({"mountPath": PODINFO_DIR, "name": PODINFO_VOLUME}));
    }
    if values.identity.service_account_token_projection {
        mounts.push(json!({"mountPath": TOKEN_DIR, "name": TOKEN_VOLUME}));
    }
    mounts.extend(pod.token_mount().cloned());
    mounts
}

fn env(values: &Values, pod: Template<'_>, component: Option<Component>) -> Vec<Value> {
    let own = [
        Variable::field("_pod_name", "metadata.name"),
        Variable::field("_pod_ns", "metadata.namespace"),
        Variable::field("_pod_uid", "metadata.uid"),
        Variable::field("_pod_ip", "status.podIP"),
        Variable::field("_pod_nodeName", "spec.nodeName"),
        Variable::text("_pod_containerName", PROXY),
    ];
    let variables = variables(values, place(values, pod, component));
    let all = own.iter().chain(&variables).map(Variable::to_json);
    all.chain(values.proxy.additional_env.iter().cloned()).chain(values.proxy.experimental_env.iter().cloned()).collect()
}

fn place<'a>(values: &Values, pod: Template<'_>, component: Option<Component>) -> Place<'a> {
    let Values { namespace, cluster_domain, .. } = values;
    // A part of the control plane asks itself without going through a name that it may not be behind yet.
    let address = |own: Component, service: &str, port: u16| match component {
        Some(component) if component == own => format!("localhost.:{port}"),
        _ => format!("{service}.{namespace}.svc.{cluster_domain}.:{port}"),
    };
    let (listen, listen_outbound) = match values.disable_ipv6 {
        true => ("0.0.0.0", vec!["127.0.0.1"]),
        false => ("[::]", vec!["127.0.0.1", "[::1]"]),
    };
    let anchors = match component {
        Some(_) => Source::ConfigMap { name: "linkerd-identity-trust-roots", key: "ca-bundle.crt" },
        None => Source::Text(format!("{}\n", values.identity_trust_anchors_pem.trim())),
    };
    Place {
        namespace: "$(_pod_ns)",
        pod: "$(_pod_name)",
        node: "$(_pod_nodeName)",
        local_name: values.identity_of("$(_pod_sa)", "$(_pod_ns)"),
        ips: Source::Field("status.podIPs"),
        ports: pod.inbound_ports(),
        listen: listen.to_owned(),
        listen_outbound: listen_outbound.into_iter().map(str::to_owned).collect(),
        destination: address(Component::Destination, "linkerd-dst-headless", 8086),
        policy: address(Component::Destination, "linkerd-policy", 8090),
        identity: address(Component::Identity, "linkerd-identity-headless", 8080),
        trust_anchors: anchors,
        identity_dir: IDENTITY_DIR,
        token_file: match values.identity.service_account_token_projection {
            true => "/var/run/secrets/tokens/linkerd-identity-token",
            false => "/var/run/secrets/kubernetes.io/serviceaccount/token",
        },
        identity_parts: vec![
            Variable::field("_pod_sa", "spec.serviceAccountName"),
            Variable::text("_l5d_ns", namespace),
            Variable::text("_l5d_trustdomain", values.trust_domain()),
        ],
        trace: values.proxy.tracing.enabled.then(|| trace(values, pod)),
    }
}

fn trace(values: &Values, pod: Template<'_>) -> Trace {
    let tracing = &values.proxy.tracing;
    let labelled = ["app.kubernetes.io/instance", "app.kubernetes.io/name"].iter().find_map(|key| pod.label(key));
    let mut attributes = tracing.labels.clone();
    for (key, value) in pod.annotations() {
        if let Some(key) = key.strip_prefix(TRACE_ATTRIBUTE) {
            attributes.insert(key.to_owned(), value);
        }
    }
    Trace { service_name: labelled.unwrap_or(&tracing.trace_service_name).to_owned(), attributes: attributes.into_iter().collect() }
}
