//! The kinds of `policy.linkerd.io` that are about how much traffic there may be, and about traffic that leaves the cluster.

use serde::{Deserialize, Serialize};

use crate::{
    core::object,
    meta::{Condition, Metadata},
    policy::{Network, Reference},
};

object! {
    /// How many requests a Server takes in a second.
    HTTPLocalRateLimitPolicy {
        /// Name and labels.
        metadata: Metadata,
        /// Which Server, and how many.
        spec: RateLimitSpec,
        /// Was it taken?
        status: Status,
    }
}

object! {
    /// How many requests a Server takes in a second.
    RateLimitSpec {
        /// The Server.
        target_ref: Reference,
        /// Of all clients together.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<Limit>,
        /// Of each client; clients without identity count as one.
        #[serde(skip_serializing_if = "Option::is_none")]
        identity: Option<Limit>,
        /// Of some clients.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        overrides: Vec<Override>,
    }
}

object! {
    /// How many requests.
    Limit {
        /// In a second.
        requests_per_second: u32,
    }
}

object! {
    /// How many requests of some clients.
    Override {
        /// In a second.
        requests_per_second: u32,
        /// The clients: ServiceAccounts.
        client_refs: Vec<Reference>,
    }
}

object! {
    /// What the policy controller says of an object.
    Status {
        /// `Accepted`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        conditions: Vec<Condition>,
        /// What a limit was taken for.
        #[serde(skip_serializing_if = "Option::is_none")]
        target_ref: Option<Reference>,
    }
}

object! {
    /// Networks outside the cluster, and whether they may be called.
    EgressNetwork {
        /// Name and labels.
        metadata: Metadata,
        /// Which networks.
        spec: EgressNetworkSpec,
        /// Was it taken?
        status: Status,
    }
}

object! {
    /// Which networks, and whether they may be called.
    EgressNetworkSpec {
        /// May they be called? It must be said.
        #[serde(skip_serializing_if = "Option::is_none")]
        traffic_policy: Option<TrafficPolicy>,
        /// The networks; everything outside the cluster's stands in.
        #[serde(skip_serializing_if = "Option::is_none")]
        networks: Option<Vec<Network>>,
    }
}

/// What becomes of calls that no route describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums)] // The two of the CRD.
pub enum TrafficPolicy {
    /// They go where they would have gone.
    Allow,
    /// They are refused.
    Deny,
}
