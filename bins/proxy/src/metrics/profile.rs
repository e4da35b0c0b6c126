//! What the routes of service profiles have done: `route_*` and `route_actual_*`.

use std::sync::Arc;

use meshkit_core::Outcome;
use meshkit_retry::Observe;
use meshkit_runtime::metrics::{Cells, Counter, Family, Histogram, Registry};
use meshkit_wire::profile::Route;

use super::{
    Labels,
    http::{HttpHandle, LATENCY_MS, ResponseKey, StatusKey},
};

/// The families of the routes of service profiles.
#[derive(Clone, Debug)]
pub struct ProfileFamilies {
    requests: Family<Labels, Counter>,
    responses: Family<Labels, Cells<ResponseKey, Counter>>,
    latency: Family<Labels, Cells<StatusKey, Histogram>>,
    actual_requests: Family<Labels, Counter>,
    actual_responses: Family<Labels, Cells<ResponseKey, Counter>>,
    retryable: Family<Labels, Counter>,
}

/// The handles of one route of a service profile.
#[derive(Debug)]
pub(crate) struct ProfileHandle {
    /// What the client sees.
    pub(crate) route: HttpHandle,
    /// Every try.
    pub(crate) actual: HttpHandle,
    retryable: Arc<Counter>,
    no_budget: Arc<Counter>,
}

impl ProfileFamilies {
    pub(super) fn register(registry: &Registry) -> Self {
        let legacy = registry.legacy();
        Self {
            requests: legacy.counter_family("route_request_total", "Requests of a service profile's route"),
            responses: legacy.counter_cells("route_response_total", "Responses of a service profile's route"),
            latency: legacy.histogram_cells(
                "route_response_latency_ms",
                "Milliseconds from a request to its response's first data, by the routes of service profiles",
                LATENCY_MS,
            ),
            actual_requests: legacy.counter_family("route_actual_request_total", "Requests of a service profile's route, each try of them"),
            actual_responses: legacy.counter_cells("route_actual_response_total", "Responses of a service profile's route, to each try"),
            retryable: legacy.counter_family("route_retryable_total", "Retries of a service profile's route that were due"),
        }
    }

    /// The handles of a route of the profile of `dst`, a name with a port.
    pub(crate) fn route(&self, direction: &'static str, dst: &str, route: Option<&Route>) -> ProfileHandle {
        let own = [("direction".to_owned(), direction.to_owned()), ("dst".to_owned(), dst.to_owned())];
        let route = route.into_iter().flat_map(|route| route.labels.iter().map(|(key, value)| (format!("rt_{key}"), value.clone())));
        let pairs: Vec<_> = own.into_iter().chain(route).collect();
        let labels = Labels::new(pairs.clone());
        let no_budget = Labels::new(pairs.into_iter().chain([("skipped".to_owned(), "no_budget".to_owned())]));
        ProfileHandle {
            route: HttpHandle::new(self.requests.handle(&labels), self.responses.handle(&labels), Some(self.latency.handle(&labels))),
            actual: HttpHandle::new(self.actual_requests.handle(&labels), self.actual_responses.handle(&labels), None),
            retryable: self.retryable.handle(&labels),
            no_budget: self.retryable.handle(&no_budget),
        }
    }
}

/// What a response of the route counts as, as far as its status says: by the route's classes, then by the protocol.
pub(crate) fn decided(route: Option<&Route>, status: http::StatusCode) -> Option<Outcome> {
    route?.classes.iter().find(|class| class.condition.matches(status)).map(|class| class.outcome)
}

impl Observe for ProfileHandle {
    fn retry(&self, _: u32) {
        self.retryable.incr();
    }
    fn over_budget(&self) {
        self.no_budget.incr();
    }
}
