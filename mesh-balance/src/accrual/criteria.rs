use std::time::Duration;

use meshkit_core::{Outcome, Ratio};
use tokio::time::Instant;

use super::Verdict;

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Too many failures in a row.
    Consecutive,
    /// Too few successes within the window.
    SuccessRate,
    /// The probe failed.
    Probe,
}

/// Counts failures in a row.
#[derive(Clone, Copy, Debug)]
pub struct Consecutive {
    max: u32,
    failures: u32,
}

/// Counts failures in a row, and successes within a sliding window.
#[derive(Clone, Debug)]
pub struct Unified {
    consecutive: Consecutive,
    window: Window,
    success_rate: Option<Ratio>,
    min_requests: u32,
}

const BUCKETS: usize = 10;

#[derive(Clone, Debug)]
struct Window {
    buckets: [Bucket; BUCKETS],
    // The bucket in use, and when its time began.
    head: usize,
    since: Instant,
    width: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    total: u32,
    good: u32,
}

impl Consecutive {
    /// Trips after `max` failures in a row; zero never trips.
    #[must_use]
    pub const fn new(max: u32) -> Self {
        Self { max, failures: 0 }
    }

    /// Takes in a response; true if it is one failure too many. A refusal for rate resets the count.
    pub fn record(&mut self, verdict: Verdict) -> bool {
        match verdict.outcome {
            Outcome::Success => self.failures = 0,
            Outcome::Failure => self.failures = self.failures.saturating_add(1),
        }
        self.max != 0 && self.failures >= self.max
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.failures = 0;
    }
}

impl Unified {
    /// Trips below `success_rate` of at least `min_requests` responses within `window`, or after `max_failures` failures in a row.
    #[must_use]
    pub fn new(window: Duration, success_rate: Option<Ratio>, min_requests: u32, max_failures: u32, now: Instant) -> Self {
        Self { consecutive: Consecutive::new(max_failures), window: Window::new(window, now), success_rate, min_requests }
    }

    /// Takes in a response, and says whether a criterion is met. If both are, it is [`Reason::Consecutive`].
    pub fn record(&mut self, verdict: Verdict, now: Instant) -> Option<Reason> {
        self.window.record(verdict.is_good(), now);
        if self.consecutive.record(verdict) {
            return Some(Reason::Consecutive);
        }
        let wanted = self.success_rate?;
        let Bucket { total, good } = self.window.sum();
        // Compared in 1/10000ths, as whole numbers: what meets the rate exactly is not below it.
        let wanted = (wanted.get() * 10_000.0).round() as u64;
        let below = total >= self.min_requests.max(1) && u64::from(good) * 10_000 < wanted * u64::from(total);
        below.then_some(Reason::SuccessRate)
    }

    /// Forgets everything.
    pub fn clear(&mut self, now: Instant) {
        self.consecutive.clear();
        self.window = Window::new(self.window.width.saturating_mul(BUCKETS as u32), now);
    }
}

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        Self { buckets: [Bucket::default(); BUCKETS], head: 0, since: now, width: (length / BUCKETS as u32).max(Duration::from_nanos(1)) }
    }

    fn record(&mut self, good: bool, now: Instant) {
        self.advance(now);
        let bucket = &mut self.buckets[self.head];
        bucket.total = bucket.total.saturating_add(1);
        bucket.good = bucket.good.saturating_add(u32::from(good));
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        let steps = elapsed.as_nanos() / self.width.as_nanos();
        if steps >= BUCKETS as u128 {
            self.buckets = [Bucket::default(); BUCKETS];
            self.since = now;
            return;
        }
        for _ in 0..steps {
            self.head = (self.head + 1) % BUCKETS;
            self.buckets[self.head] = Bucket::default();
            self.since += self.width;
        }
    }

    fn sum(&self) -> Bucket {
        self.buckets
            .iter()
            .fold(Bucket::default(), |sum, b| Bucket { total: sum.total.saturating_add(b.total), good: sum.good.saturating_add(b.good) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn unified(min: u32, max: u32, now: Instant) -> Unified {
        Unified::new(WINDOW, Ratio::new(0.5), min, max, now)
    }

    #[test]
    fn a_success_or_a_refusal_for_rate_resets_the_row() {
        let mut row = Consecutive::new(2);
        for between in [Verdict::SUCCESS, Verdict::LIMITED] {
            assert!(!row.record(Verdict::FAILURE));
            assert!(!row.record(between));
        }
        assert!(!row.record(Verdict::FAILURE));
        assert!(row.record(Verdict::FAILURE));
        let mut never = Consecutive::new(0);
        assert!((0..100).all(|_| !never.record(Verdict::FAILURE)));
    }

    #[tokio::test(start_paused = true)]
    async fn cold_start_holds_until_min_requests() {
        let now = Instant::now();
        let mut both = unified(5, 0, now);
        for _ in 0..4 {
            assert_eq!(both.record(Verdict::FAILURE, now), None);
        }
        assert_eq!(both.record(Verdict::FAILURE, now), Some(Reason::SuccessRate));
    }

    #[tokio::test(start_paused = true)]
    async fn what_meets_the_rate_exactly_is_not_below_it() {
        let now = Instant::now();
        for percent in 1..=99 {
            let mut both = Unified::new(WINDOW, Ratio::of(percent, 100), 100, 0, now);
            let verdicts = (0..100).map(|n| if n < percent { Verdict::SUCCESS } else { Verdict::FAILURE });
            assert!(verdicts.map(|v| both.record(v, now)).all(|tripped| tripped.is_none()), "{percent} %");
            assert_eq!(both.record(Verdict::FAILURE, now), Some(Reason::SuccessRate), "{percent} %");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_for_rate_lower_the_success_rate() {
        let now = Instant::now();
        let mut both = unified(2, 1, now);
        assert_eq!(both.record(Verdict::LIMITED, now), None);
        assert_eq!(both.record(Verdict::LIMITED, now), Some(Reason::SuccessRate));
    }

    #[tokio::test(start_paused = true)]
    async fn both_criteria_at_once_are_told_as_consecutive() {
        let now = Instant::now();
        let mut both = unified(3, 3, now);
        both.record(Verdict::FAILURE, now);
        both.record(Verdict::FAILURE, now);
        assert_eq!(both.record(Verdict::FAILURE, now), Some(Reason::Consecutive));
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_slides_in_tenths() {
        let now = Instant::now();
        let mut both = unified(4, 0, now);
        for _ in 0..3 {
            both.record(Verdict::FAILURE, now);
        }
        // Still within the window of the three.
        let mut within = both.clone();
        assert_eq!(within.record(Verdict::FAILURE, now + Duration::from_millis(9_900)), Some(Reason::SuccessRate));
        // Their tenth has passed.
        assert_eq!(both.record(Verdict::FAILURE, now + WINDOW), None);
        both.clear(now + WINDOW);
        assert_eq!(both.window.width, Duration::from_secs(1));
    }
}
