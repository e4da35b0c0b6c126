//! `mesh uninstall` and `mesh prune`: objects to be deleted, for `kubectl delete -f -`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{crds, created_by, render, upgrade::installed, write};
use crate::{
    access::Access,
    cluster::{self, Cluster, plural},
    inject::Output,
    version::meshed_pods,
};

const OWN: &str = "labelSelector=linkerd.io/control-plane-ns";
/// Kinds of what stands outside of the control plane's namespace, or keeps it from going away.
const OUTSIDE: &[(&str, &str)] = &[
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("apiregistration.k8s.io/v1", "APIService"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("v1", "Namespace"),
];
/// Kinds of what stands within it.
const WITHIN: &[(&str, &str)] = &[
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("policy/v1", "PodDisruptionBudget"),
];

/// `mesh uninstall`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Uninstall {
    /// Goes on though there are extensions or meshed pods
    #[arg(short, long)]
    force: bool,
    /// How documents are written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    access: Access,
}

/// `mesh prune`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Prune {
    /// How documents are written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    access: Access,
}

impl Uninstall {
    /// Writes what is to be deleted.
    ///
    /// # Errors
    /// Nothing was written: why.
    pub(crate) async fn run(self) -> Result<(), Vec<String>> {
        write(&self.objects(&cluster::connect(&self.access)).await?, self.output)
    }

    async fn objects(&self, cluster: &dyn Cluster) -> Result<Vec<Value>, Vec<String>> {
        let failed = |error: cluster::Failed| vec![error.to_string()];
        let namespace = &self.access.linkerd_namespace;
        if !self.force {
            let extensions = cluster::list(cluster, "/api/v1/namespaces?labelSelector=linkerd.io/extension").await.map_err(failed)?;
            let extensions: Vec<_> = extensions.iter().filter_map(|namespace| namespace["metadata"]["name"].as_str()).collect();
            let pods = cluster::list(cluster, &meshed_pods(namespace, None)).await.map_err(failed)?;
            let meshed = pods.iter().filter(|pod| {
                let of = pod["metadata"]["namespace"].as_str().unwrap_or_default();
                of != namespace && !extensions.contains(&of)
            });
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let meshed: Vec<_> =
                meshed.map(|pod| format!("\t* {}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))).collect();
            let mut told = Vec::new();
            if !extensions.is_empty() {
                told.push("these extensions must be uninstalled first (or say --force):".to_owned());
                told.extend(extensions.iter().map(|extension| format!("\t* {extension}")));
            }
            if !meshed.is_empty() {
                told.push("these pods are meshed; run `mesh uninject` for their workloads first (or say --force):".to_owned());
                told.extend(meshed);
            }
            if !told.is_empty() {
                return Err(told);
            }
        }
        let found = labelled(cluster, OUTSIDE, namespace).await.map_err(failed)?;
        Ok(found)
    }
}

impl Prune {
    /// Writes what is to be deleted.
    ///
    /// # Errors
    /// Nothing was written: why.
    pub(crate) async fn run(self) -> Result<(), Vec<String>> {
        write(&self.objects(&cluster::connect(&self.access)).await?, self.output)
    }

    /// What an older version has made, and this one does not make any more.
    async fn objects(&self, cluster: &dyn Cluster) -> Result<Vec<Value>, Vec<String>> {
        let namespace = &self.access.linkerd_namespace;
        let tree = installed(cluster, namespace).await?;
        let mut made = render(tree, namespace)?;
        made.extend(crds(namespace, &created_by()).map_err(|error| vec![error])?);
        let made: BTreeSet<_> = made.iter().map(|object| minimal(object).to_string()).collect();
        let kinds = [OUTSIDE, WITHIN].concat();
        let found = labelled(cluster, &kinds, namespace).await.map_err(|error| vec![error.to_string()])?;
        Ok(found.into_iter().filter(|object| !made.contains(&object.to_string())).collect())
    }
}

/// Objects of a mesh, as little of them as names them.
async fn labelled(cluster: &dyn Cluster, kinds: &[(&str, &str)], namespace: &str) -> Result<Vec<Value>, cluster::Failed> {
    let mut found = Vec::new();
    for (version, kind) in kinds {
        let root = if version.contains('/') { "/apis" } else { "/api" };
        let items = cluster::list(cluster, &format!("{root}/{version}/{}?{OWN}={namespace}", plural(kind))).await?;
        for mut item in items {
            // Items of a list do not say what they are.
            item["apiVersion"] = json!(version);
            item["kind"] = json!(kind);
            // What somebody else's object has made goes with that.
            if item["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty) {
                found.push(minimal(&item));
            }
        }
    }
    Ok(found)
}

fn minimal(object: &Value) -> Value {
    let mut metadata = json!({"name": object["metadata"]["name"]});
    if object["metadata"]["namespace"].is_string() {
        metadata["namespace"] = object["metadata"]["namespace"].clone();
    }
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata})
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{cluster::fake::Fake, install, values::Tree};

    #[derive(Parser)]
    struct AloneUninstall {
        #[command(flatten)]
        uninstall: Uninstall,
    }

    #[derive(Parser)]
    struct AlonePrune {
        #[command(flatten)]
        prune: Prune,
    }

    fn meshed() -> Fake {
        let mut fake = Fake::default();
        for object in install::render(Tree::defaults(), "linkerd").unwrap().into_iter().chain(crds("linkerd", "me").unwrap()) {
            let kind = plural(object["kind"].as_str().unwrap());
            fake.add(&kind, object);
        }
        fake
    }

    fn summary(objects: &[Value]) -> Vec<String> {
        objects
            .iter()
            .map(|object| format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap()))
            .collect()
    }

    #[tokio::test]
    async fn all_that_stands_outside_of_the_namespace_is_deleted_with_it() {
        let uninstall = AloneUninstall::try_parse_from(["x"]).unwrap().uninstall;
        let found = uninstall.objects(&meshed()).await.unwrap();
        let kinds: BTreeSet<_> = found.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.len(), 8, "all but APIServices: {kinds:?}");
        assert_eq!(found.iter().filter(|object| object["kind"] == "CustomResourceDefinition").count(), 10);
        assert_eq!(summary(&found).last().unwrap(), "Namespace linkerd");
        assert!(found.iter().all(|object| object.as_object().unwrap().len() == 3));
    }

    #[tokio::test]
    async fn nothing_is_deleted_while_it_is_in_use() {
        let mut fake = meshed();
        let label = json!({"linkerd.io/control-plane-ns": "linkerd"});
        fake.add("pods", json!({"metadata": {"name": "web-1", "namespace": "emojivoto", "labels": label}}));
        fake.add("pods", json!({"metadata": {"name": "tap-1", "namespace": "linkerd-viz", "labels": label}}));
        fake.add("pods", json!({"metadata": {"name": "linkerd-identity-1", "namespace": "linkerd", "labels": label}}));
        fake.add("namespaces", json!({"apiVersion": "v1", "metadata": {"name": "linkerd-viz", "labels": {"linkerd.io/extension": "viz"}}}));
        let told = AloneUninstall::try_parse_from(["x"]).unwrap().uninstall.objects(&fake).await.unwrap_err().join("\n");
        assert!(told.contains("emojivoto/web-1") && told.contains("\t* linkerd-viz"), "{told}");
        assert!(!told.contains("tap-1") && !told.contains("linkerd-identity-1"), "{told}");
        assert!(AloneUninstall::try_parse_from(["x", "--force"]).unwrap().uninstall.objects(&fake).await.is_ok());
    }

    #[tokio::test]
    async fn only_what_is_not_made_any_more_is_pruned() {
        let mut fake = meshed();
        let label = json!({"linkerd.io/control-plane-ns": "linkerd"});
        let prune = AlonePrune::try_parse_from(["x"]).unwrap().prune;
        assert_eq!(prune.objects(&fake).await.unwrap(), Vec::<Value>::new());
        fake.add("services", json!({"metadata": {"name": "linkerd-old", "namespace": "linkerd", "labels": label}}));
        fake.add(
            "clusterroles",
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "linkerd-old", "labels": label}}),
        );
        fake.add(
            "services",
            json!({"metadata": {"name": "owned", "namespace": "linkerd", "labels": label, "ownerReferences": [{"name": "x"}]}}),
        );
        fake.add("services", json!({"metadata": {"name": "mine", "namespace": "linkerd"}}));
        let mut found = summary(&prune.objects(&fake).await.unwrap());
        found.sort();
        assert_eq!(found, ["ClusterRole linkerd-old", "Service linkerd-old"]);
    }
}
