use std::{
    any::Any,
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    encode::{Metric, Samples},
    labels::Labels,
    value::Counter,
};

/// The series of one name: a metric for each set of labels.
///
/// Clones are the same family.
pub struct Family<L, M: Metric>(Arc<Shared<L, M>>);

pub(super) struct Shared<L, M: Metric> {
    pub(super) shape: M::Shape,
    series: RwLock<Table<L, M>>,
    series_max: usize,
    dropped: Counter,
}

struct Table<L, M> {
    series: HashMap<L, Series<M>>,
    // Counts up: series are printed in the order in which they were made.
    next: u64,
}

struct Series<M> {
    order: u64,
    metric: Arc<M>,
    // What the stamp was when the series was last seen with a handle or with an update, and when that was.
    stamp: u64,
    seen_at: Instant,
}

/// A family of which the registry does not know the types.
pub(super) trait Source: Send + Sync {
    fn encode(&self, out: &mut Samples<'_>);
    fn sweep(&self, now: Instant, retain: Duration);
    fn dropped(&self) -> u64;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<L, M> Family<L, M>
where
    L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
    M: Metric,
{
    pub(super) fn new(shape: M::Shape, series_max: usize) -> Self {
        let table = Table { series: HashMap::new(), next: 0 };
        Self(Arc::new(Shared { shape, series: RwLock::new(table), series_max, dropped: Counter::default() }))
    }

    pub(super) fn from_shared(shared: Arc<Shared<L, M>>) -> Self {
        Self(shared)
    }

    pub(super) fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.0) as Arc<dyn Source>
    }

    /// The metric with these labels, made at first sight. It stays in the scrape while it is held, and a while longer.
    ///
    /// Once the family has as many series as it may, further handles count for themselves and are not printed;
    /// `mesh_metrics_series_dropped_total` counts them.
    #[must_use]
    pub fn handle(&self, labels: &L) -> Arc<M> {
        if let Some(series) = self.0.series.read().unwrap_or_else(PoisonError::into_inner).series.get(labels) {
            return Arc::clone(&series.metric);
        }
        let mut table = self.0.series.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have been here between the two locks.
        if let Some(series) = table.series.get(labels) {
            return Arc::clone(&series.metric);
        }
        let metric = Arc::new(M::new(&self.0.shape));
        if table.series.len() >= self.0.series_max {
            self.0.dropped.add(1);
            return metric;
        }
        let series = Series { order: table.next, metric: Arc::clone(&metric), stamp: metric.stamp(), seen_at: Instant::now() };
        table.next += 1;
        table.series.insert(labels.clone(), series);
        metric
    }

    /// Every series, in the order in which they were made. Each counts as held for as long as its handle is.
    #[must_use]
    pub fn series(&self) -> Vec<(L, Arc<M>)> {
        self.0.sorted()
    }

    /// How many series there are.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.0.series.read().unwrap_or_else(PoisonError::into_inner).series.len()
    }
}

impl<L: Clone, M: Metric> Shared<L, M> {
    /// A copy, so that no worker that wants a handle waits for the printing.
    fn sorted(&self) -> Vec<(L, Arc<M>)> {
        let mut all: Vec<(u64, L, Arc<M>)> = {
            let table = self.series.read().unwrap_or_else(PoisonError::into_inner);
            table.series.iter().map(|(labels, series)| (series.order, labels.clone(), Arc::clone(&series.metric))).collect()
        };
        all.sort_unstable_by_key(|(order, ..)| *order);
        all.into_iter().map(|(_, labels, metric)| (labels, metric)).collect()
    }
}

impl<L, M> Source for Shared<L, M>
where
    L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
    M: Metric,
{
    fn encode(&self, out: &mut Samples<'_>) {
        for (labels, metric) in self.sorted() {
            out.with(&labels, |out| metric.encode(out));
        }
    }

    fn sweep(&self, now: Instant, retain: Duration) {
        let mut table = self.series.write().unwrap_or_else(PoisonError::into_inner);
        table.series.retain(|_, series| {
            let stamp = series.metric.stamp();
            let busy = Arc::strong_count(&series.metric) > 1 || stamp != series.stamp;
            if busy {
                series.stamp = stamp;
                series.seen_at = now;
            }
            busy || now.saturating_duration_since(series.seen_at) < retain
        });
    }

    fn dropped(&self) -> u64 {
        self.dropped.value()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

// By hand: cloning a family does not need `L: Clone` or `M: Clone`.
impl<L, M: Metric> Clone for Family<L, M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L, M: Metric> fmt::Debug for Family<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").finish_non_exhaustive()
    }
}
