//! The namespace, and what the control plane and this program remember of the values.

use meshkit_injector::annotation::{CONTROL_PLANE_NS, INJECT};
use serde_json::{Value, json};

use super::{Plan, base64};
use crate::{install::certificates::WEBHOOKS, values::Tree};

/// The Secret of what was said at the install, for the next upgrade.
pub(crate) const OVERRIDES: &str = "linkerd-config-overrides";

pub(super) fn namespace(plan: &Plan<'_>) -> Value {
    // Redirection needs rights that only this level gives; with the plugin, no pod needs them.
    let level = if plan.values.cni_enabled { "restricted" } else { "privileged" };
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": plan.namespace,
        "annotations": {INJECT: "disabled"},
        "labels": {
            "linkerd.io/is-control-plane": "true",
            "config.linkerd.io/admission-webhooks": "disabled",
            CONTROL_PLANE_NS: plan.namespace,
            "pod-security.kubernetes.io/enforce": level,
        },
    }})
}

/// ConfigMap `linkerd-config`: what the injector goes by.
pub(super) fn config(plan: &Plan<'_>) -> Result<Value, String> {
    let mut values = plan.tree.clone();
    values.set("identity.issuer.tls.keyPEM", json!(""));
    for webhook in WEBHOOKS {
        values.set(&format!("{}.keyPEM", webhook.values), json!(""));
    }
    let mut metadata = plan.metadata("linkerd-config", "controller");
    metadata["annotations"] = plan.annotations();
    Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {
        "linkerd-crds-chart-version": format!("meshkit-crds-{}", plan.values.linkerd_version),
        "values": values.to_yaml()?,
    }}))
}

/// Secret `linkerd-config-overrides`: what differs from the defaults of this version.
pub(super) fn overrides(plan: &Plan<'_>) -> Result<Value, String> {
    let mut values = plan.tree.clone();
    // The keys of webhooks are in Secrets of their own, and are made anew in time.
    let defaults = Tree::defaults();
    for webhook in WEBHOOKS {
        if !plan.tree.is(&format!("{}.externalSecret", webhook.values)) {
            for key in ["crtPEM", "keyPEM", "caBundle"] {
                values.set(&format!("{}.{key}", webhook.values), json!(""));
            }
        }
    }
    let text = values.difference(&defaults).to_yaml()?;
    Ok(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": OVERRIDES, "namespace": plan.namespace, "labels": {CONTROL_PLANE_NS: plan.namespace}},
        "data": {OVERRIDES: base64(&text)}}))
}
