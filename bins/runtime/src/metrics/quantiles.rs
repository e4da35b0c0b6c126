use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

use super::encode::{Kind, Metric, Samples};

// In microseconds. Two significant digits over this range need some 20 KiB at most, allocated as values come.
const MAX_MICROS: u64 = 60_000_000;

/// Quantiles of lengths of time, from 1 us to 60 s, to within one percent.
///
/// Longer and shorter times count as the ends of the range. A record takes a lock for some tens of nanoseconds.
pub struct Quantiles(Mutex<Recorded>);

#[derive(Clone)]
struct Recorded {
    times: Histogram<u32>,
    sum: Duration,
    // Records since the beginning, over all snapshots that were taken.
    total: u64,
}

/// What [`Quantiles`] had recorded at one moment. All zero if there was nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many times were recorded.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
    /// Half of them were this short or shorter.
    pub p50: Duration,
    /// 95 in 100 of them were this short or shorter.
    pub p95: Duration,
    /// 99 in 100 of them were this short or shorter.
    pub p99: Duration,
}

impl Quantiles {
    /// Nothing recorded.
    #[must_use]
    pub fn empty() -> Self {
        let mut times =
            Histogram::new_with_bounds(1, MAX_MICROS, 2).expect("1 to 60 000 000 at two digits are bounds that the crate allows");
        times.auto(false);
        Self(Mutex::new(Recorded { times, sum: Duration::ZERO, total: 0 }))
    }

    /// Records a length of time.
    pub fn record(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(MAX_MICROS).clamp(1, MAX_MICROS);
        let mut recorded = self.lock();
        recorded.times.saturating_record(micros);
        recorded.sum = recorded.sum.saturating_add(time);
        recorded.total += 1;
    }

    /// What has been recorded.
    #[must_use]
    pub fn snapshot(&self) -> Summary {
        self.lock().summary()
    }

    /// What has been recorded since the last `take`; begins anew.
    #[must_use]
    pub fn take(&self) -> Summary {
        let mut recorded = self.lock();
        let summary = recorded.summary();
        recorded.times.reset();
        recorded.sum = Duration::ZERO;
        summary
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    fn summary(&self) -> Summary {
        let at = |quantile| match self.times.is_empty() {
            true => Duration::ZERO,
            false => Duration::from_micros(self.times.value_at_quantile(quantile)),
        };
        Summary { count: self.times.len(), sum: self.sum, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

/// Printed as an OpenMetrics summary, in seconds.
impl Metric for Quantiles {
    type Shape = ();
    const KIND: Kind = Kind::Summary;

    fn new((): &()) -> Self {
        Self::empty()
    }

    fn stamp(&self) -> u64 {
        self.lock().total
    }

    fn encode(&self, out: &mut Samples<'_>) {
        let Summary { count, sum, p50, p95, p99 } = self.snapshot();
        let quantiles = [(0.5, p50.as_secs_f64()), (0.95, p95.as_secs_f64()), (0.99, p99.as_secs_f64())];
        out.summary(&quantiles, count, sum.as_secs_f64());
    }
}

impl fmt::Debug for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}
