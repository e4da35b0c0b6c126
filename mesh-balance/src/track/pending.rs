use std::{sync::Arc, time::Duration};

use meshkit_core::Endpoint;
use tokio::time::Instant;

use crate::{
    accrual::{Pass, Verdict},
    pool::Member,
};

/// What failures cost an endpoint, on top of the time they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Penalty {
    /// Taken as the round-trip time of a failure. Default 5 s.
    pub rtt: Duration,
    /// The longest that is believed when a failure says when to come back. Default 300 s.
    pub max_retry_after: Duration,
}

/// One pending request. Dropping it, for whatever reason, ends the request.
#[derive(Debug)]
#[must_use = "the request counts as finished as soon as this is dropped"]
pub struct Pending {
    member: Arc<Member>,
    pass: Option<Pass>,
    since: Instant,
    rtt: Option<Duration>,
    verdict: Option<Verdict>,
    // Holds if nothing else is heard.
    assumed: Option<Verdict>,
}

impl Default for Penalty {
    fn default() -> Self {
        Self { rtt: Duration::from_secs(5), max_retry_after: Duration::from_secs(300) }
    }
}

impl Penalty {
    /// Sets what a failure counts as.
    #[must_use]
    pub const fn rtt(mut self, rtt: Duration) -> Self {
        self.rtt = rtt;
        self
    }

    /// Sets the longest that is believed when a failure says when to come back.
    #[must_use]
    pub const fn max_retry_after(mut self, limit: Duration) -> Self {
        self.max_retry_after = limit;
        self
    }

    /// The round-trip time that a response counts for, if it is a failure or a refusal for rate.
    #[must_use]
    pub fn of(&self, verdict: Verdict) -> Option<Duration> {
        verdict.penalized.then(|| verdict.retry_after.map_or(self.rtt, |hint| hint.min(self.max_retry_after)))
    }
}

impl Pending {
    pub(crate) fn new(member: Arc<Member>, pass: Option<Pass>, since: Instant) -> Self {
        Self { member, pass, since, rtt: None, verdict: None, assumed: None }
    }

    /// The endpoint that was picked.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.member.endpoint
    }

    /// When the endpoint was picked.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// The answer is here: its latency goes into the estimate. Only the first call counts.
    ///
    /// Until the response is known to be a success, its latency may raise the estimate and not lower it.
    pub fn sample(&mut self, now: Instant) {
        if self.rtt.is_some() {
            return;
        }
        let rtt = now.saturating_duration_since(self.since);
        self.rtt = Some(rtt);
        let mut ewma = self.member.estimate.ewma();
        match self.verdict {
            Some(verdict) if verdict.is_good() => ewma.record(rtt, now),
            _ => ewma.raise(rtt, now),
        }
    }

    /// What [`Pending::classify`] was given.
    #[must_use]
    pub const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// The response is judged: the breaker hears it, and a failure costs its penalty. Only the first call counts.
    pub fn classify(&mut self, verdict: Verdict, now: Instant) {
        if self.verdict.is_some() {
            return;
        }
        self.verdict = Some(verdict);
        let mut ewma = self.member.estimate.ewma();
        if let Some(penalty) = self.member.penalty.and_then(|penalty| penalty.of(verdict)) {
            ewma.raise(penalty, now);
        } else if let (true, Some(rtt)) = (verdict.is_good(), self.rtt) {
            ewma.record(rtt, now);
        }
        drop(ewma);
        if let (Some(breaker), Some(pass)) = (&self.member.breaker, self.pass.take()) {
            breaker.record(pass, verdict, now);
        }
    }

    /// Classifies the response by `verdict` if it is dropped before anything else is known.
    pub fn assume(&mut self, verdict: Verdict) {
        self.assumed = Some(verdict);
    }

    /// What [`Pending::assume`] was given.
    #[must_use]
    pub const fn assumed(&self) -> Option<Verdict> {
        self.assumed
    }

    /// There is no response: the endpoint failed.
    pub fn fail(mut self, now: Instant) {
        self.classify(Verdict::FAILURE, now);
        self.sample(now);
    }

    /// The endpoint was never asked.
    pub(crate) fn cancel(mut self) {
        self.rtt = Some(Duration::ZERO);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.rtt.is_none() {
            // Given up while waiting: it would have taken at least this long. Without this, an endpoint that never answers would
            // look as fast as it ever was.
            self.sample(Instant::now());
            self.rtt = None;
        }
        if let Some(verdict) = self.assumed.take() {
            self.classify(verdict, Instant::now());
        }
        if let (Some(breaker), Some(pass)) = (&self.member.breaker, self.pass.take()) {
            breaker.abandon(pass, Instant::now());
        }
        self.member.end();
    }
}
