use std::{
    sync::atomic::{
        AtomicI64, AtomicU64,
        Ordering::{self, Relaxed},
    },
    time::Duration,
};

use super::encode::{Kind, Metric, Samples};

/// Counts events.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A whole number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// A number with a fraction that is set.
#[derive(Debug, Default)]
pub struct FloatGauge(AtomicU64);

/// Counts sizes by bucket, and adds them up.
///
/// Each count is exact; a scrape in the middle of an update may see the count without the sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    // One per bound, and one for everything above.
    buckets: Box<[AtomicU64]>,
    // The bits of a float.
    sum: AtomicU64,
}

impl Counter {
    /// Counts `n` events.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Counts one event.
    pub fn incr(&self) {
        self.add(1);
    }

    /// The events so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to the value; a negative number takes away.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl FloatGauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

impl Histogram {
    /// A histogram whose buckets hold what is less than or equal to each bound. Bounds rise.
    #[must_use]
    pub fn with_bounds(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted(), "bounds rise");
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Counts a size.
    pub fn record(&self, size: f64) {
        // A dozen bounds: walking them beats a binary search, and most sizes are in the first few.
        let bucket = self.bounds.iter().position(|bound| size <= *bound).unwrap_or(self.bounds.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        let add = |sum: u64| Some((f64::from_bits(sum) + size).to_bits());
        // Never fails: `add` always has a value.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Relaxed, add);
    }

    /// Counts a length of time, in seconds.
    pub fn record_secs(&self, time: Duration) {
        self.record(time.as_secs_f64());
    }

    /// Counts a length of time, in whole milliseconds.
    pub fn record_millis(&self, time: Duration) {
        self.record(time.as_millis() as f64);
    }

    /// How many sizes were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The sum of all sizes.
    #[must_use]
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Relaxed))
    }
}

impl Metric for Counter {
    type Shape = ();
    const KIND: Kind = Kind::Counter;

    fn new((): &()) -> Self {
        Self::default()
    }

    fn stamp(&self) -> u64 {
        self.value()
    }

    fn encode(&self, out: &mut Samples<'_>) {
        out.counter(self.value());
    }
}

impl Metric for Gauge {
    type Shape = ();
    const KIND: Kind = Kind::Gauge;

    fn new((): &()) -> Self {
        Self::default()
    }

    fn stamp(&self) -> u64 {
        self.value().cast_unsigned()
    }

    fn encode(&self, out: &mut Samples<'_>) {
        out.integer(self.value());
    }
}

impl Metric for FloatGauge {
    type Shape = ();
    const KIND: Kind = Kind::Gauge;

    fn new((): &()) -> Self {
        Self::default()
    }

    fn stamp(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn encode(&self, out: &mut Samples<'_>) {
        out.float(self.value());
    }
}

impl Metric for Histogram {
    type Shape = &'static [f64];
    const KIND: Kind = Kind::Histogram;

    fn new(bounds: &Self::Shape) -> Self {
        Self::with_bounds(bounds)
    }

    fn stamp(&self) -> u64 {
        self.count()
    }

    fn encode(&self, out: &mut Samples<'_>) {
        let buckets: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        out.histogram(self.bounds, &buckets, self.sum());
    }
}
