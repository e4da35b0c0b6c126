//! Which documents make pods, and where in them the pods' template is.

use serde_json::Value;

use crate::{inject::Owner, template::Template};

/// Groups and kinds of documents with a template, and its place.
const KINDS: &[(&[&str], &str, &str)] = &[
    (&["apps", "extensions"], "Deployment", "/spec/template"),
    (&["apps", "extensions"], "ReplicaSet", "/spec/template"),
    (&["apps", "extensions"], "DaemonSet", "/spec/template"),
    (&["apps"], "StatefulSet", "/spec/template"),
    (&[""], "ReplicationController", "/spec/template"),
    (&["batch"], "Job", "/spec/template"),
    (&["batch"], "CronJob", "/spec/jobTemplate/spec/template"),
    (&[""], "Pod", ""),
];

/// A document, as far as injection goes by it.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    document: &'a Value,
    prefix: Option<&'static str>,
}

impl<'a> Workload<'a> {
    /// Looks at a document.
    #[must_use]
    pub fn of(document: &'a Value) -> Self {
        let version = document["apiVersion"].as_str().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let kind = document["kind"].as_str().unwrap_or_default();
        let found = KINDS.iter().find(|(groups, known, _)| *known == kind && groups.contains(&group));
        Self { document, prefix: found.map(|(_, _, prefix)| *prefix) }
    }

    /// Its kind in small letters; empty if it has none.
    #[must_use]
    pub fn kind(self) -> String {
        self.document["kind"].as_str().unwrap_or_default().to_lowercase()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Its namespace; empty if it does not say.
    #[must_use]
    pub fn namespace(self) -> &'a str {
        self.document.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
    }

    /// Where its template is: empty for a Pod; `None` if it makes no pods.
    #[must_use]
    pub const fn prefix(self) -> Option<&'static str> {
        self.prefix
    }

    /// Its template, if it makes pods.
    #[must_use]
    pub fn template(self) -> Option<Template<'a>> {
        self.document.pointer(self.prefix?).map(Template::new)
    }

    /// It is a Namespace.
    #[must_use]
    pub fn is_namespace(self) -> bool {
        self.is_core("Namespace")
    }

    /// It is a Service.
    #[must_use]
    pub fn is_service(self) -> bool {
        self.is_core("Service")
    }

    fn is_core(self, kind: &str) -> bool {
        self.document["kind"].as_str() == Some(kind) && self.document["apiVersion"].as_str() == Some("v1")
    }

    /// Who makes the pods; nobody for a Pod.
    #[must_use]
    pub fn owner(self) -> Option<Owner> {
        let prefix = self.prefix?;
        (!prefix.is_empty())
            .then(|| Owner { kind: self.document["kind"].as_str().unwrap_or_default().to_owned(), name: self.name().to_owned() })
    }
}

/// The label that names a pod's owner: `linkerd.io/proxy-deployment`, ... Nothing for kinds that have none.
#[must_use]
pub fn owner_label(kind: &str) -> Option<String> {
    let known = KINDS.iter().any(|(_, known, prefix)| *known == kind && !prefix.is_empty());
    known.then(|| format!("linkerd.io/proxy-{}", kind.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_kinds_of_kubernetes_have_templates() {
        let prefix = |version: &str, kind: &str| Workload::of(&json!({"apiVersion": version, "kind": kind})).prefix();
        assert_eq!(prefix("apps/v1", "Deployment"), Some("/spec/template"));
        assert_eq!(prefix("batch/v1", "CronJob"), Some("/spec/jobTemplate/spec/template"));
        assert_eq!(prefix("v1", "Pod"), Some(""));
        assert_eq!(prefix("batch.volcano.sh/v1alpha1", "Job"), None);
        assert_eq!(prefix("serving.knative.dev/v1", "Service"), None);
        assert_eq!(Workload::of(&json!(5)).kind(), "");
    }
}
