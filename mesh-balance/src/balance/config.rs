use std::time::Duration;

use meshkit_core::Backoff;

use crate::{
    accrual::{self, Breakers},
    ewma,
    track::Penalty,
    zone,
};

/// Settings of a [`Balance`](crate::Balance).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// What an endpoint is assumed to take before its first answer. Default 30 ms.
    pub default_rtt: Duration,
    /// How fast a slow answer is forgotten. Default 10 s.
    pub decay: Duration,
    /// What failures cost on top of their time; of use for HTTP only. Default: nothing.
    pub penalty: Option<Penalty>,
    /// How many requests may wait while nothing is ready. Default 100; a proxy for whole pods may want 10 000.
    pub queue_capacity: usize,
    /// How long they may wait, counted from when the first of them began to. Default 3 s.
    pub failfast: Duration,
    /// The breakers of the endpoints, possibly shared with other balancers. Default: none.
    pub breakers: Option<Breakers>,
    /// Whether, and for how long, the client's own zone is preferred. Default: zones are not looked at.
    pub zone: Option<zone::Preference>,
    /// How long a failed endpoint service is left alone before it is made anew. Default 100 ms to 10 s.
    pub rebuild: Backoff,
    /// Where chance starts, for picks and for jitter. Give every balancer a seed of its own.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        let rebuild = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), 0.1).expect("100 ms is less than 10 s");
        Self {
            default_rtt: ewma::DEFAULT_RTT,
            decay: ewma::DEFAULT_DECAY,
            penalty: None,
            queue_capacity: 100,
            failfast: Duration::from_secs(3),
            breakers: None,
            zone: None,
            rebuild,
            seed: 0,
        }
    }
}

impl Config {
    /// Sets what an endpoint is assumed to take before its first answer.
    #[must_use]
    pub const fn default_rtt(mut self, rtt: Duration) -> Self {
        self.default_rtt = rtt;
        self
    }

    /// Sets how fast a slow answer is forgotten.
    #[must_use]
    pub const fn decay(mut self, window: Duration) -> Self {
        self.decay = window;
        self
    }

    /// Makes failures count as slow.
    #[must_use]
    pub const fn penalty(mut self, penalty: Penalty) -> Self {
        self.penalty = Some(penalty);
        self
    }

    /// Sets how many requests may wait.
    #[must_use]
    pub const fn queue_capacity(mut self, count: usize) -> Self {
        self.queue_capacity = count;
        self
    }

    /// Sets how long requests may wait.
    #[must_use]
    pub const fn failfast(mut self, limit: Duration) -> Self {
        self.failfast = limit;
        self
    }

    /// Gives every endpoint a breaker of this balancer's own.
    #[must_use]
    pub fn accrual(mut self, config: accrual::Config) -> Self {
        self.breakers = Some(Breakers::new(config, !self.seed));
        self
    }

    /// Gives every endpoint its breaker from a set that other balancers use, too.
    #[must_use]
    pub fn breakers(mut self, breakers: Breakers) -> Self {
        self.breakers = Some(breakers);
        self
    }

    /// Prefers endpoints in the client's zone.
    #[must_use]
    pub const fn zone(mut self, preference: zone::Preference) -> Self {
        self.zone = Some(preference);
        self
    }

    /// Sets where chance starts. Call it before [`Config::accrual`] to seed that, too.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
