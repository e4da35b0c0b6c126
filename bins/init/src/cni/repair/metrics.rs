use std::{sync::Arc, time::Duration};

use meshkit_kube::Failure;
use meshkit_runtime::metrics::{Counter, Histogram, Registry, Unit};

const LATENCIES: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What the repair controller counts, by the names of Linkerd's.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) deletions: Calls,
    pub(super) events: Calls,
}

#[derive(Clone, Debug)]
pub(super) struct Calls {
    done: Option<Arc<Counter>>,
    errors: Arc<Counter>,
    timeouts: Arc<Counter>,
    latency: Arc<Histogram>,
}

impl Metrics {
    /// Adds them to a registry.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let scope = registry.open().prefix("linkerd_cni_repair_controller");
        let latency = registry.open().prefix("linkerd_cni_repair_controller").unit(Unit::Seconds);
        Self {
            deletions: Calls {
                done: Some(scope.counter("pods_deleted", "Pods without redirect rules that were deleted")),
                errors: scope.counter("pods_delete_errors", "Pods that could not be deleted"),
                timeouts: scope.counter("pods_delete_timeouts", "Deletions of pods that were not answered in time"),
                latency: latency.histogram("pods_delete_latency", "How long deletions of pods took", LATENCIES),
            },
            events: Calls {
                done: None,
                errors: scope.counter("events_publish_errors", "Events that could not be written"),
                timeouts: scope.counter("events_publish_timeouts", "Events whose writing was not answered in time"),
                latency: latency.histogram("events_publish_latency", "How long it took to write events", LATENCIES),
            },
        }
    }
}

impl Calls {
    /// A call ended; whether it did anything.
    pub(super) fn count(&self, result: Result<bool, &Failure>, took: Duration) {
        match result {
            Ok(done) => {
                self.latency.record_secs(took);
                if let Some(counter) = self.done.as_ref().filter(|_| done) {
                    counter.incr();
                }
            }
            Err(Failure::Elapsed(_)) => self.timeouts.incr(),
            Err(_) => self.errors.incr(),
        }
    }
}
