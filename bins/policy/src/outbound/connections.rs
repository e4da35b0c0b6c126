//! Routes of connections: of TLS that ends in the application, and of any bytes.

use std::sync::Arc;

use meshkit_manifest::{
    route::{ConnectionRule, TLSRoute},
    traffic::TrafficPolicy,
};
use meshkit_policy::{
    Meta,
    outbound::OpaqueRoute,
    tls::{self, Filter, SniMatch},
};
use meshkit_wire::outbound::{Distribution, OpaqueRule};

use super::{
    backend::Filters,
    first,
    parent::{Parent, Use},
};
use crate::{convert::Unsupported, model::Model, view::Route};

pub(super) type TlsRoute = tls::Route<OpaqueRule>;
pub(super) type TcpRoute = OpaqueRoute<OpaqueRule>;

const FILTERS: Filters<Filter> = Filters {
    usage: Use::Connections,
    read: |filter| Err(Unsupported(filter.kind.clone())),
    fail: |message| Filter::Invalid(message.into()),
};

impl Model<'_> {
    /// The TLS routes among some.
    pub(super) fn tls_routes(&self, parent: &Parent<'_>, routes: &[&Route]) -> Vec<TlsRoute> {
        let of = |route: &&Route| match route {
            Route::Tls(it) => self.tls_route(parent, route, it),
            _ => None,
        };
        routes.iter().filter_map(of).collect()
    }

    /// TLS routes with what becomes of connections that none of them describes. At a Service they find no route.
    pub(super) fn tls_with_default(parent: &Parent<'_>, mut routes: Vec<TlsRoute>) -> Arc<[TlsRoute]> {
        routes.extend(parent.egress.map(|(traffic, _)| {
            let name = if traffic == TrafficPolicy::Allow { "tls-egress-allow" } else { "tls-egress-deny" };
            let policy = OpaqueRule { filters: verdict(traffic), distribution: first(parent.own(Use::Connections)) };
            TlsRoute { meta: Meta::builtin(name), names: Vec::new(), policy }
        }));
        routes.into()
    }

    /// The oldest TCP route among some.
    pub(super) fn tcp_route(&self, parent: &Parent<'_>, routes: &[&Route]) -> Option<TcpRoute> {
        let of = |route: &&Route| match route {
            Route::Tcp(it) => Some(TcpRoute { meta: route.meta(), policy: self.connection_rule(parent, &it.spec.rules)? }),
            _ => None,
        };
        routes.iter().find_map(of)
    }

    fn tls_route(&self, parent: &Parent<'_>, route: &Route, it: &TLSRoute) -> Option<TlsRoute> {
        let name = |name: &String| match name.strip_prefix("*.") {
            Some(suffix) => SniMatch::Suffix(suffix.to_owned()),
            None => SniMatch::Exact(name.clone()),
        };
        let names = it.spec.hostnames.iter().map(name).collect();
        Some(TlsRoute { meta: route.meta(), names, policy: self.connection_rule(parent, &it.spec.rules)? })
    }

    /// More or fewer rules than one were refused at the door, and are no route here.
    fn connection_rule(&self, parent: &Parent<'_>, rules: &[ConnectionRule]) -> Option<OpaqueRule> {
        let [rule] = rules else { return None };
        let distribution: Distribution<Filter> = self.distribution(parent, &rule.backend_refs, &FILTERS);
        Some(OpaqueRule { filters: [].into(), distribution })
    }
}

impl Parent<'_> {
    /// What becomes of bytes that no route describes.
    pub(super) fn default_tcp_route(&self) -> TcpRoute {
        let (name, filters) = match self.egress {
            None => ("opaq", [].into()),
            Some((TrafficPolicy::Allow, _)) => ("tcp-egress-allow", verdict(TrafficPolicy::Allow)),
            Some((TrafficPolicy::Deny, _)) => ("tcp-egress-deny", verdict(TrafficPolicy::Deny)),
        };
        TcpRoute { meta: Meta::builtin(name), policy: OpaqueRule { filters, distribution: first(self.own(Use::Connections)) } }
    }
}

fn verdict(traffic: TrafficPolicy) -> Arc<[Filter]> {
    match traffic {
        TrafficPolicy::Allow => [].into(),
        TrafficPolicy::Deny => [Filter::Forbidden].into(),
    }
}
