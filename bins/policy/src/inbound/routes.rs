//! The routes of a Server, and those that a port has without any.

use std::sync::Arc;

use ::http::Method;
use meshkit_manifest::{
    policy::Server,
    route::{GRPCRoute, HTTPRoute},
};
use meshkit_policy::{
    Authentication, Authorization, Meta, grpc, http,
    inbound::{GrpcRoute, HttpRoute, RoutePolicy, default_route},
    net::Network,
    route::{PathMatch, Route as Routed, Rule},
};

use super::Port;
use crate::{
    convert::{self, Unsupported},
    model::Model,
    view::{Attached, Parent, ParentKind, Route},
};

impl Model<'_> {
    /// HTTP routes of a Server, the oldest first; the default ones if there are none.
    pub(super) fn server_http_routes(&self, port: &Port, server: &Server) -> Arc<[HttpRoute]> {
        let of = |route: &Route| match route {
            Route::PolicyHttp(it) | Route::Http(it) => self.http_route(route, it).ok(),
            _ => None,
        };
        let routes: Arc<[_]> = self.server_routes(server).filter_map(of).collect();
        if routes.is_empty() { self.default_http_routes(port) } else { routes }
    }

    /// gRPC routes of a Server, the oldest first; the default one if there are none.
    pub(super) fn server_grpc_routes(&self, server: &Server) -> Arc<[GrpcRoute]> {
        let of = |route: &Route| match route {
            Route::Grpc(it) => self.grpc_route(route, it).ok(),
            _ => None,
        };
        let routes: Arc<[_]> = self.server_routes(server).filter_map(of).collect();
        if routes.is_empty() { [default_route([].into())].into() } else { routes }
    }

    /// The route for everything, and one for what the kubelet asks.
    pub(super) fn default_http_routes(&self, port: &Port) -> Arc<[HttpRoute]> {
        let mut default = default_route([].into());
        default.rules.iter_mut().for_each(|rule| rule.matches.push(http::Match::prefix("/")));
        let mut all = vec![default];
        if !port.probes.is_empty() && !self.mesh.probe_networks.is_empty() {
            let kubelet = Authorization {
                networks: self.mesh.probe_networks.iter().copied().map(Network::from).collect(),
                authentication: Authentication::Unauthenticated,
                meta: Meta::builtin("probe"),
            };
            let asked = |path: &String| http::Match {
                path: Some(PathMatch::Exact(path.clone())),
                method: Some(Method::GET),
                ..http::Match::default()
            };
            let policy = RoutePolicy { authorizations: [kubelet].into(), filters: [].into() };
            let rule = Rule { matches: port.probes.iter().map(asked).collect(), policy };
            all.push(Routed { meta: Meta::builtin("probe"), hosts: Vec::new(), rules: vec![rule] });
        }
        all.into()
    }

    /// The routes of a Server that are in force.
    pub(crate) fn server_routes(&self, server: &Server) -> impl Iterator<Item = &Route> {
        let (namespace, name) = (server.metadata.namespace.clone(), server.metadata.name.clone());
        let attached = self.view.attached(&Parent { kind: ParentKind::Server, namespace, name });
        // A route that names the Server twice is one route.
        let is_first = |nth: usize, it: &Attached| nth == 0 || attached[nth - 1].route.key() != it.route.key();
        let all = attached.iter().enumerate().filter(move |(nth, it)| is_first(*nth, it));
        all.map(|(_, it)| it).filter(|it| self.is_route_in_force(&it.route, it.reference())).map(|it| &it.route)
    }

    fn http_route(&self, route: &Route, it: &HTTPRoute) -> Result<HttpRoute, Unsupported> {
        let authorizations: Arc<[_]> = self.route_authorizations(route).into();
        let rule = |rule: &meshkit_manifest::route::HttpRule| {
            // Headers of responses are not this API's business.
            let filters = rule.filters.iter().filter(|filter| filter.kind != "ResponseHeaderModifier").map(convert::http_filter);
            Ok(Rule {
                matches: http_matches(&rule.matches)?,
                policy: RoutePolicy { authorizations: Arc::clone(&authorizations), filters: filters.collect::<Result<_, _>>()? },
            })
        };
        Ok(Routed {
            meta: route.meta(),
            hosts: convert::hosts(&it.spec.hostnames)?,
            rules: it.spec.rules.iter().map(rule).collect::<Result<_, _>>()?,
        })
    }

    fn grpc_route(&self, route: &Route, it: &GRPCRoute) -> Result<GrpcRoute, Unsupported> {
        let authorizations: Arc<[_]> = self.route_authorizations(route).into();
        let rule = |rule: &meshkit_manifest::route::GrpcRule| {
            let filters = rule.filters.iter().filter(|filter| filter.kind != "ResponseHeaderModifier").map(convert::grpc_filter);
            Ok(Rule {
                matches: grpc_matches(&rule.matches)?,
                policy: RoutePolicy { authorizations: Arc::clone(&authorizations), filters: filters.collect::<Result<_, _>>()? },
            })
        };
        Ok(Routed {
            meta: route.meta(),
            hosts: convert::hosts(&it.spec.hostnames)?,
            rules: it.spec.rules.iter().map(rule).collect::<Result<_, _>>()?,
        })
    }
}

fn http_matches(all: &[meshkit_manifest::route::HttpMatch]) -> Result<Vec<http::Match>, Unsupported> {
    all.iter().map(convert::http_match).collect()
}

fn grpc_matches(all: &[meshkit_manifest::route::GrpcMatch]) -> Result<Vec<grpc::Match>, Unsupported> {
    all.iter().map(convert::grpc_match).collect()
}
