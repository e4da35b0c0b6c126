//! The limits on requests, against a list of all that passed.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use meshkit_core::Identity;
use meshkit_policy::rate_limit::{Limit, Limiter, Override, RateLimit, Scope};
use tokio::time::Instant;

use crate::{Input, Verdict};

/// More requests than these say nothing new, and each is compared with all others.
const MAX_EVENTS: usize = 512;
/// The limits count in whole nanoseconds between two requests, rounded up.
const ROUNDING: Duration = Duration::from_micros(1);

/// What is counted together: all, one client (or all without identity), or the clients of the override.
type Counted = (&'static str, u8);

/// Three bytes are the limits, then each request is two: who, and how long after the last one. In any time, no more pass than the limit and what
/// becomes due; who has been quiet for a second passes; and a refusal names the limit that is in the way.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let mut limit = || NonZeroU32::new(u32::from(input.byte() % 16)).map(Limit);
    let (total, identity, over) = (limit(), limit(), limit());
    let clients: Vec<Identity> = ["a.test", "b.test", "c.test"].map(|name| name.parse().expect("a DNS name")).into();
    let listed = clients[0].clone();
    let overrides = over.map(|limit| Override { limit, clients: [listed].into() }).into_iter().collect();
    let mut now = Instant::now();
    let limiter = Limiter::new(RateLimit { meta: None, total, identity, overrides }, now);
    let mut passed: BTreeMap<Counted, Vec<Instant>> = BTreeMap::new();
    let mut verdict = Verdict::Refused;
    for _ in 0..MAX_EVENTS {
        if input.is_empty() {
            break;
        }
        let (who, gap) = (input.byte() % 4, input.byte());
        now += Duration::from_millis(u64::from(gap) * u64::from(gap) / 32);
        let client = clients.get(usize::from(who));
        let own = match over {
            Some(over) if who == 0 => Some((("override", 0), Scope::Override, over)),
            _ => identity.map(|limit| (("identity", who), Scope::Identity, limit)),
        };
        let scopes: Vec<_> = total.map(|limit| (("total", 0), Scope::Total, limit)).into_iter().chain(own).collect();
        let refused = limiter.check(client, now).err().map(|error| error.scope());
        for (counted, scope, limit) in scopes {
            let before = passed.entry(counted).or_default();
            if refused == Some(scope) {
                let quiet = before.iter().all(|at| now.duration_since(*at) > Duration::from_secs(1) + ROUNDING);
                assert!(!quiet, "{scope:?} refuses who was quiet");
                break;
            }
            before.push(now);
            verdict = Verdict::Accepted;
            for (index, at) in before.iter().enumerate() {
                let (count, per_second) = ((before.len() - index) as f64, f64::from(limit.0.get()));
                let allowed = per_second + per_second * now.duration_since(*at).as_secs_f64();
                assert!(count <= allowed + 1e-6, "{count} passed {scope:?} where {allowed} are allowed");
            }
        }
        assert!(refused.is_none() || total.is_some() || own.is_some(), "refused without a limit");
    }
    verdict
}
