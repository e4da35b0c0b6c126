//! What commands read of a cluster: objects as they are, by their paths in the API.

#[cfg(test)]
pub(crate) mod fake;
mod forward;
mod kubectl;
mod saved;

use std::{fmt, future::Future, pin::Pin};

pub(crate) use kubectl::Kubectl;
pub(crate) use saved::{Saved, plural};
use serde_json::{Value, json};

use crate::{access::Access, values::Tree};

/// An answer on its way.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Result<Option<Value>, Failed>> + Send + 'a>>;

/// A cluster's API. Paths are those of the API server: `/api/v1/namespaces/linkerd/pods?labelSelector=...`.
pub(crate) trait Cluster: Send + Sync {
    /// What lies at a path; nothing if nothing does.
    fn get<'a>(&'a self, path: &'a str) -> Answer<'a>;
    /// The answer to a question that is asked by creating an object, such as a review of access.
    fn ask<'a>(&'a self, path: &'a str, question: &'a Value) -> Answer<'a>;
}

/// The API did not answer, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// The cluster that the flags name.
pub(crate) fn connect(access: &Access) -> Kubectl {
    Kubectl::new(access)
}

/// The values of the mesh that is there; nothing if there is none.
pub(crate) async fn values(cluster: &dyn Cluster, namespace: &str) -> Result<Option<Tree>, Failed> {
    let Some(map) = object(cluster, namespace, "configmaps", "linkerd-config").await? else {
        return Ok(None);
    };
    let text = map["data"]["values"].as_str().unwrap_or_default();
    let mut tree = Tree::defaults();
    let read = Tree::read(text).map_err(|error| Failed(format!("ConfigMap linkerd-config in namespace {namespace}: {error}")))?;
    tree.merge(read);
    Ok(Some(tree))
}

/// An object of the core group by its name.
pub(crate) async fn object(cluster: &dyn Cluster, namespace: &str, plural: &str, name: &str) -> Result<Option<Value>, Failed> {
    cluster.get(&format!("/api/v1/namespaces/{namespace}/{plural}/{name}")).await
}

/// The items of a list; none if there is no such kind.
pub(crate) async fn list(cluster: &dyn Cluster, path: &str) -> Result<Vec<Value>, Failed> {
    let answer = cluster.get(path).await?;
    Ok(match answer.map(|mut list| list["items"].take()) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    })
}

/// May whoever asks do this?
pub(crate) async fn may(cluster: &dyn Cluster, namespace: &str, verb: &str, group: &str, resource: &str) -> Result<bool, Failed> {
    let attributes = json!({"namespace": namespace, "verb": verb, "group": group, "resource": resource});
    let question =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}});
    let answer = cluster.ask("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &question).await?;
    Ok(answer.is_some_and(|answer| answer["status"]["allowed"].as_bool() == Some(true)))
}
