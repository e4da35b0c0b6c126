//! How long an endpoint takes, judged by its recent worst.

use std::time::Duration;

use tokio::time::Instant;

/// What an endpoint is assumed to take before its first answer.
pub const DEFAULT_RTT: Duration = Duration::from_millis(30);
/// How fast a peak is forgotten: after this time, a share of 1/e is left.
pub const DEFAULT_DECAY: Duration = Duration::from_secs(10);
/// No estimate counts for less: below it, noise would decide.
pub const FLOOR: Duration = Duration::from_millis(1);

/// Moving average of a round-trip time in seconds, quick to rise, slow to fall.
///
/// With `k = exp(-elapsed / window)`, a sample `s` moves the average `a` to `max(s, k*a + (1 - k)*s)`. Source: Finagle,
/// `PeakEwma.scala`.
#[derive(Clone, Copy, Debug)]
pub struct PeakEwma {
    secs: f64,
    at: Instant,
    window: Duration,
}

impl PeakEwma {
    /// Starts at `initial`, with a decay window of `window`.
    #[must_use]
    pub fn new(initial: Duration, window: Duration, now: Instant) -> Self {
        Self { secs: initial.as_secs_f64(), at: now, window }
    }

    /// The average in seconds as it stands at `now`. Reading leaves no trace.
    #[must_use]
    pub fn at(&self, now: Instant) -> f64 {
        self.secs * self.keep(now)
    }

    /// Takes in the round-trip time of a call that succeeded.
    pub fn record(&mut self, rtt: Duration, now: Instant) {
        let (keep, sample) = (self.keep(now), rtt.as_secs_f64());
        self.secs = sample.max(keep * self.secs + (1.0 - keep) * sample);
        self.at = self.at.max(now);
    }

    /// Takes in a lower bound: the average rises to `rtt` if it is below, and otherwise goes on as it would have.
    ///
    /// This is for calls that failed or were given up: an endpoint that fails at once must not look fast.
    pub fn raise(&mut self, rtt: Duration, now: Instant) {
        self.secs = self.at(now).max(rtt.as_secs_f64());
        self.at = self.at.max(now);
    }

    /// The load at `now` in seconds: what `pending` requests ahead and one's own may take.
    ///
    /// `share` is the weight of the endpoint relative to the mean of its pool: one that should take twice the traffic may have
    /// twice as much pending. An idle endpoint's load does not depend on it, or light traffic would all go to the heaviest.
    #[must_use]
    pub fn load(&self, pending: usize, share: f64, now: Instant) -> f64 {
        self.at(now).max(FLOOR.as_secs_f64()) * (pending as f64 / share + 1.0)
    }

    fn keep(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        if elapsed == 0.0 { 1.0 } else { (-elapsed / self.window.as_secs_f64()).exp() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_peak_is_taken_at_once_and_forgotten_slowly() {
        let now = Instant::now();
        let mut ewma = PeakEwma::new(Duration::from_millis(10), WINDOW, now);
        ewma.record(Duration::from_secs(1), now);
        assert!((ewma.at(now) - 1.0).abs() < 1e-9);
        ewma.record(Duration::from_millis(10), now + Duration::from_secs(1));
        assert!(ewma.at(now + Duration::from_secs(1)) > 0.9);
        assert!((ewma.at(now + Duration::from_secs(1) + WINDOW) - 0.91 / std::f64::consts::E).abs() < 0.01);
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_has_a_floor_and_grows_with_what_is_pending() {
        let now = Instant::now();
        let ewma = PeakEwma::new(Duration::ZERO, WINDOW, now);
        assert_eq!(ewma.load(0, 1.0, now), 0.001);
        assert_eq!(ewma.load(4, 1.0, now), 0.005);
        assert_eq!(ewma.load(4, 2.0, now), 0.003);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_of_zero_remembers_nothing_and_is_no_nan() {
        let now = Instant::now();
        let mut ewma = PeakEwma::new(Duration::from_secs(1), Duration::ZERO, now);
        assert_eq!(ewma.at(now + Duration::from_nanos(1)), 0.0);
        ewma.record(Duration::from_millis(5), now + Duration::from_secs(1));
        assert!((ewma.at(now + Duration::from_secs(1)) - 0.005).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn stays_between_the_last_and_the_largest_sample(samples in vec((0u64..60_000, 0u64..5_000), 1..50)) {
            let mut now = Instant::now();
            let mut ewma = PeakEwma::new(Duration::ZERO, WINDOW, now);
            let mut peak = 0.0_f64;
            for (gap, rtt) in samples {
                now += Duration::from_millis(gap);
                ewma.record(Duration::from_millis(rtt), now);
                let rtt = rtt as f64 / 1e3;
                peak = peak.max(rtt);
                prop_assert!(rtt - 1e-9 <= ewma.at(now) && ewma.at(now) <= peak + 1e-9);
            }
        }

        #[test]
        fn a_failure_never_lowers_the_load(first in 0u64..5_000, gap in 0u64..60_000, rtt in 0u64..5_000, later in 0u64..60_000) {
            let start = Instant::now();
            let before = PeakEwma::new(Duration::from_millis(first), WINDOW, start);
            let (mut after, now) = (before, start + Duration::from_millis(gap));
            after.raise(Duration::from_millis(rtt), now);
            let later = now + Duration::from_millis(later);
            prop_assert!(after.at(later) >= before.at(later) - 1e-9);
        }
    }
}
