//! The CNI plugin, where it is used.

use super::{RBAC, Scene};
use crate::check::runner::{Category, Check, Passed, Verdict};

/// Where an object is, given the plugin's namespace.
type Place = fn(&str) -> String;

/// Objects of the plugin: what it is called, its anchor, and where it is.
const OBJECTS: [(&str, &str, Place); 5] = [
    ("ConfigMap", "cni-plugin-cm-exists", |ns| format!("/api/v1/namespaces/{ns}/configmaps/linkerd-cni-config")),
    ("ClusterRole", "cni-plugin-cr-exists", |_| format!("{RBAC}/clusterroles/linkerd-cni")),
    ("ClusterRoleBinding", "cni-plugin-crb-exists", |_| format!("{RBAC}/clusterrolebindings/linkerd-cni")),
    ("ServiceAccount", "cni-plugin-sa-exists", |ns| format!("/api/v1/namespaces/{ns}/serviceaccounts/linkerd-cni")),
    ("DaemonSet", "cni-plugin-ds-exists", daemon_set),
];

fn daemon_set(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/linkerd-cni")
}

pub(in crate::check) fn cni() -> Category {
    let mut checks: Vec<_> = OBJECTS
        .into_iter()
        .map(|(kind, anchor, path)| {
            let check = Check::new(format!("cni plugin {kind} exists"), anchor, move |scene| {
                Box::pin(async move {
                    if !is_wanted(scene).await? {
                        return Ok(Passed::Skipped);
                    }
                    match scene.get(&path(&scene.cni_namespace)).await? {
                        Some(_) => Ok(Passed::Well),
                        None => Err(format!("there is no {kind} of the plugin: run `mesh install-cni | kubectl apply -f -`")),
                    }
                })
            });
            check.fatal()
        })
        .collect();
    let running =
        Check::new("cni plugin pod is running on all nodes", "cni-plugin-ready", |scene| Box::pin(async move { running(scene).await }));
    checks.push(running.fatal().retried());
    Category { name: "linkerd-cni-plugin", checks }
}

async fn is_wanted(scene: &Scene<'_>) -> Result<bool, String> {
    Ok(scene.wants_cni || scene.values().await?.is("cniEnabled"))
}

async fn running(scene: &Scene<'_>) -> Verdict {
    if !is_wanted(scene).await? {
        return Ok(Passed::Skipped);
    }
    let set = scene.get(&daemon_set(&scene.cni_namespace)).await?.unwrap_or_default();
    let number = |pointer: &str| set.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let (ready, wanted) = (number("/status/numberReady"), number("/status/desiredNumberScheduled"));
    if ready == wanted && wanted > 0 {
        return Ok(Passed::Well);
    }
    Err(format!("{ready} of {wanted} pods are ready: see `kubectl -n {} describe pods`", scene.cni_namespace))
}
