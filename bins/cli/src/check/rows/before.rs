//! What must hold before the install.

use std::time::Duration;

use serde_json::Value;

use super::{name, none_of, unless};
use crate::{
    check::runner::{Category, Check},
    cluster::{self, Failed, object},
};

/// The kubelet says that it lives at least so often, and clocks may differ by a little.
const SKEW: Duration = Duration::from_secs(5 * 60 + 10);
/// Kinds that are in no namespace.
const CLUSTER_KINDS: [(&str, &str); 5] = [
    ("", "namespaces"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
];
const KINDS: [(&str, &str, &str); 6] = [
    ("ServiceAccounts", "", "serviceaccounts"),
    ("Services", "", "services"),
    ("Deployments", "apps", "deployments"),
    ("CronJobs", "batch", "cronjobs"),
    ("ConfigMaps", "", "configmaps"),
    ("Secrets", "", "secrets"),
];
const TODO: &str = "ask an administrator of the cluster for this right, or act as one with --as";

/// Can a mesh be installed?
pub(in crate::check) fn before() -> Category {
    let mut checks = vec![
        Check::new("control plane namespace does not already exist", "pre-ns", |scene| {
            Box::pin(async move {
                let namespace = &scene.namespace;
                let there = scene.get(&format!("/api/v1/namespaces/{namespace}")).await?.is_some();
                unless(there.then(|| {
                    format!("namespace {namespace} exists: if it holds a mesh, run `mesh upgrade` instead; else delete it or choose another with -L")
                }))
            })
        }),
        Check::new("can create non-namespaced resources", "pre-k8s-cluster-k8s", |scene| {
            Box::pin(async move {
                let mut missing = Vec::new();
                for (group, plural) in CLUSTER_KINDS {
                    if !cluster::may(scene.cluster, "", "create", group, plural).await? {
                        missing.push(plural.to_owned());
                    }
                }
                none_of(&missing, "these may not be created:", TODO)
            })
        }),
    ];
    for (kind, group, plural) in KINDS {
        checks.push(right(format!("can create {kind}"), "create", group, plural));
    }
    checks.push(right("can read Secrets".to_owned(), "get", "", "secrets"));
    checks.push(Check::new("can read extension-apiserver-authentication configmap", "pre-k8s", |scene| {
        Box::pin(async move {
            let map = object(scene.cluster, "kube-system", "configmaps", "extension-apiserver-authentication").await?;
            let has_it = map.is_some_and(|map| map["data"]["requestheader-client-ca-file"].is_string());
            unless((!has_it).then(|| {
                "it is not there, or has no requestheader-client-ca-file: start the API server with --requestheader-client-ca-file"
                    .to_owned()
            }))
        })
    }));
    let clocks = Check::new("no clock skew detected", "pre-k8s-clock-skew", |scene| {
        Box::pin(async move {
            let nodes = scene.list("/api/v1/nodes").await?;
            let now = jiff::Timestamp::try_from(scene.now).map_err(|error| error.to_string())?;
            let skewed: Vec<_> = nodes.iter().filter_map(|node| skew(node, now)).collect();
            none_of(&skewed, "clocks are not alike, or nodes are silent:", "set the clocks of these nodes and of this machine by NTP")
        })
    });
    checks.push(clocks.warning());
    Category { name: "pre-kubernetes-setup", checks }
}

fn right(description: String, verb: &'static str, group: &'static str, plural: &'static str) -> Check {
    Check::new(description, "pre-k8s", move |scene| {
        Box::pin(async move {
            let allowed = cluster::may(scene.cluster, &scene.namespace, verb, group, plural).await.map_err(|Failed(error)| error)?;
            unless((!allowed).then(|| format!("not authorized to {verb} {plural} in namespace {}\n{TODO}", scene.namespace)))
        })
    })
}

/// How far a node's last sign of life is from now, if that is too far.
fn skew(node: &Value, now: jiff::Timestamp) -> Option<String> {
    let ready = node.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == "Ready")?;
    let beat: jiff::Timestamp = ready["lastHeartbeatTime"].as_str()?.parse().ok()?;
    let apart = now.duration_since(beat).unsigned_abs();
    (apart > SKEW).then(|| format!("{}: {} s", name(node), apart.as_secs()))
}
