use std::{
    sync::{Arc, Mutex, PoisonError},
    task::Waker,
};

use tokio::time::Instant;

/// How far an exchange is, as the response's side sees it, which holds the timer.
#[derive(Debug)]
pub(super) enum Flow {
    /// Nobody else has anything to tell: the request has no body, or no limit depends on it.
    Alone(Progress),
    /// The request's body has.
    Told(Sending),
}

/// What there is to know of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// When the request was sent whole.
    pub(super) sent_at: Option<Instant>,
    /// When something last moved, either way.
    pub(super) active_at: Instant,
}

/// What the request's body tells the response's side.
#[derive(Clone, Debug)]
pub(super) struct Sending(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    progress: Progress,
    /// Who waits for the request to be sent: from then on there may be something to time.
    waker: Option<Waker>,
}

impl Flow {
    /// The request is as good as sent.
    pub(super) const fn alone(now: Instant) -> Self {
        Self::Alone(Progress { sent_at: Some(now), active_at: now })
    }

    pub(super) fn active(&mut self, now: Instant) {
        match self {
            Self::Alone(progress) => progress.active_at = progress.active_at.max(now),
            Self::Told(sending) => sending.active(now),
        }
    }

    /// Wakes the asker when the request comes to be sent.
    pub(super) fn read(&self, waker: &Waker) -> Progress {
        match self {
            Self::Alone(progress) => *progress,
            Self::Told(sending) => sending.with(|state| {
                if state.progress.sent_at.is_none() && !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    state.waker = Some(waker.clone());
                }
                state.progress
            }),
        }
    }
}

impl Sending {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State { progress: Progress { sent_at: None, active_at: now }, waker: None })))
    }

    fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn active(&self, now: Instant) {
        self.with(|state| state.progress.active_at = state.progress.active_at.max(now));
    }

    pub(super) fn sent(&self, now: Instant) {
        let waker = self.with(|state| {
            state.progress.sent_at.get_or_insert(now);
            state.progress.active_at = state.progress.active_at.max(now);
            state.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
