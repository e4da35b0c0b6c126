//! How many requests a second.

mod cell;
mod limiter;

use std::{collections::BTreeSet, fmt, num::NonZeroU32};

use meshkit_core::{Cause, Error, Identity};

pub use limiter::{InForce, Limiter, MAX_IDENTITIES};

use crate::Meta;

/// Limits on the requests of a port; none by default.
#[derive(Clone, Debug, Default, PartialEq)]
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

impl RateLimit {
    /// Names the object that the limits come from.
    #[must_use]
    pub fn meta(mut self, meta: Meta) -> Self {
        self.meta = Some(meta);
        self
    }

    /// Limits all requests together.
    #[must_use]
    pub const fn total(mut self, limit: Limit) -> Self {
        self.total = Some(limit);
        self
    }

    /// Limits the requests of each identity.
    #[must_use]
    pub const fn identity(mut self, limit: Limit) -> Self {
        self.identity = Some(limit);
        self
    }

    /// Limits these identities, together, by another number than the rest.
    #[must_use]
    pub fn of(mut self, clients: impl IntoIterator<Item = Identity>, limit: Limit) -> Self {
        self.overrides.push(Override { limit, clients: clients.into_iter().collect() });
        self
    }
}

impl Limit {
    /// So many requests a second; `None` for zero, which would be no limit but a refusal.
    #[must_use]
    pub fn per_second(requests: u32) -> Option<Self> {
        NonZeroU32::new(requests).map(Self)
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
