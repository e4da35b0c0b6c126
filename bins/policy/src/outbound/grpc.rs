//! Routes of gRPC calls.

use std::sync::Arc;

use meshkit_core::{Ratio, grpc::Code};
use meshkit_manifest::{
    route::{GRPCRoute, GrpcRule},
    traffic::TrafficPolicy,
};
use meshkit_policy::{
    Meta,
    grpc::{Filter, Match},
    http::FailureInjector,
    route::{Route as Routed, Rule as RoutedRule},
};
use meshkit_retry::Timeouts;
use meshkit_wire::outbound::Rule;

use super::{
    backend::Filters,
    default_route, first,
    parent::{self, Parent, Use},
    rule,
};
use crate::{
    convert::{self, Unsupported},
    model::Model,
    view::Route,
};

pub(super) type GrpcRoute = Routed<Match, Rule<Filter>>;

// Upstream sends the code 500 here, which gRPC does not know and proxies take for an unknown error.
const FILTERS: Filters<Filter> = Filters { usage: Use::Requests, read: convert::grpc_filter, fail: |message| fail(Code::UNKNOWN, message) };

impl Model<'_> {
    /// The gRPC routes among some, as far as they can be understood.
    pub(super) fn grpc_routes(&self, parent: &Parent<'_>, routes: &[&Route]) -> Vec<GrpcRoute> {
        let of = |route: &&Route| match route {
            Route::Grpc(it) => self.outbound_grpc(parent, route, it).ok(),
            _ => None,
        };
        routes.iter().filter_map(of).collect()
    }

    /// gRPC routes with what becomes of calls that none of them describes. At a Service they find no route.
    pub(super) fn grpc_with_default(&self, parent: &Parent<'_>, mut routes: Vec<GrpcRoute>) -> Arc<[GrpcRoute]> {
        let default = |name: &str, filters: Vec<Filter>| {
            let rule = rule(first(parent.own(Use::Requests)), parent.timeouts, parent.grpc_retry.clone(), self.settings.overrides);
            default_route(Meta::builtin(name), vec![Match::default()], Rule { filters: filters.into(), ..rule })
        };
        match parent.egress {
            Some((TrafficPolicy::Allow, _)) => routes.push(default("grpc-egress-allow", Vec::new())),
            Some((TrafficPolicy::Deny, _)) => {
                let refused = fail(Code::PERMISSION_DENIED, "traffic not allowed".to_owned());
                routes.push(default("grpc-egress-deny", vec![refused]));
            }
            None => {}
        }
        routes.into()
    }

    fn outbound_grpc(&self, parent: &Parent<'_>, route: &Route, it: &GRPCRoute) -> Result<GrpcRoute, Unsupported> {
        let notes = &it.metadata.annotations;
        let retry = parent::grpc_retry(notes).or_else(|| parent.grpc_retry.clone());
        let own = parent::timeouts(notes);
        let timeouts = if own == Timeouts::default() { parent.timeouts } else { own };
        let of = |it: &GrpcRule| {
            let filters = it.filters.iter().map(convert::grpc_filter).collect::<Result<_, _>>()?;
            let distribution = self.distribution(parent, &it.backend_refs, &FILTERS);
            let rule = rule(distribution, timeouts, retry.clone(), self.settings.overrides);
            let matches = it.matches.iter().map(convert::grpc_match).collect::<Result<_, _>>()?;
            Ok(RoutedRule { matches, policy: Rule { filters, ..rule } })
        };
        let rules = it.spec.rules.iter().map(of).collect::<Result<_, _>>()?;
        Ok(Routed { meta: route.meta(), hosts: convert::hosts(&it.spec.hostnames)?, rules })
    }
}

fn fail(code: Code, message: String) -> Filter {
    Filter::Fail(FailureInjector { response: code, message: message.into(), share: Ratio::ONE })
}
