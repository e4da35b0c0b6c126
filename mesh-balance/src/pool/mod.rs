//! The endpoints of one service, by address and state.
//!
//! A pool does no I/O: its owner polls services, and tells it what became of them.

mod member;
mod side;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::SocketAddr,
    sync::Arc,
};

use meshkit_core::{Dice, Endpoint, Update, endpoint::Locality};
use tokio::time::Instant;

pub use member::Entry;
pub(crate) use member::{Estimate, Member};

use self::side::Ready;
use crate::{
    accrual::Admission,
    observe::Counts,
    track::Pending,
    zone::{Preference, Side},
};

/// Endpoints keyed by address. Each is ready, pending, ejected by its breaker, or idle because its weight is zero.
pub struct Pool<S> {
    slots: HashMap<SocketAddr, Slot<S>>,
    local: Ready<S>,
    other: Ready<S>,
    zone: Option<Preference>,
    counts: Counts,
}

struct Slot<S> {
    entry: Arc<Entry<S>>,
    state: State,
}

/// What a pool does with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // Matched by drivers, which must handle every state.
pub enum State {
    /// It takes requests.
    Ready,
    /// It has to be polled.
    Pending,
    /// Its breaker keeps it out until then.
    Ejected(Instant),
    /// Its weight is zero.
    Idle,
}

/// What an update asks for, given what a pool holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Addresses that are new, or whose description has changed: these need a service.
    pub add: Vec<Endpoint>,
    /// Addresses that go.
    pub remove: Vec<SocketAddr>,
}

impl<S> Pool<S> {
    /// An empty pool, with or without preference for the client's zone.
    #[must_use]
    pub fn new(zone: Option<Preference>) -> Self {
        Self { slots: HashMap::new(), local: Ready::default(), other: Ready::default(), zone, counts: Counts::default() }
    }

    /// What has to be done for `update` to hold. It is empty if the update says nothing new.
    #[must_use]
    pub fn plan(&self, update: &Update) -> Plan {
        let mut plan = Plan::default();
        // The last description of an address counts.
        let named: HashMap<SocketAddr, &Endpoint> = update.endpoints().iter().map(|e| (e.addr, e)).collect();
        let mut seen = HashSet::new();
        for endpoint in update.endpoints().iter().rev() {
            let known = self.slots.get(&endpoint.addr).is_some_and(|slot| **slot.entry.endpoint() == *endpoint);
            if seen.insert(endpoint.addr) && !known {
                plan.add.push(endpoint.clone());
            }
        }
        plan.add.reverse();
        plan.remove = match update {
            Update::Add(_) => Vec::new(),
            Update::Remove(gone) => gone.iter().copied().filter(|addr| self.slots.contains_key(addr) && seen.insert(*addr)).collect(),
            Update::Reset(_) | Update::DoesNotExist => self.slots.keys().copied().filter(|addr| !named.contains_key(addr)).collect(),
        };
        plan
    }

    /// Takes an entry in, as pending (or idle), and returns the one of the same address that it replaces.
    pub(crate) fn insert(&mut self, entry: Arc<Entry<S>>) -> Option<Arc<Entry<S>>> {
        let addr = entry.addr();
        let old = self.remove(addr);
        let state = if entry.endpoint().weight == 0 { State::Idle } else { State::Pending };
        *self.counts.of(state) += 1;
        self.slots.insert(addr, Slot { entry, state });
        old
    }

    /// Lets an address go.
    pub(crate) fn remove(&mut self, addr: SocketAddr) -> Option<Arc<Entry<S>>> {
        let slot = self.slots.remove(&addr)?;
        *self.counts.of(slot.state) -= 1;
        if slot.state == State::Ready {
            self.side_of(&slot.entry).remove(&slot.entry);
        }
        Some(slot.entry)
    }

    /// Moves `entry` to `state`; false if the pool holds it no more, or holds it idle.
    pub(crate) fn set(&mut self, entry: &Arc<Entry<S>>, state: State) -> bool {
        let Some(slot) = self.slots.get_mut(&entry.addr()).filter(|slot| slot.entry.id == entry.id && slot.state != State::Idle) else {
            return false;
        };
        let old = std::mem::replace(&mut slot.state, state);
        *self.counts.of(old) -= 1;
        *self.counts.of(state) += 1;
        match (old == State::Ready, state == State::Ready) {
            (true, false) => self.side_of(entry).remove(entry),
            (false, true) => self.side_of(entry).push(Arc::clone(entry)),
            _ => {}
        }
        true
    }

    /// The state of `entry`, while the pool holds it.
    pub(crate) fn state(&self, entry: &Entry<S>) -> Option<State> {
        self.slots.get(&entry.addr()).filter(|slot| slot.entry.id == entry.id).map(|slot| slot.state)
    }

    /// Picks among the ready endpoints, and counts a request on the picked one. Those whose breakers turn out to be open are ejected.
    pub(crate) fn pick(&mut self, now: Instant, dice: &Dice) -> Option<(Arc<Entry<S>>, Pending)> {
        loop {
            let entry = Arc::clone(self.choose(now, dice)?);
            let Some(breaker) = &entry.member.breaker else {
                let pending = entry.member.begin(None, now);
                return Some((entry, pending));
            };
            match breaker.admit(now) {
                Admission::Admitted(pass) => {
                    if let (true, Some(until)) = (pass.is_probe(), breaker.probe_at()) {
                        // Nobody else until the probe has been answered.
                        self.set(&entry, State::Ejected(until));
                    }
                    let pending = entry.member.begin(Some(pass), now);
                    return Some((entry, pending));
                }
                Admission::Refused(until) => {
                    self.set(&entry, State::Ejected(until));
                }
            }
        }
    }

    fn choose(&self, now: Instant, dice: &Dice) -> Option<&Arc<Entry<S>>> {
        let Some(zone) = self.zone else { return self.other.pick(now, dice) };
        let (local, other) = (self.local.pick(now, dice), self.other.pick(now, dice));
        let loads = (local.map(|entry| self.local.load(entry, now)), other.map(|entry| self.other.load(entry, now)));
        match zone.decide(loads.0, self.local.len(), loads.1)? {
            Side::Local => local,
            Side::Other => other,
        }
    }

    fn side_of(&mut self, entry: &Entry<S>) -> &mut Ready<S> {
        let local = self.zone.is_some() && entry.endpoint().locality == Locality::Local;
        if local { &mut self.local } else { &mut self.other }
    }

    /// The entry of an address.
    #[must_use]
    pub fn get(&self, addr: SocketAddr) -> Option<&Arc<Entry<S>>> {
        self.slots.get(&addr).map(|slot| &slot.entry)
    }

    /// All entries with their states, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Entry<S>>, State)> {
        self.slots.values().map(|slot| (&slot.entry, slot.state))
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many endpoints there are by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Counts {
    fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Ready => &mut self.ready,
            State::Pending => &mut self.pending,
            State::Ejected(_) => &mut self.ejected,
            State::Idle => &mut self.idle,
        }
    }
}

impl<S> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("counts", &self.counts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
