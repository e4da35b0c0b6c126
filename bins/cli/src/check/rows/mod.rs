//! Every check, a file for each thing that is looked at. A row that fails says what to do.

pub(super) mod api;
pub(super) mod before;
pub(super) mod cni;
pub(super) mod config;
pub(super) mod data_plane;
pub(super) mod existence;
pub(super) mod identity;
pub(super) mod pods;
pub(super) mod versions;
pub(super) mod webhooks;

use serde_json::Value;

use super::{
    Scene,
    runner::{Passed, Verdict},
};
use crate::{
    cluster::{self, Failed, object},
    values::Tree,
};

/// Where the API has roles.
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// Where the API has the configurations of webhooks.
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
/// How to make what is missing of a mesh.
const REPAIR: &str = "run `mesh upgrade | kubectl apply -f -` to make it again";

/// It passes, or it fails with this.
fn unless(fault: Option<String>) -> Verdict {
    fault.map_or(Ok(Passed::Well), Err)
}

/// It passes if there is nothing in a list.
fn none_of(faults: &[String], heading: &str, todo: &str) -> Verdict {
    unless(
        (!faults.is_empty())
            .then(|| format!("{heading}\n{}\n{todo}", faults.iter().map(|fault| format!("\t* {fault}")).collect::<Vec<_>>().join("\n"))),
    )
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// `namespace/name`.
fn place(object: &Value) -> String {
    format!("{}/{}", object["metadata"]["namespace"].as_str().unwrap_or_default(), name(object))
}

impl Scene<'_> {
    async fn list(&self, path: &str) -> Result<Vec<Value>, Failed> {
        cluster::list(self.cluster, path).await
    }

    async fn get(&self, path: &str) -> Result<Option<Value>, Failed> {
        self.cluster.get(path).await
    }

    /// An object of the control plane's namespace.
    async fn object(&self, plural: &str, name: &str) -> Result<Option<Value>, Failed> {
        object(self.cluster, &self.namespace, plural, name).await
    }

    /// The mesh's values.
    async fn values(&self) -> Result<Tree, String> {
        let values = cluster::values(self.cluster, &self.namespace).await?;
        let namespace = &self.namespace;
        values.ok_or_else(|| {
            format!("there is no ConfigMap linkerd-config in namespace {namespace}: run `mesh install | kubectl apply -f -`")
        })
    }

    /// Each of some objects is at its path.
    async fn all_exist(&self, paths: &[String], kind: &str) -> Verdict {
        let mut missing = Vec::new();
        for path in paths {
            if self.get(path).await?.is_none() {
                missing.push(path.rsplit('/').next().unwrap_or_default().to_owned());
            }
        }
        unless((!missing.is_empty()).then(|| format!("missing {kind}: {}\n{REPAIR}", missing.join(", "))))
    }
}
