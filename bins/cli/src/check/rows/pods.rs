//! What can be said of a pod.

use serde_json::Value;

use super::place;
use crate::version::proxy_container;

/// How pods end that are not to be waited for.
const ENDED: [&str; 4] = ["Completed", "NodeShutdown", "Shutdown", "Terminated"];

/// The names of its containers that are not ready. Init containers that go on running count, too.
fn unready(pod: &Value) -> Vec<&str> {
    let of = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let lasting: Vec<_> =
        of("/spec/initContainers").filter(|c| c["restartPolicy"] == "Always").filter_map(|c| c["name"].as_str()).collect();
    let names = of("/spec/containers").filter_map(|container| container["name"].as_str()).chain(lasting);
    let all: Vec<_> = of("/status/containerStatuses").chain(of("/status/initContainerStatuses")).collect();
    names.filter(|name| !all.iter().any(|status| status["name"] == *name && status["ready"] == true)).collect()
}

/// Is every container of it ready?
pub(super) fn is_ready(pod: &Value) -> bool {
    unready(pod).is_empty()
}

/// Has it ended, so that nobody waits for it?
pub(super) fn has_ended(pod: &Value) -> bool {
    let reason = pod.pointer("/status/reason").and_then(Value::as_str).unwrap_or_default();
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    phase == "Succeeded" || ENDED.contains(&reason)
}

/// What keeps its proxy from working; nothing if nothing does.
pub(super) fn proxy_fault(pod: &Value) -> Option<String> {
    let place = place(pod);
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending");
    if phase != "Running" {
        return Some(format!("{place}: status is {phase}"));
    }
    let Some(proxy) = proxy_container(pod) else {
        return Some(format!("{place}: there is no linkerd-proxy"));
    };
    let env = proxy["env"].as_array().into_iter().flatten();
    if !env.into_iter().any(|variable| variable["name"] == "LINKERD2_PROXY_IDENTITY_LOCAL_NAME") {
        return Some(format!("{place}: its proxy has no identity"));
    }
    let unready = unready(pod);
    (!unready.is_empty()).then(|| format!("{place}: not ready: {}", unready.join(", ")))
}
