//! The objects of a control plane, as a pure function of its values.

mod config;
mod destination;
mod identity;
mod injector;
mod pod;
mod rbac;
mod webhooks;

use meshkit_injector::{
    annotation::{COMPONENT, CONTROL_PLANE_NS, CREATED_BY},
    values::Values,
};
use serde_json::{Map, Value, json};

pub(crate) use config::OVERRIDES;

use crate::values::Tree;

/// What objects are made of.
pub(super) struct Plan<'a> {
    /// Complete values: nothing is missing that must be there.
    pub(super) tree: &'a Tree,
    /// What injection needs of them.
    pub(super) values: Values,
    pub(super) namespace: &'a str,
    /// Who makes them: `linkerd/cli 1.0.0`.
    pub(super) created_by: &'a str,
}

/// Every object of a control plane but the kinds, in the order in which they are to be made.
///
/// # Errors
/// The values cannot be meant.
pub(crate) fn objects(tree: &Tree, namespace: &str, created_by: &str) -> Result<Vec<Value>, String> {
    let plan = Plan { tree, values: tree.of_injection(namespace)?, namespace, created_by };
    let mut objects = vec![config::namespace(&plan)];
    objects.extend(rbac::identity(&plan));
    objects.extend(rbac::destination(&plan));
    objects.extend(webhooks::validators(&plan));
    objects.extend(rbac::policy(&plan));
    objects.extend(rbac::injector(&plan));
    objects.extend(webhooks::injector(&plan));
    objects.push(config::config(&plan)?);
    objects.extend(rbac::config(&plan));
    objects.extend(identity::objects(&plan)?);
    objects.extend(destination::objects(&plan)?);
    objects.extend(injector::objects(&plan)?);
    for object in &mut objects {
        common_labels(tree, object);
    }
    objects.push(config::overrides(&plan)?);
    Ok(objects)
}

/// Labels that the user wants everywhere.
fn common_labels(tree: &Tree, object: &mut Value) {
    let Some(labels) = tree.get("commonLabels").as_object() else {
        return;
    };
    for metadata in ["/metadata", "/spec/template/metadata"] {
        if let Some(metadata) = object.pointer_mut(metadata).and_then(Value::as_object_mut) {
            let own = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
            for (key, value) in labels {
                // What the mesh goes by is not the user's to change.
                own.as_object_mut().map(|own| own.entry(key.clone()).or_insert_with(|| value.clone()));
            }
        }
    }
}

impl Plan<'_> {
    /// Metadata of an object of a part of the control plane, in its namespace.
    fn metadata(&self, name: &str, component: &str) -> Value {
        let mut metadata = self.cluster_metadata(name, component);
        metadata["namespace"] = json!(self.namespace);
        metadata
    }

    /// Metadata of an object of a part of the control plane, in no namespace.
    fn cluster_metadata(&self, name: &str, component: &str) -> Value {
        json!({"name": name, "labels": {COMPONENT: component, CONTROL_PLANE_NS: self.namespace}})
    }

    fn annotations(&self) -> Value {
        json!({CREATED_BY: self.created_by})
    }

    /// A Service of a part of the control plane.
    fn service(&self, name: &str, component: &str, ports: Value) -> Value {
        let mut metadata = self.metadata(name, component);
        metadata["annotations"] = self.annotations();
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"type": "ClusterIP", "selector": {COMPONENT: component}, "ports": ports}})
    }

    /// A Service whose name stands for all of its pods' addresses.
    fn headless(&self, name: &str, component: &str, ports: Value) -> Value {
        let mut service = self.service(name, component, ports);
        service["spec"] = json!({"clusterIP": "None", "selector": {COMPONENT: component}, "ports": service["spec"]["ports"].take()});
        service
    }

    /// A Secret of a webhook's key and certificate; nothing if somebody else makes it.
    fn webhook_secret(&self, webhook: super::certificates::Webhook, component: &str) -> Option<Value> {
        let text = |key: &str| self.tree.text(&format!("{}.{key}", webhook.values));
        if self.tree.is(&format!("{}.externalSecret", webhook.values)) {
            return None;
        }
        let mut metadata = self.metadata(&webhook.secret(), component);
        metadata["annotations"] = self.annotations();
        Some(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls",
            "data": {"tls.crt": base64(&text("crtPEM")), "tls.key": base64(&text("keyPEM"))}}))
    }
}

pub(super) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[cfg(test)]
mod tests;
