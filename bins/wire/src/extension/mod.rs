//! `mesh.extension.v1`: what the compatible APIs cannot say.
//!
//! Its source are annotations that a stock control plane passes over, so that the same manifest serves both. A peer without it answers
//! UNIMPLEMENTED, which means that there is nothing.
//!
//! | service | beside | what it tells |
//! |---|---|---|
//! | `Faults` ([`server`]) | the policy API | planned trouble |
//! | `TrustAnchors` ([`anchors`]) | the identity API | whose signatures are believed, as that changes |
//! | `Digests` ([`digests`]) | the destination API | what watches amount to, so that a lost update is noticed |

pub mod anchors;
mod client;
mod convert;
pub mod digests;
mod server;

use std::sync::Arc;

use meshkit_fault::Faults;
use meshkit_policy::{Meta, Resource};

pub use client::{inbound_faults, outbound_faults};
pub use convert::{plan, plan_to};
pub use server::{Planned, Server, server};

/// The generated messages.
#[allow(missing_docs, unreachable_pub, unnameable_types, clippy::all)] // Not ours to write.
pub(crate) mod proto {
    tonic::include_proto!("mesh.extension.v1");
}

/// The path prefix of the service of faults, by which a port that serves several is told where a call goes.
pub const PATH: &str = "/mesh.extension.v1.Faults/";

/// Planned trouble of one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    routes: Vec<(Arc<Resource>, Faults)>,
    others: Faults,
}

impl FaultPlan {
    /// Faults of some routes, and those of all others.
    #[must_use]
    pub const fn new(routes: Vec<(Arc<Resource>, Faults)>, others: Faults) -> Self {
        Self { routes, others }
    }

    /// Is there no trouble at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.others.is_empty() && self.routes.iter().all(|(_, faults)| faults.is_empty())
    }

    /// The faults of a route: its own, or else those of all others.
    #[must_use]
    pub fn of(&self, route: &Meta) -> &Faults {
        let same = |resource: &Resource| {
            let known = (&*resource.group, &*resource.kind, &*resource.namespace, &*resource.name);
            known == (route.group(), route.kind(), route.namespace(), route.name())
        };
        self.routes.iter().find(|(resource, _)| same(resource)).map_or(&self.others, |(_, faults)| faults)
    }
}

#[cfg(test)]
mod tests;
