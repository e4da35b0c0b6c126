use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use meshkit_core::{Cause, Dice, Error};
use tokio::time::Instant;

use super::queue::Queue;
use crate::{
    observe::{Counts, Gate, Observe},
    pool::{Entry, Pool, State},
    signal::Signal,
    track::Pending,
    zone,
};

/// What the handles of one balancer, their requests and the driver have in common.
pub(super) struct Shared<S, O> {
    inner: Mutex<Inner<S>>,
    pub(super) signal: Arc<Signal>,
    dice: Dice,
    failfast: Duration,
    observe: O,
}

/// Everything that decisions read and write. No service is called, polled, cloned or dropped under its lock.
pub(super) struct Inner<S> {
    pub(super) pool: Pool<S>,
    pub(super) queue: Queue,
    // Fail-fast: nothing was ready for too long.
    shut: bool,
    // The driver is gone.
    stopped: bool,
    // Handles that wait to be told that requests are taken again.
    turned_away: HashMap<u64, Waker>,
    next_handle: u64,
    // Endpoints that turned out not to be ready, for the driver to poll; and whether their service has failed.
    pub(super) unready: Vec<(Arc<Entry<S>>, Found)>,
    // Endpoints that hold an instance that was polled ready for the queue.
    primed: Vec<Arc<Entry<S>>>,
    told: Counts,
}

/// How an endpoint was found to be not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Pending,
    Failed,
}

/// Where a request goes.
pub(super) enum Turn<S> {
    Go(Arc<Entry<S>>, Pending),
    Wait(u64),
    Fail(Error),
}

impl<S, O> Shared<S, O> {
    pub(super) fn new(zone: Option<zone::Preference>, capacity: usize, failfast: Duration, seed: u64, observe: O) -> Self {
        let inner = Inner {
            pool: Pool::new(zone),
            queue: Queue::new(capacity),
            shut: false,
            stopped: false,
            turned_away: HashMap::new(),
            next_handle: 0,
            unready: Vec::new(),
            primed: Vec::new(),
            told: Counts::default(),
        };
        Self { inner: Mutex::new(inner), signal: Arc::default(), dice: Dice::new(seed), failfast, observe }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observe(&self) -> &O {
        &self.observe
    }

    pub(super) fn dice(&self) -> &Dice {
        &self.dice
    }

    /// Would a request be taken?
    pub(super) fn is_available(&self) -> bool {
        self.lock().is_available()
    }

    /// The driver is gone: nobody will ever make anything ready.
    pub(super) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        let failed = inner.queue.fail();
        // Handles are let in to be told.
        let let_in: Vec<_> = inner.turned_away.drain().map(|(_, waker)| waker).collect();
        drop(inner);
        failed.into_iter().chain(let_in).for_each(Waker::wake);
    }

    /// Waits until a request would be taken. `handle` names who waits, from the second time on.
    pub(super) fn poll_available(&self, handle: &mut Option<u64>, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.is_available() {
            return Poll::Ready(());
        }
        let next = inner.next_handle;
        let id = *handle.get_or_insert(next);
        inner.next_handle += u64::from(id == next);
        inner.turned_away.insert(id, cx.waker().clone());
        Poll::Pending
    }

    /// The handle waits no more.
    pub(super) fn forget(&self, handle: u64) {
        self.lock().turned_away.remove(&handle);
    }
}

impl<S, O: Observe> Shared<S, O> {
    /// Decides what becomes of a request now. `ticket` is its place in the queue, if it has one already.
    pub(super) fn turn(&self, ticket: Option<u64>, now: Instant, cx: &Context<'_>) -> Turn<S> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if ticket.is_some_and(|ticket| inner.queue.has_failed(ticket)) {
            return Turn::Fail(self.refusal(inner));
        }
        let ejected = inner.pool.counts().ejected;
        let picked = inner.pool.pick(now, &self.dice);
        if inner.pool.counts().ejected != ejected {
            // The driver lets them in again.
            self.signal.wake();
        }
        if let Some((entry, pending)) = picked {
            if inner.pool.counts().ready == 0 {
                // The last one was a probe: those who wait, wait for something again.
                self.starve(inner, now);
            }
            self.tell(inner);
            return Turn::Go(entry, pending);
        }
        self.tell(inner);
        if inner.shut || inner.stopped {
            return Turn::Fail(self.refusal(inner));
        }
        let ticket = match ticket {
            Some(ticket) => {
                inner.queue.stay(ticket, cx.waker());
                ticket
            }
            None => {
                let Some(ticket) = inner.queue.join(cx.waker().clone()) else {
                    let waiting = inner.queue.len();
                    return Turn::Fail(
                        Error::new(Cause::LoadShed)
                            .message(format!("no endpoint is ready and {waiting} requests wait already, as many as queue_capacity allows")),
                    );
                };
                self.observe.queue_length(inner.queue.len());
                ticket
            }
        };
        self.starve(inner, now);
        Turn::Wait(ticket)
    }

    /// Gives a place in the queue up. Whoever is next gets the turn.
    pub(super) fn leave(&self, ticket: u64) {
        let mut inner = self.lock();
        let was_full = inner.queue.is_full();
        if inner.queue.leave(ticket) {
            self.observe.queue_length(inner.queue.len());
        }
        let mut primed = Vec::new();
        if inner.queue.is_empty() {
            // Nobody needs what was reserved for those who waited.
            mem::swap(&mut primed, &mut inner.primed);
        }
        let next = if inner.pool.counts().ready > 0 { inner.queue.front() } else { None };
        let room = if was_full { inner.let_in() } else { Vec::new() };
        drop(inner);
        for entry in primed {
            drop(entry.take_primed());
        }
        next.into_iter().chain(room).for_each(Waker::wake);
    }

    /// An instance of the entry's service said that it is not ready, or that it has failed.
    pub(super) fn not_ready(&self, entry: &Arc<Entry<S>>, found: Found, now: Instant) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        // An entry on probation is polled, too, and ejected by its breaker if it has to be.
        if inner.pool.set(entry, State::Pending) {
            inner.unready.push((Arc::clone(entry), found));
            // Others may still be ready, and then this changes nothing for anyone who waits.
            drop(self.settle(inner, now));
        }
        self.signal.wake();
    }

    /// The driver found the endpoint ready. `primed` is the instance that said so.
    pub(super) fn ready(&self, entry: &Arc<Entry<S>>, primed: S, now: Instant) {
        let mut inner = self.lock();
        let next = inner.queue.front();
        let mut unused = Some(primed);
        let mut replaced = None;
        if inner.pool.set(entry, State::Ready)
            && next.is_some()
            && let Some(primed) = unused.take()
        {
            replaced = entry.prime(primed);
            inner.primed.push(Arc::clone(entry));
        }
        let let_in = self.settle(&mut inner, now);
        drop(inner);
        drop((unused, replaced));
        next.into_iter().chain(let_in).for_each(Waker::wake);
    }

    /// Fails those who have waited too long. Returns when that will be, if somebody waits.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.lock();
        let deadline = inner.queue.starved_at()? + self.failfast;
        if now < deadline {
            return Some(deadline);
        }
        inner.shut = true;
        self.observe.gate(Gate::Shut);
        let failed = inner.queue.fail();
        self.observe.queue_length(0);
        drop(inner);
        failed.into_iter().for_each(Waker::wake);
        None
    }

    /// Puts in order what follows from a change of the pool. Returns whom to wake.
    #[must_use = "somebody may wait for the change"]
    pub(super) fn settle(&self, inner: &mut Inner<S>, now: Instant) -> Vec<Waker> {
        self.tell(inner);
        if inner.pool.counts().ready == 0 {
            self.starve(inner, now);
            return Vec::new();
        }
        inner.queue.feed();
        if mem::take(&mut inner.shut) {
            self.observe.gate(Gate::Open);
        }
        inner.let_in()
    }

    fn starve(&self, inner: &mut Inner<S>, now: Instant) {
        if inner.queue.starve(now) {
            // The driver keeps the time.
            self.signal.wake();
        }
    }

    fn tell(&self, inner: &mut Inner<S>) {
        let counts = inner.pool.counts();
        if counts != inner.told {
            inner.told = counts;
            self.observe.endpoints(counts);
        }
    }

    fn refusal(&self, inner: &Inner<S>) -> Error {
        if inner.stopped {
            return Error::new(Cause::Unexpected).message("the driver of the balancer was dropped, and no endpoint is ready");
        }
        Error::new(Cause::FailFast)
    }
}

impl<S> Inner<S> {
    fn is_available(&self) -> bool {
        // A stopped balancer says so to whoever calls it.
        self.pool.counts().ready > 0 || self.stopped || (!self.shut && !self.queue.is_full())
    }

    fn let_in(&mut self) -> Vec<Waker> {
        if self.turned_away.is_empty() { Vec::new() } else { self.turned_away.drain().map(|(_, waker)| waker).collect() }
    }
}

impl<S, O> fmt::Debug for Shared<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
