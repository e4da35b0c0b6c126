use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use meshkit_core::Identity;
use tokio::time::Instant;

use super::{Limit, RateLimit, RateLimited, Scope, cell::Cell};

/// Identities that have a count of their own at the same time. When there are more, those that have been idle are forgotten; until some have,
/// newcomers are counted together.
pub const MAX_IDENTITIES: usize = 10_000;

/// How long an identity is idle before it may be forgotten: longer than the clocks of two threads are apart.
const IDLE: Duration = Duration::from_secs(1);

/// Counts requests against limits. Exact, also when threads count together: in any time, no more pass than the limit allows at once, and what
/// becomes due in that time.
#[derive(Debug)]
pub struct Limiter {
    limits: RateLimit,
    start: Instant,
    total: Cell,
    /// In the order of the limits' overrides.
    overrides: Box<[Cell]>,
    /// Clients without an identity, and those that are too many.
    others: Cell,
    identities: RwLock<Identities>,
}

#[derive(Debug, Default)]
struct Identities {
    cells: HashMap<Identity, Cell>,
    /// When idle ones were last looked for.
    swept_at: u64,
}

/// The limiter of the limits in force, shared by its clones: those who serve a port count together, and a new policy with
/// the same limits goes on counting.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<RwLock<Option<Counted>>>);

/// Limits as they came with a policy, and what counts against them.
type Counted = (Arc<RateLimit>, Arc<Limiter>);

impl Limiter {
    /// Starts counting at `now`.
    #[must_use]
    pub fn new(limits: RateLimit, now: Instant) -> Self {
        let overrides = limits.overrides.iter().map(|_| Cell::default()).collect();
        Self { limits, start: now, total: Cell::default(), overrides, others: Cell::default(), identities: RwLock::default() }
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &RateLimit {
        &self.limits
    }

    /// Counts a request: in the total, and then in the override that lists the client, or else in the client's own count.
    ///
    /// # Errors
    /// It is one too many. A request that the limit of its identity refuses has been counted in the total all the same.
    pub fn check(&self, client: Option<&Identity>, now: Instant) -> Result<(), RateLimited> {
        let now = nanos(now.saturating_duration_since(self.start));
        let refuse = |scope, limit| Err(RateLimited { scope, limit });
        if let Some(limit) = self.limits.total
            && !self.total.take(limit, now)
        {
            return refuse(Scope::Total, limit);
        }
        let listed = client.and_then(|id| self.limits.overrides.iter().zip(&self.overrides).find(|(o, _)| o.clients.contains(id)));
        if let Some((over, cell)) = listed {
            return if cell.take(over.limit, now) { Ok(()) } else { refuse(Scope::Override, over.limit) };
        }
        match self.limits.identity {
            Some(limit) if !self.take_own(client, limit, now) => refuse(Scope::Identity, limit),
            _ => Ok(()),
        }
    }

    fn take_own(&self, client: Option<&Identity>, limit: Limit, now: u64) -> bool {
        let Some(id) = client else { return self.others.take(limit, now) };
        if let Some(cell) = self.identities.read().unwrap_or_else(PoisonError::into_inner).cells.get(id) {
            return cell.take(limit, now);
        }
        let mut identities = self.identities.write().unwrap_or_else(PoisonError::into_inner);
        if identities.cells.len() >= MAX_IDENTITIES {
            identities.sweep(now);
            if identities.cells.len() >= MAX_IDENTITIES && !identities.cells.contains_key(id) {
                return self.others.take(limit, now);
            }
        }
        // Another thread may have come first: then its count is the one.
        identities.cells.entry(id.clone()).or_default().take(limit, now)
    }
}

impl Identities {
    /// Forgets the idle ones. An idle count is as good as a new one, so nobody gains by it.
    fn sweep(&mut self, now: u64) {
        let idle = nanos(IDLE);
        // Not more often: whoever sends many identities would have all of them looked at for each.
        if self.swept_at == 0 || now.saturating_sub(self.swept_at) >= idle {
            self.swept_at = now.max(1);
            self.cells.retain(|_, cell| cell.due().saturating_add(idle) > now);
        }
    }
}

impl InForce {
    /// The limiter of `limits`. It starts afresh where they are other limits than before.
    #[must_use]
    pub fn limiter(&self, limits: &Arc<RateLimit>, now: Instant) -> Arc<Limiter> {
        if let Some((known, limiter)) = &*self.0.read().unwrap_or_else(PoisonError::into_inner)
            && Arc::ptr_eq(known, limits)
        {
            return Arc::clone(limiter);
        }
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let limiter = match current.take() {
            Some((known, limiter)) if known == *limits => limiter,
            _ => Arc::new(Limiter::new(RateLimit::clone(limits), now)),
        };
        *current = Some((Arc::clone(limits), Arc::clone(&limiter)));
        limiter
    }
}

/// 584 years are enough.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{super::Override, *};

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
        with_override.overrides = vec![Override { limit: limit(2), clients: [id("vip.ns"), id("boss.ns")].into() }];
        let limiter = Limiter::new(with_override, now);
        let (web, vip, boss) = (id("web.ns"), id("vip.ns"), id("boss.ns"));
        assert!(limiter.check(Some(&web), now).is_ok());
        assert_eq!(limiter.check(Some(&web), now).unwrap_err().to_string(), "per-identity rate limit exceeded: 1rps");
        assert!(limiter.check(None, now).is_ok());
        assert!(limiter.check(None, now).is_err());
        assert!(limiter.check(Some(&vip), now).is_ok() && limiter.check(Some(&boss), now).is_ok());
        assert_eq!(limiter.check(Some(&vip), now).unwrap_err().to_string(), "override rate limit exceeded: 2rps");
        assert!(limiter.check(Some(&web), now + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn the_total_is_counted_first_and_also_for_what_is_refused_later() {
        let now = Instant::now();
        let limiter = Limiter::new(limits(Some(2), Some(1)), now);
        assert!(limiter.check(None, now).is_ok());
        assert_eq!(limiter.check(None, now).unwrap_err().scope(), Scope::Identity);
        let error = limiter.check(Some(&id("web.ns")), now).unwrap_err();
        assert_eq!(error.to_string(), "total rate limit exceeded: 2rps");
        assert_eq!(error.into_error().to_string(), "total rate limit exceeded: 2rps");
    }

    #[test]
    fn threads_together_get_no_more_and_no_less_than_one_would() {
        let now = Instant::now();
        let limiter = Limiter::new(limits(Some(1000), Some(100)), now);
        let web = id("web.ns");
        let passed: usize = std::thread::scope(|scope| {
            let count = || (0..200).filter(|_| limiter.check(Some(&web), now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(passed, 100);
    }

    #[test]
    fn identities_beyond_the_bound_share_until_others_are_idle() {
        let now = Instant::now();
        let limiter = Limiter::new(limits(None, Some(1)), now);
        let check = |n: usize, now| limiter.check(Some(&id(&format!("w{n}.ns"))), now).is_ok();
        let count = || limiter.identities.read().unwrap().cells.len();
        assert!((0..MAX_IDENTITIES).all(|n| check(n, now)));
        assert!(check(MAX_IDENTITIES, now) && !check(MAX_IDENTITIES + 1, now), "two newcomers share");
        assert_eq!(count(), MAX_IDENTITIES);
        let later = now + Duration::from_secs(3);
        assert!(check(MAX_IDENTITIES, later) && check(MAX_IDENTITIES + 1, later));
        assert_eq!(count(), 2);
    }

    #[test]
    fn a_policy_with_the_same_limits_goes_on_counting() {
        let now = Instant::now();
        let (port, limits) = (InForce::default(), |rps| Arc::new(limits(Some(rps), None)));
        assert!(port.limiter(&limits(1), now).check(None, now).is_ok());
        assert!(port.clone().limiter(&limits(1), now).check(None, now).is_err());
        assert!(port.limiter(&limits(2), now).check(None, now).is_ok());
    }
}
