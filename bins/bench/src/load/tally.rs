//! What was counted.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

/// Latencies beyond it count as this one; in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Counts and latencies of a stretch of time.
#[derive(Clone, Debug)]
pub struct Tally {
    since: Instant,
    /// How long the stretch was.
    pub elapsed: Duration,
    /// Responses that were as wanted.
    pub requests: u64,
    /// Responses that were not, and connections that broke.
    pub failures: u64,
    /// Bytes of payload, where bytes are the matter.
    pub bytes: u64,
    /// In nanoseconds, of the responses that were as wanted.
    latency: Histogram<u64>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a response was as wanted, or it was not")]
pub enum Outcome {
    /// With status 200, and gRPC status 0 where there is one.
    Success,
    /// Otherwise.
    Failure,
}

impl Default for Tally {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order, and three digits are allowed");
        Self { since: Instant::now(), elapsed: Duration::ZERO, requests: 0, failures: 0, bytes: 0, latency }
    }
}

impl Tally {
    pub(super) fn ended(mut self) -> Self {
        self.elapsed = self.since.elapsed();
        self
    }

    pub(super) fn record(&mut self, outcome: Outcome, due: Instant) {
        match outcome {
            Outcome::Success => {
                self.requests += 1;
                self.latency.saturating_record(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            Outcome::Failure => self.failures += 1,
        }
    }

    pub(super) fn fail(&mut self) {
        self.failures += 1;
    }

    /// Responses per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that a share of the responses, from 0 to 1, did not exceed; in microseconds.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1e3
    }
}
