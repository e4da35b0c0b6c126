//! Circuit breaking by failure accrual: an endpoint that keeps failing is given a rest.
//!
//! A breaker is *closed* while it lets requests through and *open* while it does not. [`Machine`] is the pure state machine: an event and
//! a time go in, and what changed comes out. [`Breaker`] is one machine that many workers share, [`Breakers`] keeps one per address.
//!
//! ```text
//!           tripped                  backoff over: one probe
//! closed ------------> open ---------------------------------> probation
//!    ^                  ^                                          |
//!    |                  '---- the probe failed: longer backoff ----|
//!    '------------------------ the probe succeeded ----------------'
//! ```

mod breaker;
mod criteria;
mod machine;

use std::time::Duration;

use meshkit_core::{Backoff, Outcome, Ratio};

pub use breaker::{Breaker, Breakers};
pub use criteria::{Consecutive, Reason, Unified};
pub use machine::{Admission, Machine, Pass, Transition};

/// What a breaker learns of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether the endpoint did its job.
    pub outcome: Outcome,
    /// Whether it answered "too many requests" (HTTP 429, gRPC RESOURCE_EXHAUSTED).
    pub limited: bool,
    /// Whether the failure says something about the endpoint's load, so that a [`Penalty`](crate::Penalty) applies.
    pub penalized: bool,
    /// How long it asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Verdict {
    /// The endpoint did its job.
    pub const SUCCESS: Self = Self { outcome: Outcome::Success, limited: false, penalized: false, retry_after: None };
    /// The endpoint failed.
    pub const FAILURE: Self = Self { outcome: Outcome::Failure, limited: false, penalized: true, retry_after: None };
    /// The endpoint refused because too much is asked of it.
    pub const LIMITED: Self = Self { outcome: Outcome::Success, limited: true, penalized: true, retry_after: None };

    /// Did it do its job, and was not asked too much?
    #[must_use]
    pub const fn is_good(&self) -> bool {
        !self.outcome.is_failure() && !self.limited
    }

    /// Adds how long the endpoint asked to be left alone.
    #[must_use]
    pub const fn retry_after(mut self, hint: Option<Duration>) -> Self {
        self.retry_after = hint;
        self
    }
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    pub(crate) criteria: Criteria,
    pub(crate) backoff: Backoff,
    pub(crate) max_retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Criteria {
    Consecutive { max_failures: u32 },
    Unified { window: Duration, success_rate: Option<Ratio>, min_requests: u32, max_failures: u32 },
}

impl Config {
    /// Opens after `max_failures` failures in a row; zero never opens. It stays open for as long as `backoff` says.
    #[must_use]
    pub const fn consecutive(max_failures: u32, backoff: Backoff) -> Self {
        Self { criteria: Criteria::Consecutive { max_failures }, backoff, max_retry_after: None }
    }

    /// Opens when fewer than `success_rate` of at least `min_requests` responses within `window` succeed, or after `max_failures` failures
    /// in a row. A rate of zero or a `max_failures` of zero turns that criterion off.
    #[must_use]
    pub fn unified(window: Duration, success_rate: Ratio, min_requests: u32, max_failures: u32, backoff: Backoff) -> Self {
        let success_rate = (success_rate > Ratio::ZERO).then_some(success_rate);
        Self { criteria: Criteria::Unified { window, success_rate, min_requests, max_failures }, backoff, max_retry_after: None }
    }

    /// Stays open for at least as long as the endpoint asked for, up to `limit`. Off by default.
    #[must_use]
    pub const fn honor_retry_after(mut self, limit: Duration) -> Self {
        self.max_retry_after = Some(limit);
        self
    }
}
