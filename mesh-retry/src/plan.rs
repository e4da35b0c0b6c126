use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use meshkit_core::Backoff;
use tokio::time::Instant;

use crate::{Limits, Overrides, Params, Timeouts, timeout::Limit};

/// What a route grants each of its requests: other tries, and time.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Other tries, if any.
    pub retry: Option<Params>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Whether a request may ask for something else in its headers.
    pub overrides: Allow,
}

/// Whether a request may override the plan of its route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It may or it may not.
pub enum Allow {
    /// The headers are neither read nor removed.
    #[default]
    No,
    /// The headers are consumed.
    Yes,
}

impl Plan {
    /// Nothing: one try, no limit, no override.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Grants other tries.
    #[must_use]
    pub fn retry(mut self, params: Params) -> Self {
        self.retry = Some(params);
        self
    }

    /// Sets time limits.
    #[must_use]
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Lets the headers of a request override the rest, see [`Overrides`].
    #[must_use]
    pub const fn overrides(mut self, allow: Allow) -> Self {
        self.overrides = allow;
        self
    }

    /// The plan with what a request asks for in its headers, which are removed; `None` if it asks for nothing or may not ask.
    #[must_use]
    pub fn overridden(&self, headers: &mut HeaderMap) -> Option<Self> {
        let overrides = Overrides::take(headers, self.overrides);
        (!overrides.is_empty()).then(|| overrides.apply(self))
    }

    /// The limits of a request that arrives at `now`, without one for the single try.
    #[must_use]
    pub fn limits(&self, now: Instant) -> Limits {
        let Timeouts { request, response, idle } = self.timeouts;
        Limits { request: request.and_then(|length| Limit::after(now, length)), response, headers: None, idle }
    }
}

impl From<Params> for Plan {
    fn from(params: Params) -> Self {
        Self::new().retry(params)
    }
}

impl From<Params> for Arc<Plan> {
    fn from(params: Params) -> Self {
        Self::new(params.into())
    }
}

/// 25 to 250 ms, jitter 1: the waits of a policy that a request makes up in its headers.
#[must_use]
pub(crate) fn default_backoff() -> Option<Backoff> {
    Backoff::new(Duration::from_millis(25), Duration::from_millis(250), 1.0).ok()
}
