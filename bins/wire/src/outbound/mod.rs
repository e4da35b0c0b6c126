//! `io.linkerd.proxy.outbound`: where a workload's traffic goes.

mod backend;
mod policy;
mod routes;
mod server;

use std::{sync::Arc, time::Duration};

use meshkit_core::{Backoff, Endpoint};
use meshkit_policy::{Meta, grpc, http, outbound, tls};
use meshkit_retry::{Params, Timeouts};

pub use policy::{policy, policy_to};
pub(crate) use server::target_to;
pub use server::{Policies, Server, Target, server};

/// The policy of one destination.
pub type Policy = outbound::Policy<Rule<http::Filter>, Rule<grpc::Filter>, OpaqueRule>;
/// What a destination speaks.
pub type Protocol = outbound::Protocol<Rule<http::Filter>, Rule<grpc::Filter>, OpaqueRule>;

/// What becomes of the requests of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<F> {
    /// What happens to each try.
    pub filters: Arc<[F]>,
    /// Where they go.
    pub distribution: Distribution<F>,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// Which of them are tried again.
    pub retry: Option<Params>,
    /// Whether requests may ask for other timeouts and retries.
    pub overrides: Overrides,
}

/// Whether requests may ask for other timeouts and retries, by `l5d-*` headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // They may or they may not.
pub enum Overrides {
    /// The headers mean nothing here, and are passed on.
    #[default]
    PassedOn,
    /// The headers are taken, and obeyed.
    Obeyed,
}

/// What becomes of connections that are not looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueRule {
    /// Reasons to close them.
    pub filters: Arc<[tls::Filter]>,
    /// Where they go.
    pub distribution: Distribution<tls::Filter>,
}

/// Where traffic goes.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // The three of the API.
pub enum Distribution<F> {
    /// Nowhere.
    Empty,
    /// To the first backend that can take it.
    First(Arc<[RouteBackend<F>]>),
    /// To one of the backends that can take it, by weight.
    Random(Arc<[(RouteBackend<F>, u32)]>),
}

/// A backend as a rule uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteBackend<F> {
    /// The backend.
    pub backend: Arc<Backend>,
    /// What happens to what goes there.
    pub filters: Arc<[F]>,
}

/// Something that takes traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The object.
    pub meta: Meta,
    /// How it is reached.
    pub dispatch: Dispatch,
    /// When an endpoint of it is given a rest.
    pub accrual: Option<Accrual>,
}

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // The three of the API.
pub enum Dispatch {
    /// At one endpoint.
    Forward(Endpoint),
    /// At the endpoints that discovery knows under a name.
    Balance {
        /// The name, with its port.
        path: String,
        /// How the endpoints' load is measured.
        load: Load,
    },
    /// Not at all.
    Fail,
}

/// How the load of endpoints is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// What an endpoint is assumed to take before its first answer.
    pub default_rtt: Duration,
    /// How fast a slow answer is forgotten.
    pub decay: Duration,
    /// What a failure counts as, and the longest hint that is believed.
    pub penalty: Option<(Duration, Duration)>,
}

impl Default for Load {
    fn default() -> Self {
        Self { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10), penalty: None }
    }
}

/// When an endpoint is given a rest.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // The two of the API.
pub enum Accrual {
    /// After so many failures in a row.
    Consecutive {
        /// How many.
        max_failures: u32,
        /// How long.
        backoff: Backoff,
    },
    /// After so many failures in a row, or when too few requests succeed.
    Unified {
        /// Successes of all, from 0 to 1; 0 is never.
        success_rate: f64,
        /// Over how long.
        window: Duration,
        /// Fewer requests decide nothing.
        min_requests: u32,
        /// Failures in a row; 0 is never.
        max_failures: u32,
        /// How long the rest is.
        backoff: Backoff,
        /// What the endpoint itself says of that.
        hints: Hints,
    },
}

/// Whether an endpoint that fails may say how long its rest is, by `retry-after` and the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It may or it may not.
pub enum Hints {
    /// It may not.
    #[default]
    Ignored,
    /// It may ask for more than the backoff says, up to the backoff's longest.
    Respected,
}

impl<F> Distribution<F> {
    /// Every backend, with its weight.
    pub fn backends(&self) -> impl Iterator<Item = (&RouteBackend<F>, u32)> {
        let first = if let Self::First(backends) = self { &**backends } else { &[] };
        let random = if let Self::Random(backends) = self { &**backends } else { &[] };
        first.iter().map(|b| (b, 1)).chain(random.iter().map(|(b, weight)| (b, *weight)))
    }
}

#[cfg(test)]
mod tests;
