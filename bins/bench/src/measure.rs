//! One measurement of one peer.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{
    load::{Idle, Load},
    peer::Topology,
    scenario::Metric,
    usage,
};

/// How long one measurement takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Before it counts.
    pub warm: Duration,
    /// While it counts.
    pub window: Duration,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Responses as wanted.
    pub requests: u64,
    /// Others.
    pub failures: u64,
    /// How long it counted, in seconds.
    pub seconds: f64,
    /// Bytes, where they are the matter.
    pub bytes: u64,
    /// Responses per second.
    pub rate: f64,
    /// Median latency, in microseconds.
    pub p50: f64,
    /// The latency of one in a hundred, in microseconds.
    pub p99: f64,
    /// The latency of one in a thousand, in microseconds.
    pub p999: f64,
    /// CPU time of the outbound proxy, in seconds.
    pub outbound_cpu: f64,
    /// CPU time of the inbound proxies, in seconds.
    pub inbound_cpu: f64,
    /// Resident memory of all proxies, in KiB.
    pub memory: u64,
    /// Resident memory of the outbound proxy per idle connection, in KiB.
    pub memory_per_connection: Option<f64>,
    /// Resident memory of the outbound proxy before there is a connection, in KiB.
    pub idle_memory: Option<f64>,
}

/// Runs a load, and reads what the proxies have used while it counted.
///
/// # Errors
/// The load cannot be started.
pub async fn load(load: Load, topology: &Topology, times: Times) -> io::Result<Sample> {
    let running = load.start()?;
    sleep(times.warm).await;
    let before = [usage::cpu_of(&topology.outbound), usage::cpu_of(&topology.inbound)];
    let _ = running.take();
    sleep(times.window).await;
    let tally = running.take();
    let after = [usage::cpu_of(&topology.outbound), usage::cpu_of(&topology.inbound)];
    let memory = usage::resident(&topology.proxies());
    running.stop().await;
    let [outbound_cpu, inbound_cpu] = [0, 1].map(|hop| after[hop].saturating_sub(before[hop]).as_secs_f64());
    Ok(Sample {
        requests: tally.requests,
        failures: tally.failures,
        seconds: tally.elapsed.as_secs_f64(),
        bytes: tally.bytes,
        rate: tally.rate(),
        p50: tally.quantile(0.5),
        p99: tally.quantile(0.99),
        p999: tally.quantile(0.999),
        outbound_cpu,
        inbound_cpu,
        memory,
        memory_per_connection: None,
        idle_memory: None,
    })
}

/// Opens connections, and reads what memory they take.
///
/// # Errors
/// A connection's first request fails.
pub async fn idle(count: usize, topology: &Topology) -> io::Result<Sample> {
    let target = topology.http1.ok_or(io::ErrorKind::Unsupported)?;
    let idle_memory = Some(usage::resident(&topology.outbound) as f64);
    let mut idle = Idle::default();
    // What the first ones cost is the proxy's, not the connections'.
    idle.open(count.min(20), target, &topology.authority).await?;
    let before = usage::resident(&topology.outbound);
    idle.open(count, target, &topology.authority).await?;
    sleep(Duration::from_millis(500)).await;
    let after = usage::resident(&topology.outbound);
    let grown = after.saturating_sub(before) as f64;
    let requests = idle.count() as u64;
    let memory = usage::resident(&topology.proxies());
    Ok(Sample { requests, memory, memory_per_connection: Some(grown / count as f64), idle_memory, ..Sample::default() })
}

impl Sample {
    /// CPU time of all proxies, in seconds.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        self.outbound_cpu + self.inbound_cpu
    }

    /// Bytes per second.
    #[must_use]
    pub fn byte_rate(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    /// What a report compares. `direct` is the same load without a proxy.
    #[must_use]
    pub fn value(&self, metric: Metric, direct: Option<&Self>) -> Option<f64> {
        let value = match metric {
            Metric::CpuPerRequest => self.cpu() * 1e6 / self.requests as f64,
            Metric::CpuPerGib => self.cpu() / (self.bytes as f64 / f64::from(1 << 30)),
            Metric::AddedLatency => self.p50 - direct?.p50,
            Metric::AddedTailLatency => self.p99 - direct?.p99,
            Metric::TailLatency => self.p99,
            Metric::MemoryPerConnection => self.memory_per_connection?,
            Metric::IdleMemory => self.idle_memory? / 1024.0,
        };
        value.is_finite().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_per_unit_of_work_and_absent_without_work() {
        let sample = Sample { requests: 1000, bytes: 2 << 30, outbound_cpu: 0.03, inbound_cpu: 0.01, p50: 300.0, ..Sample::default() };
        assert_eq!(sample.value(Metric::CpuPerRequest, None), Some(40.0));
        assert_eq!(sample.value(Metric::CpuPerGib, None), Some(0.02));
        assert_eq!(sample.value(Metric::AddedLatency, None), None);
        let direct = Sample { p50: 100.0, ..Sample::default() };
        assert_eq!(sample.value(Metric::AddedLatency, Some(&direct)), Some(200.0));
        assert_eq!(Sample::default().value(Metric::CpuPerRequest, None), None);
    }
}
