//! What is to be reached, as ratios in one run on a machine of two processors.

use crate::{peer::Peer, scenario::Metric};

/// What ours may not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Goal {
    pub(super) scenario: &'static str,
    pub(super) metric: Metric,
    pub(super) at_most: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// Times what a peer has.
    Times(f64, Peer),
    /// In the metric's unit.
    Value(f64),
}

const fn goal(scenario: &'static str, metric: Metric, at_most: Bound) -> Goal {
    Goal { scenario, metric, at_most }
}

pub(super) const ALL: &[Goal] = {
    use Bound::{Times, Value};
    use Metric::{AddedLatency, AddedTailLatency, CpuPerGib, CpuPerRequest, IdleMemory, MemoryPerConnection, TailLatency};
    use Peer::{Envoy, Floor, Haproxy};
    &[
        goal("http1", CpuPerRequest, Times(1.15, Floor)),
        goal("http1", CpuPerRequest, Times(0.45, Envoy)),
        goal("http1", CpuPerRequest, Times(1.35, Haproxy)),
        goal("http2", CpuPerRequest, Times(1.15, Floor)),
        goal("http2", CpuPerRequest, Times(0.58, Envoy)),
        goal("grpc", CpuPerRequest, Times(1.15, Floor)),
        goal("grpc", CpuPerRequest, Times(0.58, Envoy)),
        goal("latency", AddedLatency, Times(0.5, Envoy)),
        goal("latency", AddedTailLatency, Times(0.5, Envoy)),
        goal("handshake", CpuPerRequest, Times(0.8, Envoy)),
        goal("upload", CpuPerGib, Times(0.85, Envoy)),
        goal("upload", CpuPerGib, Times(0.55, Haproxy)),
        goal("download", CpuPerGib, Times(0.85, Envoy)),
        goal("download", CpuPerGib, Times(0.55, Haproxy)),
        goal("idle", MemoryPerConnection, Value(16.0)),
        goal("idle", IdleMemory, Value(10.0)),
        goal("slow", TailLatency, Times(0.5, Envoy)),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn every_goal_is_about_a_scenario_that_is_measured() {
        assert!(ALL.iter().all(|goal| Scenario::named(goal.scenario).is_some()));
    }
}
