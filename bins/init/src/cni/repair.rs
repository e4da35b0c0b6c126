//! Which pods started without their rules.
//!
//! A pod that starts before the plugin is on its node has no rules and never gets any: its validator fails for ever. Deleted, it is made anew, with them.

use crate::validate;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_validators_own_status_counts() {
        let ended = |container, exit_code| Ended { container, exit_code };
        assert!(is_unredirected([ended("setup", 0), ended("linkerd-network-validator", 95)]));
        assert!(!is_unredirected([ended("linkerd-network-validator", 137)]));
        assert!(!is_unredirected([ended("setup", 95), ended("linkerd-network-validator", 0)]));
        assert!(!is_unredirected([]));
    }
}
