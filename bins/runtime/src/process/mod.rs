//! What the process uses, as metrics.
//!
//! Times of start, clock and uptime are everywhere; processor, memory, files, threads and network are read from `/proc`, and are
//! absent where there is none.

pub mod code;
mod proc;
mod sysconf;

use std::{
    fs,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use meshkit_core::Clock;
use tokio::time::Instant;

use crate::metrics::{Encoder, Kind, LabelWriter, Labels, Registry, Unit};

/// Which build runs, as the labels of `proxy_build_info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // The labels of the metric.
pub struct BuildInfo {
    /// When it was built.
    pub date: String,
    /// From which commit.
    pub git_sha: String,
    /// `debug` or `release`.
    pub profile: String,
    /// Who built it.
    pub vendor: String,
    /// Its version.
    pub version: String,
}

impl Labels for BuildInfo {
    fn write(&self, out: &mut LabelWriter<'_>) {
        out.pair("date", &self.date);
        out.pair("git_sha", &self.git_sha);
        out.pair("profile", &self.profile);
        out.pair("vendor", &self.vendor);
        out.pair("version", &self.version);
    }
}

impl BuildInfo {
    /// Adds `proxy_build_info` to every scrape.
    pub fn register(self, registry: &Registry) {
        registry.open().collect(move |out| {
            out.family("proxy_build_info", "Proxy build info", Kind::Gauge, None, |out| out.with(&self, |out| out.integer(1)));
        });
    }
}

/// Adds the `process_*` families to every scrape. The process counts as started now.
pub fn register(registry: &Registry, clock: Arc<dyn Clock>) {
    let start = unix_secs(clock.now());
    let started_at = Instant::now();
    registry.open().collect(move |out| {
        let float = |out: &mut Encoder, name, help, kind, value: f64| {
            out.family(name, help, kind, Some(Unit::Seconds), |out| out.float(value));
        };
        let start_help = "Time that the process started (in seconds since the UNIX epoch)";
        float(out, "process_start_time", start_help, Kind::Gauge, start);
        let now = unix_secs(clock.now()) as i64;
        out.family("process_clock_time", "Current system time", Kind::Gauge, Some(Unit::Seconds), |out| out.integer(now));
        let uptime = started_at.elapsed().as_secs_f64();
        float(out, "process_uptime", "Total time since the process started", Kind::Counter, uptime);
        linux(out);
    });
}

fn linux(out: &mut Encoder) {
    let read = |path| fs::read_to_string(path).ok();
    let gauge = |out: &mut Encoder, name, help, unit, value: Option<u64>| {
        if let Some(value) = value {
            out.family(name, help, Kind::Gauge, unit, |out| out.integer(value.cast_signed()));
        }
    };
    let stat = read("/proc/self/stat").as_deref().and_then(proc::stat);
    if let (Some(stat), Some(hz)) = (&stat, sysconf::clock_ticks()) {
        let cpu = stat.cpu_ticks as f64 / hz as f64;
        let help = "Total user and system CPU time spent in seconds";
        out.family("process_cpu", help, Kind::Counter, Some(Unit::Seconds), |out| out.float(cpu));
    }
    let bytes = Some(Unit::Bytes);
    gauge(out, "process_virtual_memory", "Virtual memory size in bytes", bytes, stat.as_ref().map(|s| s.virtual_bytes));
    let resident = stat.as_ref().zip(sysconf::page_size()).map(|(s, page)| s.resident_pages.saturating_mul(page));
    gauge(out, "process_resident_memory", "Resident memory size in bytes", bytes, resident);
    // One of them is the folder that is being read.
    let fds = fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1));
    gauge(out, "process_open_fds", "Number of open file descriptors", None, fds);
    let max_fds = read("/proc/self/limits").as_deref().and_then(proc::max_fds);
    gauge(out, "process_max_fds", "Maximum number of open file descriptors", None, max_fds);
    gauge(out, "process_threads", "Number of OS threads in the process", None, stat.as_ref().map(|s| s.threads));
    if let Some(net) = read("/proc/self/net/netstat").as_deref().and_then(proc::network) {
        let received = "Total number of bytes received on the network";
        out.family("process_network_receive", received, Kind::Counter, bytes, |out| out.counter(net.received_bytes));
        let sent = "Total number of bytes sent on the network";
        out.family("process_network_transmit", sent, Kind::Counter, bytes, |out| out.counter(net.sent_bytes));
    }
}

fn unix_secs(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshkit_core::SystemClock;

    use super::*;

    #[test]
    fn every_process_family_is_in_a_scrape() {
        let registry = Registry::new(Duration::from_secs(1));
        register(&registry, Arc::new(SystemClock));
        BuildInfo { version: "0.1.0".into(), ..BuildInfo::default() }.register(&registry);
        let text = registry.encode();
        for series in [
            "process_start_time_seconds ",
            "process_clock_time_seconds ",
            "process_uptime_seconds_total ",
            "proxy_build_info{date=\"\",git_sha=\"\",profile=\"\",vendor=\"\",version=\"0.1.0\"} 1",
        ] {
            assert!(text.contains(&format!("\n{series}")), "{series}: {text}");
        }
        if cfg!(target_os = "linux") {
            for series in [
                "process_cpu_seconds_total ",
                "process_virtual_memory_bytes ",
                "process_resident_memory_bytes ",
                "process_open_fds ",
                "process_max_fds ",
                "process_threads ",
                "process_network_receive_bytes_total ",
                "process_network_transmit_bytes_total ",
            ] {
                assert!(text.contains(&format!("\n{series}")), "{series}: {text}");
            }
        }
    }
}
