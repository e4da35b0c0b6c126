use std::time::Duration;

use meshkit_runtime::{logs, threads::worker_count};

/// Threads, logs and the end of the process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Runtime {
    /// The fewest workers: default 1.
    pub cores_min: usize,
    /// The most workers: default unset.
    pub cores_max: Option<usize>,
    /// The most workers, as a share of the processors, in `(0, 1]`: default unset.
    pub cores_max_ratio: Option<f64>,
    /// The log filter: default `warn,linkerd=info,hickory=error`; `off` is no logs at all.
    pub log: String,
    /// How a log line looks: default plain.
    pub log_format: logs::Format,
    /// One line per request: default none.
    pub access_log: Option<AccessLog>,
    /// How long what is in flight may take after a signal: default 2 m.
    pub shutdown_grace_period: Duration,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two of the proxy whose settings these are.
pub enum AccessLog {
    /// As Apache writes it.
    Apache,
    /// One JSON object.
    Json,
}

impl Runtime {
    /// How many workers to run on this many processors.
    #[must_use]
    pub fn worker_count(&self, available: usize) -> usize {
        worker_count(self.cores_min, self.cores_max, self.cores_max_ratio, available)
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            cores_min: 1,
            cores_max: None,
            cores_max_ratio: None,
            log: "warn,linkerd=info,hickory=error".to_owned(),
            log_format: logs::Format::Plain,
            access_log: None,
            shutdown_grace_period: Duration::from_secs(120),
        }
    }
}
