//! Is everything of a mesh there, and does it run?

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde_json::Value;

use super::{Scene, name, none_of, place, pods};
use crate::{
    check::runner::{Category, Check, Passed, Verdict},
    install::missing_crds,
    values::Tree,
};

/// The Deployments of a control plane.
pub(super) const PARTS: [&str; 3] = ["linkerd-destination", "linkerd-identity", "linkerd-proxy-injector"];

/// The kinds of the mesh.
pub(in crate::check) fn kinds() -> Category {
    Category { name: "linkerd-crd", checks: vec![kinds_exist().fatal().retried()] }
}

pub(super) fn kinds_exist() -> Check {
    Check::new("control plane CustomResourceDefinitions exist", "l5d-existence-crd", |scene| {
        Box::pin(async move {
            let missing = missing_crds(scene.cluster).await?;
            none_of(&missing, "missing CustomResourceDefinitions:", "run `mesh install --crds | kubectl apply -f -`")
        })
    })
}

/// The control plane.
pub(in crate::check) fn existence() -> Category {
    let config = Check::new("'linkerd-config' config map exists", "l5d-existence-linkerd-config", |scene| {
        Box::pin(async move { scene.values().await.map(|_| Passed::Well) })
    });
    let sets = Check::new("control plane replica sets are ready", "l5d-existence-replicasets", |scene| {
        Box::pin(async move { replica_sets(scene).await })
    });
    let scheduled = Check::new("no unschedulable pods", "l5d-existence-unschedulable-pods", |scene| {
        Box::pin(async move {
            let pods = scene.list(&format!("/api/v1/namespaces/{}/pods", scene.namespace)).await?;
            let waiting: Vec<_> = pods.iter().filter_map(unschedulable).collect();
            none_of(
                &waiting,
                "no node takes these pods:",
                "add nodes, or ask for less (`mesh upgrade` with smaller resources or without --ha)",
            )
        })
    });
    let ready =
        Check::new("control plane pods are ready", "l5d-api-control-ready", |scene| Box::pin(async move { parts_ready(scene).await }));
    let nodes = Check::new("cluster networks contains all node podCIDRs", "l5d-cluster-networks-cidr", |scene| {
        Box::pin(async move {
            let nodes = scene.list("/api/v1/nodes").await?;
            let cidr = |node: &Value| node.pointer("/spec/podCIDR").and_then(Value::as_str).map(str::to_owned);
            let known: Vec<_> = nodes.iter().filter_map(|node| Some((name(node).to_owned(), cidr(node)?.parse::<IpNet>().ok()?))).collect();
            if known.is_empty() {
                return Ok(Passed::Skipped);
            }
            let networks = networks(&scene.values().await?)?;
            let outside = known.iter().filter(|(_, cidr)| !networks.iter().any(|network| network.contains(cidr)));
            let outside: Vec<_> = outside.map(|(node, cidr)| format!("{node}: {cidr}")).collect();
            none_of(&outside, "clusterNetworks lacks the networks of nodes:", WIDEN)
        })
    });
    let addresses = Check::new("cluster networks contains all pods", "l5d-cluster-networks-pods", |scene| {
        Box::pin(async move {
            let networks = networks(&scene.values().await?)?;
            let pods = scene.list("/api/v1/pods").await?;
            let own = pods.iter().filter(|pod| pod.pointer("/spec/hostNetwork") != Some(&Value::Bool(true)));
            let outside = own.filter_map(|pod| outside(pod, pod.pointer("/status/podIP")?, &networks));
            none_of(&outside.take(5).collect::<Vec<_>>(), "clusterNetworks lacks the addresses of pods:", WIDEN)
        })
    });
    let services = Check::new("cluster networks contains all services", "l5d-cluster-networks-pods", |scene| {
        Box::pin(async move {
            let networks = networks(&scene.values().await?)?;
            let services = scene.list("/api/v1/services").await?;
            let outside = services.iter().filter_map(|service| outside(service, service.pointer("/spec/clusterIP")?, &networks));
            none_of(&outside.take(1).collect::<Vec<_>>(), "clusterNetworks lacks the addresses of services:", WIDEN)
        })
    });
    let checks =
        vec![config.fatal(), sets.fatal().retried(), scheduled.warning().retried(), ready.fatal().retried(), nodes, addresses, services];
    Category { name: "linkerd-existence", checks }
}

const WIDEN: &str = "run `mesh upgrade --set clusterNetworks=...` with a list that has them, escaping each comma as \\,";

async fn replica_sets(scene: &Scene<'_>) -> Verdict {
    let sets = scene.list(&format!("/apis/apps/v1/namespaces/{}/replicasets", scene.namespace)).await?;
    let number = |set: &Value, pointer: &str| set.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let unready = sets.iter().filter(|set| number(set, "/spec/replicas") != number(set, "/status/readyReplicas"));
    let unready: Vec<_> = unready
        .map(|set| format!("{}: {} of {} ready", name(set), number(set, "/status/readyReplicas"), number(set, "/spec/replicas")))
        .collect();
    none_of(&unready, "not all replicas are ready:", &format!("see `kubectl -n {} describe pods`", scene.namespace))
}

fn unschedulable(pod: &Value) -> Option<String> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let condition = conditions.iter().find(|c| c["type"] == "PodScheduled" && c["status"] == "False" && c["reason"] == "Unschedulable")?;
    Some(format!("{}: {}", name(pod), condition["message"].as_str().unwrap_or_default()))
}

async fn parts_ready(scene: &Scene<'_>) -> Verdict {
    let pods = scene.list(&format!("/api/v1/namespaces/{}/pods", scene.namespace)).await?;
    let mut faults = Vec::new();
    for part in PARTS {
        let own: Vec<_> = pods.iter().filter(|pod| name(pod).starts_with(&format!("{part}-"))).collect();
        if own.is_empty() {
            faults.push(format!("no pods of {part}"));
        } else if !own.iter().any(|pod| pods::is_ready(pod)) {
            faults.push(format!("no pod of {part} is ready"));
        }
    }
    let todo = format!("see `kubectl -n {} describe pods` and the logs of their containers", scene.namespace);
    none_of(&faults, "the control plane does not run:", &todo)
}

/// The networks of the cluster, as the values say.
fn networks(values: &Tree) -> Result<Vec<IpNet>, String> {
    let text = values.text("clusterNetworks");
    let read: Result<Vec<_>, _> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect();
    read.map_err(|_| format!("value clusterNetworks is no list of networks: {text}"))
}

fn outside(object: &Value, address: &Value, networks: &[IpNet]) -> Option<String> {
    // A headless service says `None`.
    let address: IpAddr = address.as_str()?.parse().ok()?;
    (!networks.iter().any(|network| network.contains(&address))).then(|| format!("{}: {address}", place(object)))
}

/// With high availability, is there more than one of everything?
pub(in crate::check) fn high_availability() -> Category {
    let check = Check::new("multiple replicas of control plane pods", "l5d-control-plane-replicas", |scene| {
        Box::pin(async move {
            if !scene.values().await?.is("highAvailability") {
                return Ok(Passed::Skipped);
            }
            let mut few = Vec::new();
            for part in PARTS {
                let deployment = scene.get(&format!("/apis/apps/v1/namespaces/{}/deployments/{part}", scene.namespace)).await?;
                let ready = deployment.and_then(|deployment| deployment.pointer("/status/readyReplicas")?.as_u64()).unwrap_or(0);
                if ready < 2 {
                    few.push(format!("{part}: {ready}"));
                }
            }
            none_of(&few, "not enough replicas are ready:", "add nodes: each replica wants one of its own")
        })
    });
    Category { name: "linkerd-ha-checks", checks: vec![check.warning().retried()] }
}

/// Does each extension have one namespace?
pub(in crate::check) fn extensions() -> Category {
    let check = Check::new("namespace configuration for extensions", "l5d-extension-namespaces", |scene| {
        Box::pin(async move {
            let namespaces = scene.list("/api/v1/namespaces?labelSelector=linkerd.io/extension").await?;
            let mut by_extension: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for namespace in &namespaces {
                let extension = namespace["metadata"]["labels"]["linkerd.io/extension"].as_str().unwrap_or_default();
                by_extension.entry(extension).or_default().push(name(namespace));
            }
            let twice = by_extension.iter().filter(|(_, of)| of.len() > 1).map(|(extension, of)| format!("{extension}: {}", of.join(", ")));
            none_of(
                &twice.collect::<Vec<_>>(),
                "several namespaces say that they are one extension:",
                "take the label linkerd.io/extension from all but one",
            )
        })
    });
    Category { name: "linkerd-extension-checks", checks: vec![check.warning()] }
}
