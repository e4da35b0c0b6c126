//! Versions of this program, of the control plane, and of its proxies.

use serde_json::Value;

use super::{Scene, none_of, place, pods, unless};
use crate::{
    check::runner::{Category, Check, Passed, Verdict},
    version::proxy_version,
};

const OWN: &str = "l5d-version-control";

/// Is this program new enough? Nobody outside is asked which version is the latest: `--expected-version` says it.
pub(in crate::check) fn client() -> Category {
    let check = Check::new("cli is up-to-date", "l5d-version-cli", |scene| {
        Box::pin(async move { expected(scene, &scene.cli_version, "this program", "install that version of it") })
    });
    Category { name: "linkerd-version", checks: vec![check.warning()] }
}

/// Is the control plane?
pub(in crate::check) fn control_plane() -> Category {
    let known = Check::new("can retrieve the control plane version", OWN, |scene| {
        Box::pin(async move { control_plane_version(scene).await.map(|_| Passed::Well) })
    });
    let recent = Check::new("control plane is up-to-date", OWN, |scene| {
        Box::pin(async move {
            let version = control_plane_version(scene).await?;
            expected(scene, &version, "the control plane", "run `mesh upgrade | kubectl apply -f -` with a program of that version")
        })
    });
    let alike = Check::new("control plane and cli versions match", OWN, |scene| {
        Box::pin(async move {
            let (theirs, ours) = (control_plane_version(scene).await?, &scene.cli_version);
            unless((theirs != *ours).then(|| {
                format!("the control plane is {theirs}, and this program is {ours}: run `mesh upgrade | kubectl apply -f -`, or a program of that version")
            }))
        })
    });
    Category { name: "control-plane-version", checks: vec![known.fatal().retried(), recent.warning(), alike.warning()] }
}

async fn control_plane_version(scene: &Scene<'_>) -> Result<String, String> {
    let version = scene.values().await?.text("linkerdVersion");
    if version.is_empty() {
        Err("ConfigMap linkerd-config says no linkerdVersion: run `mesh upgrade | kubectl apply -f -`".to_owned())
    } else {
        Ok(version)
    }
}

fn expected(scene: &Scene<'_>, found: &str, what: &str, todo: &str) -> Verdict {
    match &scene.expected_version {
        None => Ok(Passed::Skipped),
        Some(wanted) => unless((found != wanted).then(|| format!("{what} is {found}, and {wanted} is expected: {todo}"))),
    }
}

/// The proxies of the control plane.
pub(in crate::check) fn control_plane_proxies() -> Category {
    let healthy = Check::new("control plane proxies are healthy", "l5d-cp-proxy-healthy", |scene| {
        Box::pin(async move {
            let faults: Vec<_> = own_pods(scene).await?.iter().filter_map(pods::proxy_fault).collect();
            none_of(
                &faults,
                "not all proxies of the control plane work:",
                &format!("see `kubectl -n {} logs POD linkerd-proxy`", scene.namespace),
            )
        })
    });
    let recent = Check::new("control plane proxies are up-to-date", "l5d-cp-proxy-version", |scene| {
        Box::pin(async move {
            let Some(wanted) = &scene.expected_version else { return Ok(Passed::Skipped) };
            differing(&own_pods(scene).await?, wanted)
        })
    });
    let alike = Check::new("control plane proxies and cli versions match", "l5d-cp-proxy-cli-version", |scene| {
        Box::pin(async move { differing(&own_pods(scene).await?, &scene.cli_version) })
    });
    Category { name: "linkerd-control-plane-proxy", checks: vec![healthy.fatal().retried(), recent.warning(), alike.warning()] }
}

async fn own_pods(scene: &Scene<'_>) -> Result<Vec<Value>, String> {
    let pods = scene.list(&format!("/api/v1/namespaces/{}/pods", scene.namespace)).await?;
    let own = |pod: &Value| pod["metadata"]["labels"]["linkerd.io/control-plane-component"].is_string();
    Ok(pods.into_iter().filter(|pod| own(pod) && !pods::has_ended(pod)).collect())
}

/// Proxies of another version than this.
pub(super) fn differing(pods: &[Value], wanted: &str) -> Verdict {
    let others = pods.iter().filter_map(|pod| proxy_version(pod).filter(|version| *version != wanted).map(|version| (pod, version)));
    let others: Vec<_> = others.map(|(pod, version)| format!("{} ({version})", place(pod))).collect();
    none_of(
        &others,
        &format!("some proxies are not {wanted}:"),
        "run `kubectl rollout restart` on their workloads after the control plane is upgraded",
    )
}
