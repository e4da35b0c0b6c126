//! Planned trouble that was made: `outbound_http_faults_total` and `inbound_http_faults_total`.

use std::{sync::Arc, time::Duration};

use meshkit_fault::Observe;
use meshkit_policy::Meta;
use meshkit_runtime::metrics::{Counter, Family, Registry};

use super::{
    Labels,
    route::{parent_labels, route_labels},
};

/// The families of planned trouble.
#[derive(Clone, Debug)]
pub struct FaultFamilies {
    outbound: Family<Labels, Counter>,
    inbound: Family<Labels, Counter>,
}

/// The handles of one route.
#[derive(Debug)]
pub(crate) struct FaultHandle {
    delayed: Arc<Counter>,
    aborted: Arc<Counter>,
    reset: Arc<Counter>,
    throttled: Arc<Counter>,
}

impl FaultFamilies {
    pub(super) fn register(registry: &Registry) -> Self {
        let scope = registry.open();
        Self {
            outbound: scope.counter_family("outbound_http_faults", "Planned trouble that was made for requests of the workload"),
            inbound: scope.counter_family("inbound_http_faults", "Planned trouble that was made for requests to the workload"),
        }
    }

    /// The handles of a route of an outbound policy.
    pub(crate) fn outbound(&self, parent: &Meta, route: &Meta) -> Arc<FaultHandle> {
        FaultHandle::new(&self.outbound, parent, route)
    }

    /// The handles of a route of a server.
    pub(crate) fn inbound(&self, server: &Meta, route: &Meta) -> Arc<FaultHandle> {
        FaultHandle::new(&self.inbound, server, route)
    }
}

impl FaultHandle {
    fn new(family: &Family<Labels, Counter>, parent: &Meta, route: &Meta) -> Arc<Self> {
        let known: Vec<_> = parent_labels(parent).into_iter().chain(route_labels(route)).collect();
        let of = |fault: &str| family.handle(&Labels::new(known.iter().cloned().chain([("fault", fault.to_owned())])));
        Arc::new(Self { delayed: of("delay"), aborted: of("abort"), reset: of("reset"), throttled: of("throttle") })
    }
}

impl Observe for FaultHandle {
    fn delayed(&self, _: Duration) {
        self.delayed.incr();
    }
    fn aborted(&self) {
        self.aborted.incr();
    }
    fn reset(&self) {
        self.reset.incr();
    }
    fn throttled(&self) {
        self.throttled.incr();
    }
}
