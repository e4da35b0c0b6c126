//! `io.linkerd.proxy.inbound`: what a workload's ports allow.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use linkerd2_proxy_api::inbound as proto;
use meshkit_core::Identity;
use meshkit_policy::{
    Authentication, Authorization, Meta, Resource,
    authorization::Suffix,
    grpc, http,
    inbound::{GrpcRoute, HttpRoute, Policy, Protocol, RoutePolicy, default_route},
    net::Network,
    rate_limit::{Limit, Override, RateLimit},
    route::{Route, Rule},
};
use tonic::{Request, Response, Status};

use crate::{
    Invalid, Refused,
    destination::Answers,
    meta::{meta, meta_to},
    net, route as convert,
};

/// Answers what the inbound policy API is asked.
pub trait Policies: Send + Sync + 'static {
    /// The policy of a workload's port, as it changes. The workload is what the proxy was told to call itself.
    ///
    /// # Errors
    /// The workload is malformed or not known.
    fn policy(&self, workload: &str, port: u16) -> Result<Answers<Arc<Policy>>, Refused>;
}

/// Serves policies over gRPC.
#[must_use]
pub fn server<P: Policies>(policies: Arc<P>) -> proto::inbound_server_policies_server::InboundServerPoliciesServer<Server<P>> {
    proto::inbound_server_policies_server::InboundServerPoliciesServer::new(Server(policies)).max_decoding_message_size(64 * 1024)
}

/// Adapts [`Policies`] to the generated service.
#[derive(Debug)]
pub struct Server<P>(Arc<P>);

impl<P: Policies> Server<P> {
    fn watch(&self, spec: &proto::PortSpec) -> Result<Answers<Arc<Policy>>, Status> {
        let port = net::port(spec.port, "port").map_err(|e| Status::invalid_argument(e.to_string()))?;
        self.0.policy(&spec.workload, port.get()).map_err(Refused::into_status)
    }
}

#[tonic::async_trait]
impl<P: Policies> proto::inbound_server_policies_server::InboundServerPolicies for Server<P> {
    type WatchPortStream = Answers<Result<proto::Server, Status>>;

    async fn get_port(&self, request: Request<proto::PortSpec>) -> Result<Response<proto::Server>, Status> {
        let first = self.watch(&request.into_inner())?.next().await;
        first.map(|policy| Response::new(policy_to(&policy))).ok_or_else(|| Status::unavailable("the controller is stopping"))
    }

    async fn watch_port(&self, request: Request<proto::PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        let policies = self.watch(&request.into_inner())?;
        Ok(Response::new(policies.map(|policy| Ok(policy_to(&policy))).boxed()))
    }
}

/// How long detection takes where the server does not say.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a policy. Every authorization list ends with the one for the workload itself: its own loopback address.
///
/// # Errors
/// A field is malformed. A filter that cannot be understood is none: it becomes a filter that fails every request.
pub fn policy(server: proto::Server) -> Result<Policy, Invalid> {
    use proto::proxy_protocol::Kind;
    let mut authorizations = authorizations(server.authorizations)?;
    authorizations.push(Authorization {
        networks: Network::loopback(),
        authentication: Authentication::Unauthenticated,
        meta: Meta::builtin("localhost"),
    });
    let kind = server.protocol.and_then(|p| p.kind).ok_or_else(|| Invalid::missing("protocol.kind"))?;
    let protocol = match kind {
        Kind::Detect(detect) => Protocol::Detect {
            timeout: net::duration(detect.timeout, "detect.timeout")?.unwrap_or(DETECT_TIMEOUT),
            routes: http_routes(detect.http_routes)?,
            rate_limit: rate_limit(detect.http_local_rate_limit)?,
        },
        Kind::Http1(http) => Protocol::Http1 { routes: http_routes(http.routes)?, rate_limit: rate_limit(http.local_rate_limit)? },
        Kind::Http2(http) => Protocol::Http2 { routes: http_routes(http.routes)?, rate_limit: rate_limit(http.local_rate_limit)? },
        Kind::Grpc(grpc) => Protocol::Grpc { routes: grpc_routes(grpc.routes)? },
        Kind::Opaque(_) => Protocol::Opaque,
        Kind::Tls(_) => Protocol::Tls,
    };
    Ok(Policy { protocol, server: labels(&server.labels, "server"), authorizations: authorizations.into() })
}

/// The policy in the words of the API's older part: labels instead of a reference.
fn labels(labels: &HashMap<String, String>, kind: &str) -> Meta {
    let label = |key: &str| labels.get(key).map(String::as_str);
    let name = label("name").unwrap_or_default();
    if let Some(name) = name.strip_prefix("default:") {
        return Meta::builtin(name);
    }
    match (label("group").unwrap_or("policy.linkerd.io"), label("kind").unwrap_or(kind)) {
        (_, "default") => Meta::builtin(name),
        (group, kind) => Meta::Resource(Arc::new(Resource {
            group: group.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            ..Resource::default()
        })),
    }
}

fn labels_to(meta: &Meta) -> HashMap<String, String> {
    let pairs = [("group", meta.group()), ("kind", meta.kind()), ("name", meta.name())];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn authorizations(list: Vec<proto::Authz>) -> Result<Vec<Authorization>, Invalid> {
    // One without networks admits nobody, and is ignored.
    let some = list.into_iter().filter(|authz| !authz.networks.is_empty());
    some.map(authorization).collect::<Result<_, _>>().map_err(|e| e.within("authorizations"))
}

fn authorization(authz: proto::Authz) -> Result<Authorization, Invalid> {
    use proto::authn::{Permit, permit_mesh_tls::Clients};
    let authentication = match authz.authentication.and_then(|a| a.permit).ok_or_else(|| Invalid::missing("authentication"))? {
        Permit::Unauthenticated(_) => Authentication::Unauthenticated,
        Permit::MeshTls(tls) => match tls.clients.ok_or_else(|| Invalid::missing("authentication.clients"))? {
            Clients::Unauthenticated(_) => Authentication::TlsUnauthenticated,
            Clients::Identities(clients) => Authentication::TlsAuthenticated {
                identities: clients.identities.iter().map(identity).collect::<Result<_, _>>()?,
                suffixes: clients.suffixes.iter().map(|suffix| Suffix::of_labels(&suffix.parts)).collect(),
            },
        },
    };
    Ok(Authorization {
        networks: authz.networks.into_iter().map(net::network).collect::<Result<_, _>>()?,
        authentication,
        meta: match authz.metadata {
            Some(metadata) => meta(Some(metadata))?,
            None => labels(&authz.labels, "serverauthorization"),
        },
    })
}

fn identity(identity: &proto::Identity) -> Result<Identity, Invalid> {
    identity.name.parse().map_err(|e| Invalid::new("identities", e))
}

fn http_routes(routes: Vec<proto::HttpRoute>) -> Result<Arc<[HttpRoute]>, Invalid> {
    if routes.is_empty() {
        // A control plane of the time before routes: the server's authorizations are all there is.
        return Ok([default_route([].into())].into());
    }
    let route = |route: proto::HttpRoute| {
        let authorizations: Arc<[_]> = authorizations(route.authorizations)?.into();
        let rule = |rule: proto::http_route::Rule| {
            let filters = rule
                .filters
                .into_iter()
                .map(|f| http_filter(f).unwrap_or_else(|e| http::Filter::InternalError(convert::not_understood(&e))));
            Ok(Rule {
                matches: rule.matches.into_iter().map(convert::http_match).collect::<Result<_, _>>()?,
                policy: RoutePolicy { authorizations: Arc::clone(&authorizations), filters: filters.collect() },
            })
        };
        Ok(Route {
            meta: meta(route.metadata)?,
            hosts: convert::hosts(route.hosts)?,
            rules: route.rules.into_iter().map(rule).collect::<Result<_, Invalid>>()?,
        })
    };
    routes.into_iter().map(route).collect::<Result<_, Invalid>>().map_err(|e| e.within("routes"))
}

fn grpc_routes(routes: Vec<proto::GrpcRoute>) -> Result<Arc<[GrpcRoute]>, Invalid> {
    if routes.is_empty() {
        return Ok([default_route([].into())].into());
    }
    let route = |route: proto::GrpcRoute| {
        let authorizations: Arc<[_]> = authorizations(route.authorizations)?.into();
        let rule = |rule: proto::grpc_route::Rule| {
            let filters = rule
                .filters
                .into_iter()
                .map(|f| grpc_filter(f).unwrap_or_else(|e| grpc::Filter::InternalError(convert::not_understood(&e))));
            Ok(Rule {
                matches: rule.matches.into_iter().map(convert::grpc_match).collect::<Result<_, _>>()?,
                policy: RoutePolicy { authorizations: Arc::clone(&authorizations), filters: filters.collect() },
            })
        };
        Ok(Route {
            meta: meta(route.metadata)?,
            hosts: convert::hosts(route.hosts)?,
            rules: route.rules.into_iter().map(rule).collect::<Result<_, Invalid>>()?,
        })
    };
    routes.into_iter().map(route).collect::<Result<_, Invalid>>().map_err(|e| e.within("routes"))
}

fn http_filter(filter: proto::http_route::Filter) -> Result<http::Filter, Invalid> {
    use proto::http_route::filter::Kind;
    Ok(match filter.kind.ok_or_else(|| Invalid::missing("filter.kind"))? {
        Kind::FailureInjector(failure) => http::Filter::Fail(convert::http_failure(failure)?),
        Kind::RequestHeaderModifier(modifier) => http::Filter::RequestHeaders(convert::request_headers(modifier)?),
        Kind::Redirect(redirect) => http::Filter::Redirect(convert::redirect(redirect)?),
    })
}

fn grpc_filter(filter: proto::grpc_route::Filter) -> Result<grpc::Filter, Invalid> {
    use proto::grpc_route::filter::Kind;
    Ok(match filter.kind.ok_or_else(|| Invalid::missing("filter.kind"))? {
        Kind::FailureInjector(failure) => grpc::Filter::Fail(convert::grpc_failure(failure)?),
        Kind::RequestHeaderModifier(modifier) => grpc::Filter::RequestHeaders(convert::request_headers(modifier)?),
    })
}

fn rate_limit(limits: Option<proto::HttpLocalRateLimit>) -> Result<Option<Arc<RateLimit>>, Invalid> {
    let Some(limits) = limits else { return Ok(None) };
    let limit = |limit: proto::http_local_rate_limit::Limit| {
        NonZeroU32::new(limit.requests_per_second).map(Limit).ok_or_else(|| Invalid::new("rate_limit", "a limit of zero admits nobody"))
    };
    let over = |over: proto::http_local_rate_limit::Override| {
        Ok(Override {
            limit: limit(over.limit.ok_or_else(|| Invalid::missing("rate_limit.overrides.limit"))?)?,
            clients: over.clients.unwrap_or_default().identities.iter().map(identity).collect::<Result<_, _>>()?,
        })
    };
    Ok(Some(Arc::new(RateLimit {
        meta: limits.metadata.map(|m| meta(Some(m))).transpose()?,
        total: limits.total.map(limit).transpose()?,
        identity: limits.identity.map(limit).transpose()?,
        overrides: limits.overrides.into_iter().map(over).collect::<Result<_, Invalid>>()?,
    })))
}

/// Writes a policy. What the API cannot say (filters of other kinds) is left out; a filter that fails every request
/// is written as one without a kind, which no reader lets pass.
#[must_use]
pub fn policy_to(policy: &Policy) -> proto::Server {
    use proto::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};
    let http = |routes: &[HttpRoute]| routes.iter().map(http_route_to).collect();
    let limit = |limit: &Option<Arc<RateLimit>>| limit.as_deref().map(rate_limit_to);
    let kind = match &policy.protocol {
        Protocol::Detect { timeout, routes, rate_limit } => Kind::Detect(Detect {
            timeout: Some(net::duration_to(*timeout)),
            http_routes: http(routes),
            http_local_rate_limit: limit(rate_limit),
        }),
        Protocol::Http1 { routes, rate_limit } => Kind::Http1(Http1 { routes: http(routes), local_rate_limit: limit(rate_limit) }),
        Protocol::Http2 { routes, rate_limit } => Kind::Http2(Http2 { routes: http(routes), local_rate_limit: limit(rate_limit) }),
        Protocol::Grpc { routes } => Kind::Grpc(Grpc { routes: routes.iter().map(grpc_route_to).collect() }),
        Protocol::Opaque => Kind::Opaque(Opaque {}),
        Protocol::Tls => Kind::Tls(Tls {}),
    };
    proto::Server {
        protocol: Some(proto::ProxyProtocol { kind: Some(kind) }),
        server_ips: Vec::new(),
        authorizations: policy.authorizations.iter().map(authorization_to).collect(),
        labels: labels_to(&policy.server),
    }
}

fn authorization_to(authorization: &Authorization) -> proto::Authz {
    use proto::authn::{
        Permit, PermitMeshTls, PermitUnauthenticated,
        permit_mesh_tls::{Clients, PermitClientIdentities},
    };
    let tls = |clients| Permit::MeshTls(PermitMeshTls { clients: Some(clients) });
    let permit = match &authorization.authentication {
        Authentication::Unauthenticated => Permit::Unauthenticated(PermitUnauthenticated {}),
        Authentication::TlsUnauthenticated => tls(Clients::Unauthenticated(PermitUnauthenticated {})),
        Authentication::TlsAuthenticated { identities, suffixes } => tls(Clients::Identities(PermitClientIdentities {
            identities: identities.iter().map(|id| proto::Identity { name: id.to_string() }).collect(),
            suffixes: suffixes
                .iter()
                .map(|s| proto::IdentitySuffix { parts: s.labels().into_iter().map(str::to_owned).collect() })
                .collect(),
        })),
    };
    proto::Authz {
        networks: authorization.networks.iter().map(net::network_to).collect(),
        authentication: Some(proto::Authn { permit: Some(permit) }),
        labels: labels_to(&authorization.meta),
        metadata: Some(meta_to(&authorization.meta)),
    }
}

fn http_route_to(route: &HttpRoute) -> proto::HttpRoute {
    use proto::http_route::{Filter, filter::Kind};
    let filter = |filter: &http::Filter| {
        let kind = match filter {
            http::Filter::Fail(failure) => Kind::FailureInjector(convert::http_failure_to(failure)),
            http::Filter::RequestHeaders(modifier) => Kind::RequestHeaderModifier(convert::request_headers_to(modifier)),
            http::Filter::Redirect(redirect) => Kind::Redirect(convert::redirect_to(redirect)),
            http::Filter::InternalError(_) => return Some(Filter { kind: None }),
            _ => return None,
        };
        Some(Filter { kind: Some(kind) })
    };
    let rule = |rule: &Rule<http::Match, RoutePolicy<http::Filter>>| proto::http_route::Rule {
        matches: rule.matches.iter().map(convert::http_match_to).collect(),
        filters: rule.policy.filters.iter().filter_map(filter).collect(),
    };
    proto::HttpRoute {
        metadata: Some(meta_to(&route.meta)),
        hosts: convert::hosts_to(&route.hosts),
        authorizations: route.rules.first().map_or_else(Vec::new, |r| r.policy.authorizations.iter().map(authorization_to).collect()),
        rules: route.rules.iter().map(rule).collect(),
    }
}

fn grpc_route_to(route: &GrpcRoute) -> proto::GrpcRoute {
    use proto::grpc_route::{Filter, filter::Kind};
    let filter = |filter: &grpc::Filter| {
        let kind = match filter {
            grpc::Filter::Fail(failure) => Kind::FailureInjector(convert::grpc_failure_to(failure)),
            grpc::Filter::RequestHeaders(modifier) => Kind::RequestHeaderModifier(convert::request_headers_to(modifier)),
            grpc::Filter::InternalError(_) => return Some(Filter { kind: None }),
            _ => return None,
        };
        Some(Filter { kind: Some(kind) })
    };
    let rule = |rule: &Rule<grpc::Match, RoutePolicy<grpc::Filter>>| proto::grpc_route::Rule {
        matches: rule.matches.iter().map(convert::grpc_match_to).collect(),
        filters: rule.policy.filters.iter().filter_map(filter).collect(),
    };
    proto::GrpcRoute {
        metadata: Some(meta_to(&route.meta)),
        hosts: convert::hosts_to(&route.hosts),
        authorizations: route.rules.first().map_or_else(Vec::new, |r| r.policy.authorizations.iter().map(authorization_to).collect()),
        rules: route.rules.iter().map(rule).collect(),
    }
}

fn rate_limit_to(limits: &RateLimit) -> proto::HttpLocalRateLimit {
    use proto::http_local_rate_limit as wire;
    let limit = |limit: Limit| wire::Limit { requests_per_second: limit.0.get() };
    proto::HttpLocalRateLimit {
        metadata: limits.meta.as_ref().map(meta_to),
        total: limits.total.map(limit),
        identity: limits.identity.map(limit),
        overrides: limits
            .overrides
            .iter()
            .map(|over| wire::Override {
                limit: Some(limit(over.limit)),
                clients: Some(wire::r#override::ClientIdentities {
                    identities: over.clients.iter().map(|id| proto::Identity { name: id.to_string() }).collect(),
                }),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use meshkit_policy::DefaultPolicy;

    use super::*;

    fn with_localhost(mut policy: Policy) -> Policy {
        let localhost = Authorization {
            networks: Network::loopback(),
            authentication: Authentication::Unauthenticated,
            meta: Meta::builtin("localhost"),
        };
        policy.authorizations = policy.authorizations.iter().cloned().chain([localhost]).collect();
        policy
    }

    #[test]
    fn the_default_policies_round_trip_and_gain_the_workload_itself() {
        let cluster = ["10.0.0.0/8".parse().unwrap()];
        for name in ["deny", "audit", "all-authenticated", "all-unauthenticated", "cluster-authenticated", "cluster-unauthenticated"] {
            let default = name.parse::<DefaultPolicy>().unwrap().policy(&cluster, DETECT_TIMEOUT);
            assert_eq!(policy(policy_to(&default)), Ok(with_localhost(default)), "{name}");
        }
    }

    #[test]
    fn a_server_without_routes_has_one_for_everything() {
        let mut wire = policy_to(&DefaultPolicy::AllUnauthenticated.policy(&[], DETECT_TIMEOUT));
        let Some(proto::proxy_protocol::Kind::Detect(detect)) = &mut wire.protocol.as_mut().unwrap().kind else { panic!() };
        detect.http_routes.clear();
        let read = policy(wire).unwrap();
        let request = ::http::Request::get("/x").body(()).unwrap().into_parts().0;
        assert_eq!(read.route(&request).unwrap().meta().name(), "default");
    }

    #[test]
    fn a_filter_that_is_not_understood_fails_requests_instead_of_passing_them() {
        let mut wire = policy_to(&DefaultPolicy::AllUnauthenticated.policy(&[], DETECT_TIMEOUT));
        let Some(proto::proxy_protocol::Kind::Detect(detect)) = &mut wire.protocol.as_mut().unwrap().kind else { panic!() };
        detect.http_routes[0].rules[0].filters.push(proto::http_route::Filter { kind: None });
        let Protocol::Detect { routes, .. } = policy(wire).unwrap().protocol else { panic!() };
        assert!(matches!(&routes[0].rules[0].policy.filters[..], [http::Filter::InternalError(_)]));
        let written = http_route_to(&routes[0]);
        assert_eq!(written.rules[0].filters, [proto::http_route::Filter { kind: None }], "nor is it lost when it is passed on");
    }

    #[test]
    fn malformed_policies_name_the_field() {
        assert_eq!(policy(proto::Server::default()).unwrap_err().to_string(), "protocol.kind: is missing");
    }
}
