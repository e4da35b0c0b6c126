//! How many requests a second.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use meshkit_core::{Cause, Error, Identity};
use tokio::time::Instant;

use crate::Meta;

/// Identities that are counted at the same time. When there are more, those that could call at once anyway are forgotten first.
pub const MAX_IDENTITIES: usize = 10_000;

/// Limits on the requests of a port.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// The object that they come from.
    pub meta: Option<Meta>,
    /// All requests together.
    pub total: Option<Limit>,
    /// The requests of each identity; those without one count as one.
    pub identity: Option<Limit>,
    /// Limits of some identities, in place of the general one.
    pub overrides: Vec<Override>,
}

/// Requests a second; as many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit(pub NonZeroU32);

/// The limit of some identities together.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The limit.
    pub limit: Limit,
    /// Whose it is.
    pub clients: BTreeSet<Identity>,
}

/// Which limit was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // One for each kind of limit.
pub enum Scope {
    /// Of all requests.
    Total,
    /// Of the identity.
    Identity,
    /// Of the identity, by an override.
    Override,
}

/// A request too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimited {
    scope: Scope,
    limit: Limit,
}

/// Counts requests against limits. Exact: in any second, no more pass than the limit allows at once and by then.
#[derive(Debug)]
pub struct Limiter {
    limits: RateLimit,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: Cell,
    overrides: Vec<Cell>,
    identities: HashMap<Option<Identity>, Cell>,
}

/// The generic cell rate algorithm: when the next request would be due if requests came evenly. Source: ITU-T I.371, virtual scheduling.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    due: Duration,
}

impl Cell {
    fn take(&mut self, limit: Limit, now: Duration) -> bool {
        let gap = Duration::from_secs(1) / limit.0.get();
        let burst = gap * (limit.0.get() - 1);
        let due = self.due.max(now);
        if due - now > burst {
            return false;
        }
        self.due = due + gap;
        true
    }
}

impl Limiter {
    /// Starts counting at `now`.
    #[must_use]
    pub fn new(limits: RateLimit, now: Instant) -> Self {
        let overrides = vec![Cell::default(); limits.overrides.len()];
        Self { limits, start: now, state: Mutex::new(State { overrides, ..State::default() }) }
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &RateLimit {
        &self.limits
    }

    /// Counts a request.
    ///
    /// # Errors
    /// It is one too many. A request that the limit of its identity refuses has been counted in the total all the same.
    pub fn check(&self, client: Option<&Identity>, now: Instant) -> Result<(), RateLimited> {
        let now = now.saturating_duration_since(self.start);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let refuse = |scope, limit| Err(RateLimited { scope, limit });
        if let Some(limit) = self.limits.total
            && !state.total.take(limit, now)
        {
            return refuse(Scope::Total, limit);
        }
        let listed = client.and_then(|id| self.limits.overrides.iter().position(|o| o.clients.contains(id)));
        if let Some(index) = listed {
            let limit = self.limits.overrides[index].limit;
            return if state.overrides[index].take(limit, now) { Ok(()) } else { refuse(Scope::Override, limit) };
        }
        let Some(limit) = self.limits.identity else { return Ok(()) };
        if state.identities.len() >= MAX_IDENTITIES && !state.identities.contains_key(&client.cloned()) {
            // Whoever is not overdue starts afresh when it comes again: forgetting it changes nothing.
            state.identities.retain(|_, cell| cell.due > now);
            if state.identities.len() >= MAX_IDENTITIES {
                return refuse(Scope::Identity, limit);
            }
        }
        let cell = state.identities.entry(client.cloned()).or_default();
        if cell.take(limit, now) { Ok(()) } else { refuse(Scope::Identity, limit) }
    }
}

impl RateLimited {
    /// Which limit it was.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// As an error on the request path.
    #[must_use]
    pub fn into_error(self) -> Error {
        Error::new(Cause::RateLimited).message(self.to_string())
    }
}

impl fmt::Display for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            Scope::Total => "total",
            Scope::Identity => "per-identity",
            Scope::Override => "override",
        };
        write!(f, "{scope} rate limit exceeded: {}rps", self.limit.0)
    }
}

impl std::error::Error for RateLimited {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(rps: u32) -> Limit {
        Limit(NonZeroU32::new(rps).unwrap())
    }

    fn limits(total: Option<u32>, identity: Option<u32>) -> RateLimit {
        RateLimit { meta: None, total: total.map(limit), identity: identity.map(limit), overrides: Vec::new() }
    }

    fn id(name: &str) -> Identity {
        name.parse().unwrap()
    }

    #[test]
    fn each_identity_has_its_own_count_and_those_without_one_share() {
        let now = Instant::now();
        let mut with_override = limits(None, Some(1));
        with_override.overrides = vec![Override { limit: limit(2), clients: [id("vip.ns")].into() }];
        let limiter = Limiter::new(with_override, now);
        let (web, vip) = (id("web.ns"), id("vip.ns"));
        assert!(limiter.check(Some(&web), now).is_ok());
        assert_eq!(limiter.check(Some(&web), now).unwrap_err().to_string(), "per-identity rate limit exceeded: 1rps");
        assert!(limiter.check(None, now).is_ok());
        assert!(limiter.check(None, now).is_err());
        assert!(limiter.check(Some(&vip), now).is_ok() && limiter.check(Some(&vip), now).is_ok());
        assert_eq!(limiter.check(Some(&vip), now).unwrap_err().to_string(), "override rate limit exceeded: 2rps");
        assert!(limiter.check(Some(&web), now + Duration::from_secs(1)).is_ok());
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_twice_the_rate_and_a_full_one_no_less_than_the_rate(rps in 1u32..50, gaps in proptest::collection::vec(0u64..200, 1..300)) {
            let start = Instant::now();
            let limiter = Limiter::new(limits(Some(rps), None), start);
            let mut now = start;
            let mut passed = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if limiter.check(None, now).is_ok() {
                    passed.push(now);
                }
            }
            for (n, at) in passed.iter().enumerate() {
                let within = passed[n..].iter().take_while(|t| **t - *at < Duration::from_secs(1)).count();
                // What may come at once, and what becomes due within the second.
                prop_assert!(within <= 2 * rps as usize, "{within} in a second at {rps}");
            }
        }
    }

    #[test]
    fn threads_together_get_no_more_than_one_would() {
        let now = Instant::now();
        let limiter = Limiter::new(limits(Some(100), None), now);
        let passed: usize = std::thread::scope(|scope| {
            let count = || (0..200).filter(|_| limiter.check(None, now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(passed, 100);
    }
}
