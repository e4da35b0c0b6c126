//! How many requests a Server takes.

use std::{num::NonZeroU32, sync::Arc};

use meshkit_manifest::{policy::Server, traffic};
use meshkit_policy::rate_limit::{Limit, Override, RateLimit};

use super::meta;
use crate::{acceptance::targets_server, model::Model};

impl Model<'_> {
    /// The limit of a Server: the oldest that is in force.
    pub(super) fn rate_limit(&self, server: &Server) -> Option<Arc<RateLimit>> {
        let metadata = &server.metadata;
        let of = |limit: &&Arc<traffic::HTTPLocalRateLimitPolicy>| {
            let target = &limit.spec.target_ref;
            targets_server(target) && target.name == metadata.name && self.is_rate_limit_in_force(limit)
        };
        let policy = self.view.rate_limits(&metadata.namespace).iter().find(of)?;
        let (spec, namespace) = (&policy.spec, &policy.metadata.namespace);
        let total = spec.total.as_ref().and_then(|it| limit(it.requests_per_second));
        let identity = spec.identity.as_ref().and_then(|it| limit(it.requests_per_second));
        let over = |it: &traffic::Override| {
            let accounts = it.client_refs.iter().filter(|client| client.is("", "ServiceAccount"));
            let names = accounts.map(|client| self.mesh.account(client.namespace.as_ref().unwrap_or(namespace), &client.name));
            Some(Override { limit: limit(it.requests_per_second)?, clients: names.filter_map(|name| name.parse().ok()).collect() })
        };
        let overrides = spec.overrides.iter().filter_map(over).collect();
        Some(Arc::new(RateLimit { meta: Some(meta("HTTPLocalRateLimitPolicy", &policy.metadata)), total, identity, overrides }))
    }
}

/// A limit of zero was refused at the door, and is none here.
fn limit(requests_per_second: u32) -> Option<Limit> {
    NonZeroU32::new(requests_per_second).map(Limit)
}
