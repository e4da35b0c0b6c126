use std::sync::Arc;

use meshkit_runtime::metrics::{Counter, Histogram, Registry, Unit};

/// Bounds of the time that a write takes, in seconds; the last is the default limit doubled.
const BOUNDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a writer of statuses does: `resource_status_*`, without labels. Clones share the series.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) patches: Arc<Counter>,
    pub(super) api_errors: Arc<Counter>,
    pub(super) timeouts: Arc<Counter>,
    pub(super) duration: Arc<Histogram>,
    pub(super) enqueues: Arc<Counter>,
    pub(super) overflows: Arc<Counter>,
    pub(super) dequeues: Arc<Counter>,
    pub(super) drops: Arc<Counter>,
}

impl Metrics {
    /// Registers the families.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let scope = registry.open().prefix("resource_status");
        Self {
            patches: scope.counter("patches", "Patches that the API server has taken"),
            api_errors: scope.counter("patch_api_errors", "Patches that the API server has refused, or that did not reach it"),
            timeouts: scope.counter("patch_timeouts", "Patches that were given up because no answer came in time"),
            enqueues: scope.counter("patch_enqueues", "Patches that were put into the queue"),
            overflows: scope.counter("patch_enqueue_overflows", "Patches that found the queue full"),
            dequeues: scope.counter("patch_dequeues", "Patches that were taken out of the queue to be sent"),
            drops: scope.counter("patch_drops", "Patches that were dropped because the lease is somebody else's"),
            duration: scope.unit(Unit::Seconds).histogram("patch_duration", "How long patches took", BOUNDS),
        }
    }
}
