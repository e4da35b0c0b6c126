use std::{fmt, sync::OnceLock};

use super::{
    encode::{Kind, Metric, Samples},
    labels::Labels,
};

// Enough for every status and error of a well-behaved peer. A hostile one meets the catch-all cell.
const MAX: usize = 48;

/// What tells one cell from another: labels that are known only at the end of a request.
pub trait CellKey: Labels + Clone + Eq + Send + Sync + 'static {
    /// Stands for every key that comes after the table is full.
    fn catch_all() -> Self;
}

/// A small table of metrics inside a handle.
///
/// The first sight of a key allocates; later ones find it without a lock and without an allocation, by walking the keys in the
/// order of their first sight. At most 48 keys have a cell of their own; all others share one, labeled [`CellKey::catch_all`].
pub struct Cells<K, M: Metric> {
    first: OnceLock<Box<Cell<K, M>>>,
    shape: M::Shape,
}

struct Cell<K, M: Metric> {
    key: K,
    metric: M,
    next: OnceLock<Box<Cell<K, M>>>,
}

impl<K: CellKey, M: Metric> Cells<K, M> {
    /// An empty table.
    #[must_use]
    pub fn empty(shape: M::Shape) -> Self {
        Self { first: OnceLock::new(), shape }
    }

    /// The metric of a key.
    pub fn cell(&self, key: &K) -> &M {
        let mut slot = &self.first;
        for _ in 0..MAX {
            // Two that come at once: one of them fills the slot, and the other looks at what it became.
            let cell = slot.get_or_init(|| self.make(key.clone()));
            if cell.key == *key {
                return &cell.metric;
            }
            slot = &cell.next;
        }
        // The catch-all may have been a key like any other before the table was full: then it has its cell.
        let rest = K::catch_all();
        if let Some((_, metric)) = self.iter().find(|(key, _)| **key == rest) {
            return metric;
        }
        &slot.get_or_init(|| self.make(rest)).metric
    }

    /// Every key that was seen, in the order of first sight.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &M)> {
        let first = self.first.get();
        std::iter::successors(first, |cell| cell.next.get()).map(|cell| (&cell.key, &cell.metric))
    }

    fn make(&self, key: K) -> Box<Cell<K, M>> {
        Box::new(Cell { key, metric: M::new(&self.shape), next: OnceLock::new() })
    }
}

impl<K: CellKey, M: Metric> Metric for Cells<K, M> {
    type Shape = M::Shape;
    const KIND: Kind = M::KIND;

    fn new(shape: &Self::Shape) -> Self {
        Self::empty(shape.clone())
    }

    fn stamp(&self) -> u64 {
        self.iter().fold(0, |sum, (_, metric)| sum.wrapping_add(1).wrapping_add(metric.stamp()))
    }

    fn encode(&self, out: &mut Samples<'_>) {
        for (key, metric) in self.iter() {
            out.with(key, |out| metric.encode(out));
        }
    }
}

impl<K, M: Metric> fmt::Debug for Cells<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").finish_non_exhaustive()
    }
}
