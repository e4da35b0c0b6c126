use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use meshkit_core::{Endpoint, Update};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::{
    Config,
    shared::{Found, Shared},
};
use crate::{
    observe::{Observe, Op},
    pool::{Entry, Estimate, Member, State},
    signal::EndpointWaker,
};

/// The half of a balancer that is spawned: see [`Driver::run`].
#[must_use = "nothing becomes ready unless the driver runs"]
pub struct Driver<S, F, O = ()> {
    shared: Arc<Shared<S, O>>,
    config: Config,
    new_endpoint: F,
    next_id: u64,
    polled: HashMap<u64, Polled<S>>,
}

/// A running [`Driver`]: ends when the last handle of its balancer is gone, and no request waits.
///
/// When it is dropped before, endpoints that are ready stay so, and nothing else becomes ready.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Run<S, F, O, U, R> {
    driver: Driver<S, F, O>,
    #[pin]
    updates: U,
    ended: bool,
    #[pin]
    sleep: Option<Sleep>,
    _request: std::marker::PhantomData<fn(R)>,
}

// An endpoint that is not ready, with an instance of its service that is polled until it is.
struct Polled<S> {
    entry: Arc<Entry<S>>,
    service: S,
    waker: Waker,
    failures: u32,
    // A service that was made anew is left alone until then.
    rest_until: Option<Instant>,
}

impl<S, F: Fn(Arc<Endpoint>) -> S, O> Driver<S, F, O> {
    pub(super) fn new(shared: Arc<Shared<S, O>>, config: Config, new_endpoint: F) -> Self {
        Self { shared, config, new_endpoint, next_id: 0, polled: HashMap::new() }
    }

    /// Drives the balancer with `updates` of discovery. A stream that ends leaves the endpoints as they are.
    pub fn run<U, R>(self, updates: U) -> Run<S, F, O, U, R>
    where
        U: Stream<Item = Update>,
        S: Service<R> + Clone,
        O: Observe,
    {
        Run { driver: self, updates, ended: false, sleep: None, _request: std::marker::PhantomData }
    }
}

impl<S: Clone, F: Fn(Arc<Endpoint>) -> S, O: Observe> Driver<S, F, O> {
    fn apply(&mut self, update: &Update, now: Instant) {
        let op = match update {
            Update::Add(_) => Op::Add,
            Update::Remove(_) => Op::Remove,
            Update::Reset(_) => Op::Reset,
            Update::DoesNotExist => Op::DoesNotExist,
        };
        let (plan, estimates) = {
            let inner = self.shared.lock();
            self.shared.observe().update(op);
            let plan = inner.pool.plan(update);
            let estimates: Vec<_> =
                plan.add.iter().map(|e| inner.pool.get(e.addr).map(|known| Arc::clone(&known.member.estimate))).collect();
            (plan, estimates)
        };
        // Only the driver changes the set, so the plan still holds when the services have been made.
        let made: Vec<_> = plan.add.into_iter().zip(estimates).map(|(endpoint, estimate)| self.make(endpoint, estimate, now)).collect();
        let mut gone = Vec::new();
        let mut inner = self.shared.lock();
        gone.extend(plan.remove.into_iter().filter_map(|addr| inner.pool.remove(addr)));
        for entry in &made {
            gone.extend(inner.pool.insert(Arc::clone(entry)));
        }
        let woken = self.shared.settle(&mut inner, now);
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
        for entry in &gone {
            self.polled.remove(&entry.id);
        }
        for entry in made.into_iter().filter(|entry| entry.endpoint().weight > 0) {
            self.poll_from_now_on(entry, None);
        }
    }

    fn make(&mut self, endpoint: Endpoint, estimate: Option<Arc<Estimate>>, now: Instant) -> Arc<Entry<S>> {
        let endpoint = Arc::new(endpoint);
        let breaker = self.config.breakers.as_ref().map(|breakers| breakers.of(endpoint.addr, now));
        if let Some(breaker) = &breaker {
            breaker.listen(&self.shared.signal);
        }
        let service = (self.new_endpoint)(Arc::clone(&endpoint));
        let estimate = estimate.unwrap_or_else(|| Arc::new(Estimate::new(self.config.default_rtt, self.config.decay, now)));
        self.next_id += 1;
        Arc::new(Entry::new(Member { endpoint, estimate, breaker, penalty: self.config.penalty }, self.next_id, service))
    }

    fn poll_from_now_on(&mut self, entry: Arc<Entry<S>>, rest_until: Option<Instant>) {
        let waker: Waker = Arc::new(EndpointWaker { id: entry.id, signal: Arc::clone(&self.shared.signal) }).into();
        waker.wake_by_ref();
        let service = entry.service();
        self.polled.entry(entry.id).or_insert(Polled { entry, service, waker, failures: 0, rest_until });
    }

    /// Takes over what requests found to be not ready.
    fn adopt(&mut self, now: Instant) {
        let unready = {
            let mut inner = self.shared.lock();
            let mut unready = std::mem::take(&mut inner.unready);
            // Discovery may have replaced or removed it meanwhile.
            unready.retain(|(entry, _)| inner.pool.state(entry) == Some(State::Pending));
            unready
        };
        for (entry, found) in unready {
            let mut rest_until = None;
            if found == Found::Failed && !self.polled.contains_key(&entry.id) {
                self.shared.observe().failed(entry.endpoint().addr);
                drop(entry.replace((self.new_endpoint)(Arc::clone(entry.endpoint()))));
                rest_until = Some(now + self.config.rebuild.delay(0, self.shared.dice()));
            }
            self.poll_from_now_on(entry, rest_until);
        }
    }

    fn has_ejected(&self) -> bool {
        self.shared.lock().pool.counts().ejected > 0
    }

    /// Brings the states in line with the breakers. Returns when the next ejection ends.
    fn review(&mut self, now: Instant) -> Option<Instant> {
        let (mut back, mut next) = (Vec::new(), None::<Instant>);
        let mut inner = self.shared.lock();
        let mut changes = Vec::new();
        for (entry, state) in inner.pool.iter() {
            let Some(breaker) = &entry.member.breaker else { continue };
            match (state, breaker.probe_at()) {
                (State::Ejected(_), at) if at.is_none_or(|at| at <= now) => {
                    changes.push((Arc::clone(entry), State::Pending));
                    back.push(Arc::clone(entry));
                }
                (State::Ready | State::Ejected(_), Some(at)) if at > now => {
                    next = Some(next.map_or(at, |n| n.min(at)));
                    if state != State::Ejected(at) {
                        changes.push((Arc::clone(entry), State::Ejected(at)));
                    }
                }
                _ => {}
            }
        }
        for (entry, state) in changes {
            inner.pool.set(&entry, state);
        }
        let woken = self.shared.settle(&mut inner, now);
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
        for entry in back {
            self.poll_from_now_on(entry, None);
        }
        next
    }

    /// Polls one endpoint that is not ready, unless it rests after a failure.
    fn poll_endpoint<R>(&mut self, id: u64, now: Instant)
    where
        S: Service<R>,
    {
        let Some(polled) = self.polled.get_mut(&id) else { return };
        if polled.rest_until.is_some_and(|until| now < until) {
            return;
        }
        polled.rest_until = None;
        match polled.service.poll_ready(&mut Context::from_waker(&polled.waker)) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                if let Some(Polled { entry, service, .. }) = self.polled.remove(&id) {
                    self.shared.ready(&entry, service, now);
                }
            }
            Poll::Ready(Err(_)) => {
                self.shared.observe().failed(polled.entry.endpoint().addr);
                drop(polled.entry.replace((self.new_endpoint)(Arc::clone(polled.entry.endpoint()))));
                polled.service = polled.entry.service();
                polled.rest_until = Some(now + self.config.rebuild.delay(polled.failures, self.shared.dice()));
                polled.failures = polled.failures.saturating_add(1);
            }
        }
    }
}

impl<S, F, O, U, R> Future for Run<S, F, O, U, R>
where
    S: Service<R> + Clone,
    F: Fn(Arc<Endpoint>) -> S,
    O: Observe,
    U: Stream<Item = Update>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let driver = this.driver;
        loop {
            let now = Instant::now();
            let mut notes = driver.shared.signal.take(cx.waker());
            if driver.shared.signal.is_closed() {
                return Poll::Ready(());
            }
            // Discovery first: a request should not go to an endpoint that is known to be gone.
            while !*this.ended {
                match this.updates.as_mut().poll_next(cx) {
                    Poll::Ready(Some(update)) => driver.apply(&update, now),
                    Poll::Ready(None) => *this.ended = true,
                    Poll::Pending => break,
                }
            }
            if !notes.transitions.is_empty() {
                let _inner = driver.shared.lock();
                notes.transitions.drain(..).for_each(|(addr, transition)| driver.shared.observe().breaker(addr, transition));
            }
            driver.adopt(now);
            let rested = driver.polled.iter().filter(|(_, p)| p.rest_until.is_some_and(|until| until <= now)).map(|(id, _)| *id);
            notes.woken.extend(rested);
            notes.woken.sort_unstable();
            notes.woken.dedup();
            for id in notes.woken {
                driver.poll_endpoint(id, now);
            }
            let mut next = if notes.breakers || driver.has_ejected() { driver.review(now) } else { None };
            let rests = driver.polled.values().filter_map(|p| p.rest_until);
            next = next.into_iter().chain(driver.shared.expire(now)).chain(rests).min();
            let Some(next) = next else {
                this.sleep.set(None);
                return Poll::Pending;
            };
            match this.sleep.as_mut().as_pin_mut() {
                None => this.sleep.set(Some(tokio::time::sleep_until(next))),
                Some(sleep) if sleep.deadline() != next => sleep.reset(next),
                Some(_) => {}
            }
            match this.sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
                Some(Poll::Ready(())) => this.sleep.set(None),
                _ => return Poll::Pending,
            }
        }
    }
}

impl<S, F, O> Drop for Driver<S, F, O> {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl<S, F, O> fmt::Debug for Driver<S, F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("polled_count", &self.polled.len()).finish_non_exhaustive()
    }
}

impl<S, F, O, U, R> fmt::Debug for Run<S, F, O, U, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}
