use std::{
    sync::{Arc, Mutex, PoisonError},
    task::Waker,
};

use tokio::time::Instant;

/// What the request's body tells the response's side, which holds the timer.
#[derive(Clone, Debug)]
pub(super) struct Flow(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    sent_at: Option<Instant>,
    active_at: Instant,
    /// Who waits for the request to be sent: from then on there may be something to time.
    waker: Option<Waker>,
}

impl Flow {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State { sent_at: None, active_at: now, waker: None })))
    }

    fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn active(&self, now: Instant) {
        self.with(|state| state.active_at = state.active_at.max(now));
    }

    pub(super) fn sent(&self, now: Instant) {
        let waker = self.with(|state| {
            state.sent_at.get_or_insert(now);
            state.active_at = state.active_at.max(now);
            state.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// When the request was sent, and when something last moved. Wakes the asker when the first of them comes to be known.
    pub(super) fn read(&self, waker: &Waker) -> (Option<Instant>, Instant) {
        self.with(|state| {
            if state.sent_at.is_none() && !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                state.waker = Some(waker.clone());
            }
            (state.sent_at, state.active_at)
        })
    }
}
