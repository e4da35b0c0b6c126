//! Limits on the parts of an exchange, for each try.
//!
//! [`Timeout`] stands at the endpoint, beneath [`Retry`](crate::Retry), which tells it in the request's extensions what [`Limits`] are left.
//! On its own it takes [`Timeouts`].
//!
//! | limit | starts | ends |
//! |---|---|---|
//! | request | request arrived | end of the response |
//! | response | request sent whole | end of the response |
//! | headers | request sent whole | head of the response |
//! | idle | last frame either way | next frame either way |
//!
//! One timer serves all of them; without limits there is none. Memory is taken for a request's body that has to be followed, and for a timer
//! when a frame of the response is waited for.

mod body;
mod flow;
mod future;
mod layer;
#[cfg(test)]
mod tests;
mod watchdog;

pub use body::{RequestBody, ResponseBody};
pub use future::ResponseFuture;
pub use layer::{Timeout, TimeoutLayer};

use std::time::Duration;

use tokio::time::Instant;

use crate::Timeouts;

/// What is left of the limits for one try. Put into the extensions of a request, it replaces what the layer was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The end of the exchange, all tries together.
    pub request: Option<Limit>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// From the end of the request to the head of the response.
    pub headers: Option<Duration>,
    /// Without a frame either way.
    pub idle: Option<Duration>,
}

/// A point in time, and how long it was away at first, which is what a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    at: Instant,
    length: Duration,
}

impl Limit {
    /// The point that is `length` after `start`; `None` if there is no such point.
    #[must_use]
    pub fn after(start: Instant, length: Duration) -> Option<Self> {
        start.checked_add(length).map(|at| Self { at, length })
    }

    /// When it is.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// How long it was away at first.
    #[must_use]
    pub const fn length(&self) -> Duration {
        self.length
    }
}

impl Limits {
    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Does any of them depend on the request's body?
    pub(crate) const fn follow_request(&self) -> bool {
        self.response.is_some() || self.headers.is_some() || self.idle.is_some()
    }

    pub(crate) fn starting(timeouts: Timeouts) -> Option<Self> {
        if timeouts == Timeouts::default() {
            return None;
        }
        let request = timeouts.request.and_then(|length| Limit::after(Instant::now(), length));
        Some(Self { request, response: timeouts.response, headers: None, idle: timeouts.idle })
    }
}
