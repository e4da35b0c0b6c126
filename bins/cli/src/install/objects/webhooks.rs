//! What the API server asks the control plane: about new pods, and about the mesh's own kinds.

use meshkit_injector::annotation::{COMPONENT, CONTROL_PLANE_NS};
use serde_json::{Value, json};

use super::{Plan, base64};
use crate::install::certificates::{INJECTOR, POLICIES, PROFILES, Webhook};

const GATEWAY: &[&str] = &["httproutes", "grpcroutes", "tlsroutes", "tcproutes"];
const POLICY: &[&str] = &[
    "authorizationpolicies",
    "httplocalratelimitpolicies",
    "httproutes",
    "networkauthentications",
    "meshtlsauthentications",
    "serverauthorizations",
    "servers",
    "egressnetworks",
];

pub(super) fn injector(plan: &Plan<'_>) -> Vec<Value> {
    let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods", "services"], "scope": "Namespaced"}]);
    let mut hook = plan.hook(INJECTOR, "linkerd-proxy-injector.linkerd.io", rules);
    hook["objectSelector"] = plan.tree.get("proxyInjector.objectSelector").clone();
    hook["timeoutSeconds"] = plan.tree.get("proxyInjector.timeoutSeconds").clone();
    let component = "proxy-injector";
    let secret = plan.webhook_secret(INJECTOR, component);
    secret.into_iter().chain([plan.configuration("Mutating", INJECTOR, component, hook)]).collect()
}

pub(super) fn validators(plan: &Plan<'_>) -> Vec<Value> {
    let change = |group: &str, versions: &[&str], resources: &[&str]| json!({"operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": versions, "resources": resources});
    let profiles = json!([change("linkerd.io", &["v1alpha1", "v1alpha2"], &["serviceprofiles"])]);
    let policies = json!([change("policy.linkerd.io", &["*"], POLICY), change("gateway.networking.k8s.io", &["*"], GATEWAY)]);
    let hooks = [
        (PROFILES, plan.hook(PROFILES, "linkerd-sp-validator.linkerd.io", profiles)),
        (POLICIES, plan.hook(POLICIES, "linkerd-policy-validator.linkerd.io", policies)),
    ];
    let component = "destination";
    let each = hooks.into_iter().flat_map(|(webhook, hook)| {
        let configuration = plan.configuration("Validating", webhook, component, hook);
        plan.webhook_secret(webhook, component).into_iter().chain([configuration])
    });
    each.collect()
}

impl Plan<'_> {
    fn hook(&self, webhook: Webhook, name: &str, rules: Value) -> Value {
        let mut client = json!({"service": {"name": format!("linkerd-{}", webhook.name), "namespace": self.namespace, "path": "/"}});
        let authority = self.tree.text(&format!("{}.caBundle", webhook.values));
        if !authority.is_empty() {
            client["caBundle"] = json!(base64(&authority));
        }
        json!({
            "name": name,
            "namespaceSelector": self.tree.get(&format!("{}.namespaceSelector", webhook.values)),
            "clientConfig": client,
            "failurePolicy": self.tree.get("webhookFailurePolicy"),
            "admissionReviewVersions": ["v1", "v1beta1"],
            "rules": rules,
            "sideEffects": "None",
        })
    }

    fn configuration(&self, kind: &str, webhook: Webhook, component: &str, hook: Value) -> Value {
        let mut annotations = json!({});
        for (key, annotation) in
            [("injectCaFrom", "cert-manager.io/inject-ca-from"), ("injectCaFromSecret", "cert-manager.io/inject-ca-from-secret")]
        {
            let from = self.tree.text(&format!("{}.{key}", webhook.values));
            if !from.is_empty() {
                annotations[annotation] = json!(from);
            }
        }
        let mut configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": format!("{kind}WebhookConfiguration"),
            "metadata": {
                "name": format!("linkerd-{}-webhook-config", webhook.name),
                "labels": {COMPONENT: component, CONTROL_PLANE_NS: self.namespace},
            },
            "webhooks": [hook],
        });
        if annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
            configuration["metadata"]["annotations"] = annotations;
        }
        configuration
    }
}
