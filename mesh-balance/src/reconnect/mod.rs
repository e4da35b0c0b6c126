//! A connection that comes back.
//!
//! [`Reconnect`] is a service that is ready while it is connected. Polling it to readiness connects, and waits between attempts; so a pool
//! that polls its pending endpoints keeps every one of them connected, and none waits for another. Errors of connects are not kept: the
//! service that makes connections should log them.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
};

use meshkit_core::{Backoff, Dice};
use tokio::time::{Instant, Sleep};
use tower_service::Service;

/// A service over a connection that is made by `M` for `Target`, and made again when it breaks. Clones share it.
pub struct Reconnect<M: Service<Target>, Target> {
    shared: Arc<Shared<M, Target>>,
    // The instance that was polled ready, if any, and which connection it belongs to.
    current: Option<(u64, M::Response)>,
}

struct Shared<M: Service<Target>, Target> {
    link: Mutex<Link<M, Target>>,
    target: Target,
    backoff: Backoff,
    dice: Dice,
    waiting: Arc<Waiting>,
}

struct Link<M: Service<Target>, Target> {
    make: Option<M>,
    state: State<M::Future, M::Response>,
    // Every connection has a number.
    number: u64,
    failures: u32,
}

enum State<F, S> {
    Idle,
    Resting(Pin<Box<Sleep>>),
    Connecting(Pin<Box<F>>),
    Connected { service: S, since: Instant },
    // Another clone has taken the state out to poll it.
    Taken,
}

/// Wakes all clones that wait for the connection: what they wait for has one waker.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Waiting {
    fn join(&self, waker: &Waker) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|w| w.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

impl<M: Service<Target>, Target> Reconnect<M, Target> {
    /// Not connected yet. After a failure, or after the loss of a connection that was younger than the longest backoff, `backoff` rules.
    pub fn new(make: M, target: Target, backoff: Backoff, dice: Dice) -> Self {
        let link = Link { make: Some(make), state: State::Idle, number: 0, failures: 0 };
        let shared = Shared { link: Mutex::new(link), target, backoff, dice, waiting: Arc::default() };
        Self { shared: Arc::new(shared), current: None }
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.shared.target
    }
}

impl<M, Target> Shared<M, Target>
where
    M: Service<Target>,
    M::Response: Clone,
    Target: Clone,
{
    fn link(&self) -> MutexGuard<'_, Link<M, Target>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance of the connection's service, once there is a connection.
    fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<(u64, M::Response)> {
        let mut link = self.link();
        if let State::Connected { service, .. } = &link.state {
            return Poll::Ready((link.number, service.clone()));
        }
        self.waiting.join(cx.waker());
        // The state is polled outside the lock, by one clone at a time.
        let mut state = std::mem::replace(&mut link.state, State::Taken);
        let Some(mut make) = link.make.take() else {
            // Another thread polls it right now, and may have been told already what we would wait for.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let mut failures = link.failures;
        drop(link);

        let waker = Waker::from(Arc::clone(&self.waiting));
        let polled = self.advance(&mut state, &mut make, &mut failures, &mut Context::from_waker(&waker));

        let mut link = self.link();
        link.make = Some(make);
        link.failures = failures;
        if polled.is_ready() {
            link.number += 1;
        }
        let connected = match &state {
            State::Connected { service, .. } => Poll::Ready((link.number, service.clone())),
            _ => Poll::Pending,
        };
        link.state = state;
        drop(link);
        if connected.is_ready() {
            waker.wake();
        }
        connected
    }

    fn advance(&self, state: &mut State<M::Future, M::Response>, make: &mut M, failures: &mut u32, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let failed = match state {
                State::Idle => match ready!(make.poll_ready(cx)) {
                    Ok(()) => {
                        *state = State::Connecting(Box::pin(make.call(self.target.clone())));
                        false
                    }
                    Err(_) => true,
                },
                State::Resting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    *state = State::Idle;
                    false
                }
                State::Connecting(future) => match ready!(future.as_mut().poll(cx)) {
                    Ok(service) => {
                        *state = State::Connected { service, since: Instant::now() };
                        return Poll::Ready(());
                    }
                    Err(_) => true,
                },
                State::Connected { .. } | State::Taken => return Poll::Ready(()),
            };
            if failed {
                *state = self.rest(failures);
            }
        }
    }

    fn rest(&self, failures: &mut u32) -> State<M::Future, M::Response> {
        let pause = self.backoff.delay(*failures, &self.dice);
        *failures = failures.saturating_add(1);
        State::Resting(Box::pin(tokio::time::sleep(pause)))
    }

    /// The connection of this number has broken, unless it has been replaced already.
    fn lost(&self, number: u64) {
        let mut link = self.link();
        let link = &mut *link;
        let State::Connected { since, .. } = &link.state else { return };
        if link.number != number {
            return;
        }
        // A peer that accepts and hangs up must not be dialed in a loop.
        if since.elapsed() < self.backoff.max() {
            link.state = self.rest(&mut link.failures);
        } else {
            link.failures = 0;
            link.state = State::Idle;
        }
    }
}

impl<M: Service<Target>, Target> Clone for Reconnect<M, Target> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), current: None }
    }
}

impl<M, Target, R> Service<R> for Reconnect<M, Target>
where
    M: Service<Target>,
    M::Response: Service<R> + Clone,
    Target: Clone,
{
    type Response = <M::Response as Service<R>>::Response;
    type Error = <M::Response as Service<R>>::Error;
    type Future = <M::Response as Service<R>>::Future;

    /// Pending until connected. Connects that fail are tried again, so this fails never.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        loop {
            let (number, mut service) = match self.current.take() {
                Some(current) => current,
                None => ready!(self.shared.poll_connected(cx)),
            };
            match service.poll_ready(cx) {
                Poll::Ready(Err(_)) => self.shared.lost(number),
                polled => {
                    self.current = Some((number, service));
                    return polled;
                }
            }
        }
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (number, mut service) = self.current.take().expect("polled ready before each call");
        let response = service.call(request);
        self.current = Some((number, service));
        response
    }
}

impl<M: Service<Target>, Target: fmt::Debug> fmt::Debug for Reconnect<M, Target> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect").field("target", &self.shared.target).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
