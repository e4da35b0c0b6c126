//! What balancers are doing: `outbound_{http,tcp,tls}_balancer_*`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use meshkit_balance::{
    accrual::Transition,
    observe::{Counts, Gate, Observe, Op},
};
use meshkit_core::Clock;
use meshkit_runtime::metrics::{Counter, Family, FloatGauge, Gauge, Histogram, Registry, Unit};

use super::Labels;

const QUEUE_SECONDS: &[f64] = &[0.0005, 0.005, 0.05, 0.5, 1.0, 3.0];

/// The families of one kind of balancer.
#[derive(Clone, Debug)]
pub struct BalancerFamilies {
    clock: Arc<dyn Clock>,
    endpoints: Family<Labels, Gauge>,
    picked_from: Family<Labels, Gauge>,
    updates: Family<Labels, Counter>,
    queue_length: Family<Labels, Gauge>,
    queue_requests: Family<Labels, Counter>,
    queue_latency: Family<Labels, Histogram>,
    opened: Family<Labels, Counter>,
    shut: Family<Labels, Counter>,
    opened_at: Family<Labels, FloatGauge>,
    shut_at: Family<Labels, FloatGauge>,
    patience: Family<Labels, FloatGauge>,
    ejected: Family<Labels, Counter>,
    recovered: Family<Labels, Counter>,
}

/// The handles of one balancer.
#[derive(Debug)]
pub(crate) struct BalancerHandle {
    clock: Arc<dyn Clock>,
    ready: Arc<Gauge>,
    pending: Arc<Gauge>,
    picked_from: Arc<Gauge>,
    adds: Arc<Counter>,
    removals: Arc<Counter>,
    resets: Arc<Counter>,
    queue_length: Arc<Gauge>,
    queue_requests: Arc<Counter>,
    queue_latency: Arc<Histogram>,
    opened: Arc<Counter>,
    shut: Arc<Counter>,
    opened_at: Arc<FloatGauge>,
    shut_at: Arc<FloatGauge>,
    ejected: Arc<Counter>,
    recovered: Arc<Counter>,
}

impl BalancerFamilies {
    pub(super) fn register(registry: &Registry, prefix: &str, clock: Arc<dyn Clock>) -> Self {
        let scope = registry.open().prefix(prefix);
        let seconds = scope.clone().unit(Unit::Seconds);
        Self {
            clock,
            endpoints: scope.gauge_family("endpoints", "Endpoints, by whether they can take a request"),
            picked_from: scope.gauge_family("p2c_endpoints", "Endpoints that discovery has named"),
            updates: scope.counter_family("p2c_updates", "Updates of discovery"),
            queue_length: scope.gauge_family("queue_length", "Requests that wait for an endpoint"),
            queue_requests: scope.counter_family("queue_requests", "Requests given to an endpoint"),
            queue_latency: seconds.histogram_family("queue_latency", "How long requests waited for an endpoint", QUEUE_SECONDS),
            opened: scope.counter_family("queue_gate_open", "Times that the queue began to take requests again"),
            shut: scope.counter_family("queue_gate_shut", "Times that nothing was ready for too long, and requests failed at once"),
            opened_at: seconds.family("queue_gate_open_time", "When the queue began to take requests; 0 while it does not", ()),
            shut_at: seconds.family("queue_gate_shut_time", "When the queue stopped taking requests; 0 while it takes them", ()),
            patience: seconds.family("queue_gate_timeout", "How long nothing may be ready before requests fail at once", ()),
            ejected: scope.counter_family("breaker_open", "Times that an endpoint was given a rest because of its failures"),
            recovered: scope.counter_family("breaker_close", "Times that an endpoint was taken back"),
        }
    }

    /// The handles of a balancer, which waits `patience` for an endpoint.
    pub(crate) fn handle(&self, labels: Vec<(&'static str, String)>, patience: Duration) -> BalancerHandle {
        let with = |key: &'static str, value: &str| Labels::new(labels.iter().cloned().chain([(key, value.to_owned())]));
        let own = Labels::new(labels.clone());
        self.patience.handle(&own).set(patience.as_secs_f64());
        let handle = BalancerHandle {
            clock: Arc::clone(&self.clock),
            ready: self.endpoints.handle(&with("endpoint_state", "ready")),
            pending: self.endpoints.handle(&with("endpoint_state", "pending")),
            picked_from: self.picked_from.handle(&own),
            adds: self.updates.handle(&with("op", "Add")),
            removals: self.updates.handle(&with("op", "Remove")),
            resets: self.updates.handle(&with("op", "Reset")),
            queue_length: self.queue_length.handle(&own),
            queue_requests: self.queue_requests.handle(&own),
            queue_latency: self.queue_latency.handle(&own),
            opened: self.opened.handle(&own),
            shut: self.shut.handle(&own),
            opened_at: self.opened_at.handle(&own),
            shut_at: self.shut_at.handle(&own),
            ejected: self.ejected.handle(&own),
            recovered: self.recovered.handle(&own),
        };
        handle.opened_at.set(handle.now());
        handle
    }
}

impl BalancerHandle {
    fn now(&self) -> f64 {
        self.clock.now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

impl Observe for BalancerHandle {
    fn endpoints(&self, counts: Counts) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.ready.set(number(counts.ready));
        self.pending.set(number(counts.pending + counts.ejected));
        self.picked_from.set(number(counts.ready + counts.pending + counts.ejected + counts.idle));
    }

    fn update(&self, op: Op) {
        match op {
            Op::Add => self.adds.incr(),
            Op::Remove => self.removals.incr(),
            // A service that does not exist has no endpoints: the whole set was named.
            Op::Reset | Op::DoesNotExist => self.resets.incr(),
        }
    }

    fn queue_length(&self, count: usize) {
        self.queue_length.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn request(&self, waited: Duration) {
        self.queue_requests.incr();
        self.queue_latency.record_secs(waited);
    }

    fn gate(&self, gate: Gate) {
        let (count, at, other) = match gate {
            Gate::Open => (&self.opened, &self.opened_at, &self.shut_at),
            Gate::Shut => (&self.shut, &self.shut_at, &self.opened_at),
        };
        count.incr();
        at.set(self.now());
        other.set(0.0);
    }

    fn failed(&self, addr: SocketAddr) {
        tracing::debug!(endpoint.addr = %addr, "the connection to an endpoint is made anew");
    }

    fn breaker(&self, addr: SocketAddr, transition: Transition) {
        tracing::info!(endpoint.addr = %addr, ?transition, "breaker");
        match transition {
            Transition::Opened { .. } => self.ejected.incr(),
            Transition::Closed => self.recovered.incr(),
        }
    }
}
