use std::sync::Arc;

use meshkit_core::Dice;
use tokio::time::Instant;

use super::Entry;
use crate::p2c;

/// The ready endpoints of one side of the zone's border.
pub(super) struct Ready<S> {
    entries: Vec<Arc<Entry<S>>>,
    // The sum of the weights, and whether all are the same.
    weight: u64,
    even: bool,
}

impl<S> Default for Ready<S> {
    fn default() -> Self {
        Self { entries: Vec::new(), weight: 0, even: true }
    }
}

impl<S> Ready<S> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn push(&mut self, entry: Arc<Entry<S>>) {
        let weight = entry.endpoint().weight;
        self.even &= self.entries.first().is_none_or(|first| first.endpoint().weight == weight);
        self.weight += u64::from(weight);
        self.entries.push(entry);
    }

    pub(super) fn remove(&mut self, entry: &Entry<S>) {
        if let Some(at) = self.entries.iter().position(|e| e.id == entry.id) {
            self.entries.swap_remove(at);
            self.weight -= u64::from(entry.endpoint().weight);
            if !self.even {
                self.even = self.entries.windows(2).all(|pair| pair[0].endpoint().weight == pair[1].endpoint().weight);
            }
        }
    }

    /// The picked entry and its load.
    pub(super) fn pick(&self, now: Instant, dice: &Dice) -> Option<(&Arc<Entry<S>>, f64)> {
        let count = self.entries.len();
        let mean = if count == 0 { 1.0 } else { self.weight as f64 / count as f64 };
        let weight = |i: usize| self.entries[i].endpoint().weight;
        let load = |i: usize| self.entries[i].member.estimate.load(f64::from(weight(i)) / mean, now);
        let picked = if self.even { p2c::pick_by(count, dice, load)? } else { p2c::pick_weighted(count, dice, weight, load)? };
        Some((&self.entries[picked], load(picked)))
    }
}
