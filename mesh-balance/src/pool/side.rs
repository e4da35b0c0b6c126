use std::sync::Arc;

use meshkit_core::Dice;
use tokio::time::Instant;

use super::Entry;
use crate::p2c;

/// The ready endpoints of one side of the zone's border.
pub(super) struct Ready<S> {
    entries: Vec<Arc<Entry<S>>>,
    // The weights, added up one after the other; and whether all are the same.
    sums: Vec<u64>,
    even: bool,
}

impl<S> Default for Ready<S> {
    fn default() -> Self {
        Self { entries: Vec::new(), sums: Vec::new(), even: true }
    }
}

impl<S> Ready<S> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn push(&mut self, entry: Arc<Entry<S>>) {
        let weight = entry.endpoint().weight;
        self.even &= self.entries.first().is_none_or(|first| first.endpoint().weight == weight);
        self.sums.push(self.weight() + u64::from(weight));
        self.entries.push(entry);
    }

    pub(super) fn remove(&mut self, entry: &Entry<S>) {
        let Some(at) = self.entries.iter().position(|e| e.id == entry.id) else { return };
        self.entries.swap_remove(at);
        self.sums.truncate(at);
        for moved in &self.entries[at..] {
            self.sums.push(self.weight() + u64::from(moved.endpoint().weight));
        }
        if !self.even {
            self.even = self.entries.windows(2).all(|pair| pair[0].endpoint().weight == pair[1].endpoint().weight);
        }
    }

    pub(super) fn pick(&self, now: Instant, dice: &Dice) -> Option<&Arc<Entry<S>>> {
        let load = |i: usize| self.load(&self.entries[i], now);
        let picked = if self.even { p2c::pick_by(self.entries.len(), dice, load) } else { p2c::pick_weighted(&self.sums, dice, load) };
        picked.map(|picked| &self.entries[picked])
    }

    /// The load of one of these: its weight counts relative to their mean.
    pub(super) fn load(&self, entry: &Entry<S>, now: Instant) -> f64 {
        let share = if self.even { 1.0 } else { f64::from(entry.endpoint().weight) * self.entries.len() as f64 / self.weight() as f64 };
        entry.member.estimate.load(share, now)
    }

    fn weight(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }
}
