//! Who knows where requests go, and what is allowed.

use serde_json::{Value, json};

use super::{
    Plan,
    pod::{Container, secret},
};

const COMPONENT: &str = "destination";

pub(super) fn objects(plan: &Plan<'_>) -> Result<Vec<Value>, String> {
    let grpc = |port: u16| json!([{"name": "grpc", "port": port, "targetPort": port}]);
    let webhook = |name: &str| json!([{"name": name, "port": 443, "targetPort": name}]);
    let mut objects = vec![
        plan.service("linkerd-dst", COMPONENT, grpc(8086)),
        plan.headless("linkerd-dst-headless", COMPONENT, grpc(8086)),
        plan.service("linkerd-sp-validator", COMPONENT, webhook("sp-validator")),
        plan.headless("linkerd-policy", COMPONENT, grpc(8090)),
        plan.service("linkerd-policy-validator", COMPONENT, webhook("policy-https")),
    ];
    objects.extend(plan.disruption_budget(COMPONENT));
    let containers = [destination(plan)?, validator(plan), policy(plan)];
    let volumes = vec![secret("sp-tls", "linkerd-sp-validator-k8s-tls"), secret("policy-tls", "linkerd-policy-validator-k8s-tls")];
    objects.push(plan.deployment(COMPONENT, &containers, volumes, &[])?);
    Ok(objects)
}

fn destination<'a>(plan: &Plan<'a>) -> Result<Container<'a>, String> {
    let (tree, values) = (plan.tree, &plan.values);
    let mut args = vec!["destination".to_owned(), "--addr=:8086".to_owned()];
    args.extend([
        format!("--controller-namespace={}", plan.namespace),
        format!("--outbound-transport-mode={}", tree.text("proxy.outboundTransportMode")),
        format!("--enable-h2-upgrade={}", tree.text("enableH2Upgrade")),
    ]);
    args.extend(plan.log_flags());
    args.extend([
        format!("--enable-endpoint-slices={}", tree.text("enableEndpointSlices")),
        format!("--cluster-domain={}", values.cluster_domain),
        format!("--identity-trust-domain={}", values.trust_domain()),
        format!("--default-opaque-ports={}", values.proxy.opaque_ports),
        format!("--enable-ipv6={}", !values.disable_ipv6),
        format!("--enable-pprof={}", tree.text("enablePprof")),
        format!("--meshed-http2-client-params={}", tree.get("destinationController.meshedHttp2ClientProtobuf")),
    ]);
    for further in tree.get("destinationController.additionalArgs").as_array().into_iter().flatten() {
        args.push(further.as_str().ok_or("destinationController.additionalArgs: each must be text")?.to_owned());
    }
    Ok(Container {
        name: "destination",
        args,
        ports: &[("dest-grpc", 8086), ("dest-admin", 9996)],
        probes: (9996, "/ping", "/ready"),
        resources: "destinationResources",
        mounts: &[],
        env: Value::Null,
    })
}

fn validator<'a>(plan: &Plan<'a>) -> Container<'a> {
    let mut args = vec!["sp-validator".to_owned()];
    args.extend(plan.log_flags());
    Container {
        name: "sp-validator",
        args,
        ports: &[("sp-validator", 8443), ("spval-admin", 9997)],
        probes: (9997, "/ping", "/ready"),
        resources: "spValidatorResources",
        mounts: &[("sp-tls", "/var/run/linkerd/tls")],
        env: Value::Null,
    }
}

fn policy<'a>(plan: &Plan<'a>) -> Container<'a> {
    let (tree, values) = (plan.tree, &plan.values);
    let probe_networks = tree.get("policyController.probeNetworks").as_array().cloned().unwrap_or_default();
    let probe_networks: Vec<_> = probe_networks.iter().filter_map(Value::as_str).collect();
    let args = vec![
        "policy".to_owned(),
        "--admin-addr=0.0.0.0:9990".to_owned(),
        format!("--control-plane-namespace={}", plan.namespace),
        "--grpc-addr=0.0.0.0:8090".to_owned(),
        "--server-addr=0.0.0.0:9443".to_owned(),
        "--server-tls-key=/var/run/linkerd/tls/tls.key".to_owned(),
        "--server-tls-certs=/var/run/linkerd/tls/tls.crt".to_owned(),
        format!("--cluster-networks={}", values.cluster_networks),
        format!("--identity-domain={}", values.trust_domain()),
        format!("--cluster-domain={}", values.cluster_domain),
        format!("--default-policy={}", values.proxy.default_inbound_policy),
        format!("--log-level={}", tree.text("policyController.logLevel")),
        format!("--log-format={}", tree.text("controllerLogFormat")),
        format!("--default-opaque-ports={}", values.proxy.opaque_ports),
        format!("--global-egress-network-namespace={}", tree.text("egress.globalEgressNetworkNamespace")),
        format!("--probe-networks={}", probe_networks.join(",")),
    ];
    Container {
        name: "policy",
        args,
        ports: &[("policy-grpc", 8090), ("policy-admin", 9990), ("policy-https", 9443)],
        probes: (9990, "/live", "/ready"),
        resources: "policyController.resources",
        mounts: &[("policy-tls", "/var/run/linkerd/tls")],
        env: Value::Null,
    }
}
