//! Who signs certificates.

use serde_json::{Value, json};

use super::{
    Plan, base64,
    pod::{Container, config_map, secret},
};

const COMPONENT: &str = "identity";
const TRUST_ROOTS: &str = "linkerd-identity-trust-roots";
const ISSUER: &str = "linkerd-identity-issuer";

pub(super) fn objects(plan: &Plan<'_>) -> Result<Vec<Value>, String> {
    let tree = plan.tree;
    let mut objects = Vec::new();
    if tree.text("identity.issuer.scheme") == "linkerd.io/tls" {
        let mut metadata = plan.metadata(ISSUER, COMPONENT);
        metadata["annotations"] = plan.annotations();
        objects.push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {
            "crt.pem": base64(&tree.text("identity.issuer.tls.crtPEM")),
            "key.pem": base64(&tree.text("identity.issuer.tls.keyPEM")),
        }}));
    }
    if !tree.is("identity.externalCA") {
        let mut metadata = plan.metadata(TRUST_ROOTS, COMPONENT);
        metadata["annotations"] = plan.annotations();
        let bundle = format!("{}\n", plan.values.identity_trust_anchors_pem.trim());
        objects.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca-bundle.crt": bundle}}));
    }
    let port = json!([{"name": "grpc", "port": 8080, "targetPort": 8080}]);
    objects.push(plan.service("linkerd-identity", COMPONENT, port.clone()));
    objects.push(plan.headless("linkerd-identity-headless", COMPONENT, port));
    objects.extend(plan.disruption_budget(COMPONENT));

    let mut args = vec![COMPONENT.to_owned()];
    args.extend(plan.log_flags());
    args.extend([
        format!("--controller-namespace={}", plan.namespace),
        format!("--identity-trust-domain={}", plan.values.trust_domain()),
        format!("--identity-issuance-lifetime={}", tree.text("identity.issuer.issuanceLifetime")),
        format!("--identity-clock-skew-allowance={}", tree.text("identity.issuer.clockSkewAllowance")),
        format!("--identity-scheme={}", tree.text("identity.issuer.scheme")),
        format!("--kube-apiclient-qps={}", tree.text("kubeAPI.clientQPS")),
        format!("--kube-apiclient-burst={}", tree.text("kubeAPI.clientBurst")),
    ]);
    let identity = Container {
        name: "identity",
        args,
        ports: &[("ident-grpc", 8080), ("ident-admin", 9990)],
        probes: (9990, "/ping", "/ready"),
        resources: "identityResources",
        mounts: &[("identity-issuer", "/var/run/linkerd/identity/issuer"), ("trust-roots", "/var/run/linkerd/identity/trust-roots")],
        env: json!([{"name": "LINKERD_DISABLED", "value": "the proxy of identity waits for identity"}]),
    };
    let volumes = vec![secret("identity-issuer", ISSUER), config_map("trust-roots", TRUST_ROOTS)];
    objects.push(plan.deployment(COMPONENT, &[identity], volumes, &[])?);
    Ok(objects)
}
