//! Which pods started without their rules.
//!
//! A pod that starts before the plugin is on its node has no rules and never gets any: its validator fails for ever. Deleted, it is made anew, with them.

use meshkit_manifest::core::Pod;
use serde_json::Value;

use crate::validate;

mod controller;
mod metrics;

pub use controller::Controller;
pub use metrics::Metrics;

/// The init container that proves the rules.
const VALIDATOR: &str = "linkerd-network-validator";
/// What the event on the pod says.
pub const EVENT_REASON: &str = "LinkerdCNINotConfigured";
/// What the event says is done.
pub const EVENT_ACTION: &str = "Deleting";
/// Label of the pods to look at: the others have no proxy.
pub const POD_LABEL: &str = "linkerd.io/control-plane-ns";

/// How an init container of a pod ended last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<'a> {
    /// Its name.
    pub container: &'a str,
    /// What it exited with: `status.initContainerStatuses[].lastState.terminated.exitCode`.
    pub exit_code: i32,
}

/// Is the pod to be deleted, without grace? Only the validator's own status says so; a validator that was killed says nothing of rules.
#[must_use]
pub fn is_unredirected<'a>(ended: impl IntoIterator<Item = Ended<'a>>) -> bool {
    ended.into_iter().any(|last| last.container == VALIDATOR && last.exit_code == i32::from(validate::EXIT_STATUS))
}

/// Can the pod be one of those, going by what is known of it without asking? It has the validator, and has not come past it.
#[must_use]
pub fn is_suspect(pod: &Pod) -> bool {
    let phase = pod.status.phase.as_deref().unwrap_or("Pending");
    phase == "Pending" && pod.spec.init_containers.iter().any(|container| container.name == VALIDATOR)
}

/// The same question about a pod as the API server has it. One that is being deleted is left alone.
#[must_use]
pub fn is_to_be_deleted(pod: &Value) -> bool {
    let statuses = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    let ended = statuses.filter_map(|status| {
        let exit_code = status["lastState"]["terminated"]["exitCode"].as_i64()?;
        Some(Ended { container: status["name"].as_str()?, exit_code: i32::try_from(exit_code).ok()? })
    });
    pod["metadata"]["deletionTimestamp"].is_null() && is_unredirected(ended)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_read_as_the_api_server_has_it() {
        let pod = |validator: Value| json!({"metadata": {}, "status": {"initContainerStatuses": [{"name": "setup"}, validator]}});
        let ended = |code: Value| json!({"name": "linkerd-network-validator", "lastState": {"terminated": {"exitCode": code}}});
        assert!(is_to_be_deleted(&pod(ended(json!(95)))));
        for other in [json!({}), ended(json!(1)), ended(json!("95")), ended(json!(4_294_967_391_u64))] {
            assert!(!is_to_be_deleted(&pod(other)));
        }
        // It runs for the first time: the kubelet has seen no end of it.
        assert!(!is_to_be_deleted(&pod(json!({"name": "linkerd-network-validator", "state": {"terminated": {"exitCode": 95}}}))));
        let mut leaving = pod(ended(json!(95)));
        leaving["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        assert!(!is_to_be_deleted(&leaving));
        assert!(!is_to_be_deleted(&Value::Null));
    }

    #[test]
    fn pods_that_run_or_have_no_validator_are_not_asked_for() {
        let mut pod = Pod::default();
        assert!(!is_suspect(&pod));
        pod.spec.init_containers.push(meshkit_manifest::core::Container { name: VALIDATOR.to_owned(), ..Default::default() });
        assert!(is_suspect(&pod));
        pod.status.phase = Some("Running".to_owned());
        assert!(!is_suspect(&pod));
    }

    #[test]
    fn only_the_validators_own_status_counts() {
        let ended = |container, exit_code| Ended { container, exit_code };
        assert!(is_unredirected([ended("setup", 0), ended("linkerd-network-validator", 95)]));
        assert!(!is_unredirected([ended("linkerd-network-validator", 137)]));
        assert!(!is_unredirected([ended("setup", 95), ended("linkerd-network-validator", 0)]));
        assert!(!is_unredirected([]));
    }
}
