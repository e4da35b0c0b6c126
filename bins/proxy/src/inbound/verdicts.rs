//! What the policy decides about the requests of one connection, counted and logged.

use std::sync::Arc;

use meshkit_core::Identity;
use meshkit_policy::{
    Client, Meta,
    inbound::{Denied, Permit, Policy},
    policy::Observe,
    rate_limit::{RateLimit, RateLimited, Scope},
};
use meshkit_runtime::metrics::{Counter, Family};
use tracing::info;

use super::{App, server_labels};
use crate::metrics::{Labels, Metrics, target, tls_server};

/// Counts and logs verdicts.
#[derive(Clone, Debug)]
pub(super) struct Verdicts {
    pub(super) metrics: Arc<Metrics>,
    pub(super) client: Client,
    pub(super) addr: std::net::SocketAddr,
    pub(super) app: Arc<App>,
}

type Pairs = Vec<(&'static str, String)>;

impl Verdicts {
    /// The labels of everything that happens to this client at this server.
    pub(super) fn labels(&self, policy: &Policy) -> Pairs {
        target(self.addr).into_iter().chain(server_labels(policy, self.addr)).chain(tls_server(&self.client.tls)).collect()
    }

    fn count(&self, family: &Family<Labels, Counter>, more: Pairs) {
        family.handle(&Labels::new(self.labels(&self.app.policy()).into_iter().chain(more))).incr();
    }

    fn client_id(&self) -> &str {
        self.client.tls.client_id().map_or("-", Identity::as_str)
    }
}

impl Observe for Verdicts {
    fn not_found(&self, server: &Meta) {
        self.count(&self.metrics.authz.http_not_found, Vec::new());
        info!(%server, client.ip = %self.client.ip, client.id = self.client_id(), "no route found for request");
    }

    fn denied(&self, denied: &Denied) {
        let route = denied.route().map(route_labels).into_iter().flatten().collect();
        self.count(&self.metrics.authz.http_deny, route);
        let route = denied.route().map(ToString::to_string).unwrap_or_default();
        info!(server = %denied.server(), route, client.ip = %self.client.ip, client.id = self.client_id(), %denied, "Request denied");
    }

    fn allowed(&self, permit: &Permit) {
        if permit.is_audited() {
            info!(server = %permit.server, route = %permit.route, client.ip = %self.client.ip, client.id = self.client_id(), "Request allowed");
        }
    }

    fn rate_limited(&self, _: &Permit, limits: &RateLimit, limited: &RateLimited) {
        let meta = limits.meta.iter().flat_map(|meta| {
            [("ratelimit_group", meta.group()), ("ratelimit_kind", meta.kind()), ("ratelimit_name", meta.name())]
                .map(|(key, value)| (key, value.to_owned()))
        });
        let scope = if limited.scope() == Scope::Total { "total" } else { "identity" };
        self.count(&self.metrics.authz.http_rate_limited, meta.chain([("ratelimit_scope", scope.to_owned())]).collect());
    }
}

/// `route_*` of an inbound route.
pub(super) fn route_labels(route: &Meta) -> [(&'static str, String); 3] {
    [("route_group", route.group()), ("route_kind", route.kind()), ("route_name", route.name())].map(|(key, value)| (key, value.to_owned()))
}
