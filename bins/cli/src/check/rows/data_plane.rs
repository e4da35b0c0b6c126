//! Proxies of workloads.

use std::collections::{BTreeMap, BTreeSet};

use meshkit_injector::{
    annotation::{CONFIG, CONFIG_ALPHA, CONFIG_BETA, INJECT, OPAQUE_PORTS},
    ports,
    template::Template,
};
use serde_json::Value;

use super::{Scene, none_of, place, pods, unless, versions::differing};
use crate::{
    check::runner::{Category, Check, Passed, Verdict},
    version::meshed_pods,
};

/// Labels only; as annotations they say nothing.
const LABELS: [&str; 1] = ["mirror.linkerd.io/exported"];

pub(in crate::check) fn data_plane() -> Category {
    let exists = Check::new("data plane namespace exists", "l5d-data-plane-exists", |scene| {
        Box::pin(async move {
            let Some(namespace) = &scene.data_plane else { return Ok(Passed::Skipped) };
            let there = scene.get(&format!("/api/v1/namespaces/{namespace}")).await?.is_some();
            unless((!there).then(|| format!("there is no namespace {namespace}: say another with -n")))
        })
    });
    let ready = Check::new("data plane proxies are ready", "l5d-data-plane-ready", |scene| Box::pin(async move { ready(scene).await }));
    let recent = Check::new("data plane is up-to-date", "l5d-data-plane-version", |scene| {
        Box::pin(async move {
            let Some(wanted) = &scene.expected_version else { return Ok(Passed::Skipped) };
            differing(&meshed(scene).await?, wanted)
        })
    });
    let alike = Check::new("data plane and cli versions match", "l5d-data-plane-cli-version", |scene| {
        Box::pin(async move { differing(&meshed(scene).await?, &scene.cli_version) })
    });
    let pod_labels = Check::new("data plane pod labels are configured correctly", "l5d-data-plane-pod-labels", |scene| {
        Box::pin(async move { misplaced(&meshed(scene).await?, "labels", is_annotation, "make annotations of these labels") })
    });
    let service_labels = Check::new("data plane service labels are configured correctly", "l5d-data-plane-services-labels", |scene| {
        Box::pin(async move { misplaced(&services(scene).await?, "labels", is_annotation, "make annotations of these labels") })
    });
    let service_annotations =
        Check::new("data plane service annotations are configured correctly", "l5d-data-plane-services-annotations", |scene| {
            Box::pin(async move {
                let is_label = |key: &str| LABELS.contains(&key);
                misplaced(&services(scene).await?, "annotations", is_label, "make labels of these annotations")
            })
        });
    let opaque = Check::new("opaque ports are properly annotated", "linkerd-opaque-ports-definition", |scene| {
        Box::pin(async move {
            let faults = opaque_faults(&services(scene).await?, &meshed(scene).await?);
            none_of(
                &faults,
                "Services and their pods do not agree on opaque ports:",
                &format!("give both the same annotation {OPAQUE_PORTS}"),
            )
        })
    });
    let warnings = [recent, alike, pod_labels, service_labels, service_annotations, opaque].map(Check::warning);
    let checks = [exists.fatal(), ready.fatal().retried()].into_iter().chain(warnings).collect();
    Category { name: "linkerd-data-plane", checks }
}

async fn meshed(scene: &Scene<'_>) -> Result<Vec<Value>, String> {
    let pods = scene.list(&meshed_pods(&scene.namespace, scene.data_plane.as_deref())).await?;
    Ok(pods.into_iter().filter(|pod| !pods::has_ended(pod)).collect())
}

async fn services(scene: &Scene<'_>) -> Result<Vec<Value>, String> {
    let within = scene.data_plane.as_ref().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    Ok(scene.list(&format!("/api/v1{within}/services")).await?)
}

async fn ready(scene: &Scene<'_>) -> Verdict {
    let pods = meshed(scene).await?;
    if pods.is_empty() {
        let whose = scene.data_plane.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        return Err(format!(
            "there are no meshed pods{whose}: run `kubectl get deploy -o yaml | mesh inject - | kubectl apply -f -` there"
        ));
    }
    let faults: Vec<_> = pods.iter().filter_map(pods::proxy_fault).collect();
    none_of(&faults, "some pods are not ready:", "see `kubectl describe pod` and `kubectl logs POD linkerd-proxy` of them")
}

/// Keys that say something only as annotations.
fn is_annotation(key: &str) -> bool {
    key == INJECT || [CONFIG, CONFIG_ALPHA, CONFIG_BETA].iter().any(|prefix| key.starts_with(prefix))
}

fn misplaced(objects: &[Value], place_of: &str, is_wrong: impl Fn(&str) -> bool, todo: &str) -> Verdict {
    let mut faults = Vec::new();
    for object in objects {
        let keys = object["metadata"][place_of].as_object().into_iter().flat_map(|map| map.keys()).filter(|key| is_wrong(key));
        let keys: Vec<_> = keys.map(String::as_str).collect();
        if !keys.is_empty() {
            faults.push(format!("{}: {}", place(object), keys.join(", ")));
        }
    }
    none_of(&faults, &format!("{place_of} without effect:"), todo)
}

/// Ports that are opaque on one side only. Ranges count as all that is in them.
pub(in crate::check) fn opaque_faults(services: &[Value], pods: &[Value]) -> Vec<String> {
    let mut faults = BTreeSet::new();
    for service in services.iter().filter(|service| service.pointer("/spec/clusterIP").is_none_or(|ip| ip != "None")) {
        let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object).filter(|selector| !selector.is_empty()) else {
            continue;
        };
        let chosen = pods.iter().filter(|pod| {
            let labels = &pod["metadata"]["labels"];
            pod["metadata"]["namespace"] == service["metadata"]["namespace"]
                && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        });
        for pod in chosen {
            faults.extend(disagreements(service, pod));
        }
    }
    faults.into_iter().collect()
}

fn disagreements(service: &Value, pod: &Value) -> Vec<String> {
    let annotated = |object: &Value| object["metadata"]["annotations"][OPAQUE_PORTS].as_str().map(str::to_owned);
    let named: BTreeMap<_, _> = Template::new(pod).named_ports().into_iter().collect();
    let is_opaque = |list: &Option<String>, port: u64| {
        let resolved = ports::resolve(list.as_deref().unwrap_or_default(), &named.clone().into_iter().collect::<Vec<_>>());
        u16::try_from(port).is_ok_and(|port| !ports::within([port], &resolved).is_empty())
    };
    let (of_service, of_pod) = (annotated(service), annotated(pod));
    let mut faults = Vec::new();
    for port in service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten() {
        let Some(number) = port["port"].as_u64() else { continue };
        let target = match &port["targetPort"] {
            Value::String(name) => named.get(name).copied().map(u64::from),
            Value::Number(target) => target.as_u64(),
            _ => Some(number),
        };
        let Some(target) = target else { continue };
        match (is_opaque(&of_service, number), is_opaque(&of_pod, target)) {
            (true, false) => {
                faults.push(format!("service {} has opaque port {number}, but pod {} lacks {target}", place(service), place(pod)));
            }
            (false, true) => {
                faults.push(format!("pod {} has opaque port {target}, but service {} lacks {number}", place(pod), place(service)));
            }
            _ => {}
        }
    }
    faults
}
