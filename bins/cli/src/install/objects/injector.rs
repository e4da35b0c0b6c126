//! Who adds proxies to pods.

use meshkit_injector::annotation::OPAQUE_PORTS;
use serde_json::{Value, json};

use super::{
    Plan,
    pod::{Container, config_map, secret},
};

const COMPONENT: &str = "proxy-injector";

pub(super) fn objects(plan: &Plan<'_>) -> Result<Vec<Value>, String> {
    let mut args = vec![COMPONENT.to_owned()];
    args.extend(plan.log_flags());
    args.push(format!("--linkerd-namespace={}", plan.namespace));
    let injector = Container {
        name: "proxy-injector",
        args,
        ports: &[("proxy-injector", 8443), ("injector-admin", 9995)],
        probes: (9995, "/ping", "/ready"),
        resources: "proxyInjectorResources",
        mounts: &[
            ("config", "/var/run/linkerd/config"),
            ("trust-roots", "/var/run/linkerd/identity/trust-roots"),
            ("tls", "/var/run/linkerd/tls"),
        ],
        env: Value::Null,
    };
    let volumes = vec![
        config_map("config", "linkerd-config"),
        config_map("trust-roots", "linkerd-identity-trust-roots"),
        secret("tls", "linkerd-proxy-injector-k8s-tls"),
    ];
    // Whoever asks is the API server, which speaks TLS of its own.
    let opaque = [(OPAQUE_PORTS, "8443".to_owned())];
    let deployment = plan.deployment(COMPONENT, &[injector], volumes, &opaque)?;
    let mut service =
        plan.service("linkerd-proxy-injector", COMPONENT, json!([{"name": "proxy-injector", "port": 443, "targetPort": "proxy-injector"}]));
    service["metadata"]["annotations"][OPAQUE_PORTS] = json!("443");
    let mut objects = vec![deployment, service];
    objects.extend(plan.disruption_budget(COMPONENT));
    Ok(objects)
}
