// The API's older way to say a timeout is still set, for proxies that know no other.
#![allow(deprecated)]

use std::sync::Arc;

use linkerd2_proxy_api::{http_route, outbound as proto};
use meshkit_core::grpc::Code;
use meshkit_policy::{
    grpc, http,
    outbound::OpaqueRoute,
    route::{self, Route},
    tls::{self, Filter, SniMatch},
};
use meshkit_retry::{CodeSet, Conditions, Params, StatusRanges, Timeouts};

use super::{
    Accrual, Distribution, OpaqueRule, Overrides, RouteBackend, Rule,
    backend::{backend, backend_to, backoff, backoff_to},
};
use crate::{
    Invalid,
    meta::{meta, meta_to},
    net, route as convert,
};

pub(super) type HttpRoute = Route<http::Match, Rule<http::Filter>>;
pub(super) type GrpcRoute = Route<grpc::Match, Rule<grpc::Filter>>;

/// The distributions of the four kinds of route are four types on the wire, and one here.
macro_rules! distribution {
    ($read:ident, $write:ident, $module:ident, $filter:ty, $read_filter:expr, $write_filter:expr) => {
        fn $read(distribution: Option<proto::$module::Distribution>, accrual: Option<Accrual>) -> Result<Distribution<$filter>, Invalid> {
            use proto::$module::{RouteBackend as Wire, distribution::Kind};
            let one = |wire: Wire| {
                let filters = wire.filters.into_iter().map($read_filter).collect();
                Ok(RouteBackend { backend: backend(wire.backend, accrual)?, filters })
            };
            Ok(match distribution.and_then(|d| d.kind).ok_or_else(|| Invalid::missing("backends"))? {
                Kind::Empty(_) => Distribution::Empty,
                Kind::FirstAvailable(first) => Distribution::First(first.backends.into_iter().map(one).collect::<Result<_, Invalid>>()?),
                Kind::RandomAvailable(random) => {
                    let weighted = random
                        .backends
                        .into_iter()
                        .map(|w| Ok((one(w.backend.ok_or_else(|| Invalid::missing("backends.backend"))?)?, w.weight)));
                    Distribution::Random(weighted.collect::<Result<_, Invalid>>()?)
                }
            })
        }

        fn $write(distribution: &Distribution<$filter>) -> proto::$module::Distribution {
            use proto::$module::{WeightedRouteBackend, distribution};
            let kind = match distribution {
                Distribution::Empty => distribution::Kind::Empty(distribution::Empty {}),
                Distribution::First(backends) => distribution::Kind::FirstAvailable(distribution::FirstAvailable {
                    backends: backends.iter().map($write_filter).collect(),
                }),
                Distribution::Random(backends) => distribution::Kind::RandomAvailable(distribution::RandomAvailable {
                    backends: backends
                        .iter()
                        .map(|(backend, weight)| WeightedRouteBackend { backend: Some($write_filter(backend)), weight: *weight })
                        .collect(),
                }),
            };
            proto::$module::Distribution { kind: Some(kind) }
        }
    };
}

distribution!(http_distribution, http_distribution_to, http_route, http::Filter, http_filter, http_backend_to);
distribution!(grpc_distribution, grpc_distribution_to, grpc_route, grpc::Filter, grpc_filter, grpc_backend_to);
distribution!(opaque_distribution, opaque_distribution_to, opaque_route, Filter, opaque_filter, opaque_backend_to);
distribution!(tls_distribution, tls_distribution_to, tls_route, Filter, tls_filter, tls_backend_to);

fn http_backend_to(wire: &RouteBackend<http::Filter>) -> proto::http_route::RouteBackend {
    let filters = wire.filters.iter().filter_map(http_filter_to).collect();
    proto::http_route::RouteBackend { backend: Some(backend_to(&wire.backend)), filters, request_timeout: None }
}

fn grpc_backend_to(wire: &RouteBackend<grpc::Filter>) -> proto::grpc_route::RouteBackend {
    let filters = wire.filters.iter().filter_map(grpc_filter_to).collect();
    proto::grpc_route::RouteBackend { backend: Some(backend_to(&wire.backend)), filters, request_timeout: None }
}

fn opaque_backend_to(wire: &RouteBackend<Filter>) -> proto::opaque_route::RouteBackend {
    let filters = wire.filters.iter().map(opaque_filter_to).collect();
    proto::opaque_route::RouteBackend { backend: Some(backend_to(&wire.backend)), filters }
}

fn tls_backend_to(wire: &RouteBackend<Filter>) -> proto::tls_route::RouteBackend {
    let filters = wire.filters.iter().map(tls_filter_to).collect();
    proto::tls_route::RouteBackend { backend: Some(backend_to(&wire.backend)), filters }
}

fn http_filter(filter: proto::http_route::Filter) -> http::Filter {
    use proto::http_route::filter::Kind;
    let read = || {
        Ok(match filter.kind.ok_or_else(|| Invalid::missing("filter.kind"))? {
            Kind::FailureInjector(failure) => http::Filter::Fail(convert::http_failure(failure)?),
            Kind::RequestHeaderModifier(modifier) => http::Filter::RequestHeaders(convert::request_headers(modifier)?),
            Kind::ResponseHeaderModifier(modifier) => http::Filter::ResponseHeaders(convert::response_headers(modifier)?),
            Kind::Redirect(redirect) => http::Filter::Redirect(convert::redirect(redirect)?),
        })
    };
    read().unwrap_or_else(|invalid: Invalid| http::Filter::InternalError(convert::not_understood(&invalid)))
}

fn http_filter_to(filter: &http::Filter) -> Option<proto::http_route::Filter> {
    use proto::http_route::filter::Kind;
    let kind = match filter {
        http::Filter::Fail(failure) => Kind::FailureInjector(convert::http_failure_to(failure)),
        http::Filter::RequestHeaders(modifier) => Kind::RequestHeaderModifier(convert::request_headers_to(modifier)),
        http::Filter::ResponseHeaders(modifier) => Kind::ResponseHeaderModifier(convert::response_headers_to(modifier)),
        http::Filter::Redirect(redirect) => Kind::Redirect(convert::redirect_to(redirect)),
        http::Filter::InternalError(_) => return Some(proto::http_route::Filter { kind: None }),
        _ => return None,
    };
    Some(proto::http_route::Filter { kind: Some(kind) })
}

fn grpc_filter(filter: proto::grpc_route::Filter) -> grpc::Filter {
    use proto::grpc_route::filter::Kind;
    let read = || {
        Ok(match filter.kind.ok_or_else(|| Invalid::missing("filter.kind"))? {
            Kind::FailureInjector(failure) => grpc::Filter::Fail(convert::grpc_failure(failure)?),
            Kind::RequestHeaderModifier(modifier) => grpc::Filter::RequestHeaders(convert::request_headers(modifier)?),
        })
    };
    read().unwrap_or_else(|invalid: Invalid| grpc::Filter::InternalError(convert::not_understood(&invalid)))
}

fn grpc_filter_to(filter: &grpc::Filter) -> Option<proto::grpc_route::Filter> {
    use proto::grpc_route::filter::Kind;
    let kind = match filter {
        grpc::Filter::Fail(failure) => Kind::FailureInjector(convert::grpc_failure_to(failure)),
        grpc::Filter::RequestHeaders(modifier) => Kind::RequestHeaderModifier(convert::request_headers_to(modifier)),
        grpc::Filter::InternalError(_) => return Some(proto::grpc_route::Filter { kind: None }),
        _ => return None,
    };
    Some(proto::grpc_route::Filter { kind: Some(kind) })
}

fn opaque_filter(filter: proto::opaque_route::Filter) -> Filter {
    match filter.kind {
        Some(proto::opaque_route::filter::Kind::Forbidden(_)) => Filter::Forbidden,
        Some(proto::opaque_route::filter::Kind::Invalid(invalid)) => Filter::Invalid(invalid.message.into()),
        None => Filter::Invalid("a filter is not understood".into()),
    }
}

fn opaque_filter_to(filter: &Filter) -> proto::opaque_route::Filter {
    use linkerd2_proxy_api::opaque_route::{Forbidden, Invalid};
    let kind = match filter {
        Filter::Forbidden => proto::opaque_route::filter::Kind::Forbidden(Forbidden {}),
        Filter::Invalid(message) => proto::opaque_route::filter::Kind::Invalid(Invalid { message: message.to_string() }),
    };
    proto::opaque_route::Filter { kind: Some(kind) }
}

fn tls_filter(filter: proto::tls_route::Filter) -> Filter {
    match filter.kind {
        Some(proto::tls_route::filter::Kind::Forbidden(_)) => Filter::Forbidden,
        Some(proto::tls_route::filter::Kind::Invalid(invalid)) => Filter::Invalid(invalid.message.into()),
        None => Filter::Invalid("a filter is not understood".into()),
    }
}

fn tls_filter_to(filter: &Filter) -> proto::tls_route::Filter {
    use linkerd2_proxy_api::opaque_route::{Forbidden, Invalid};
    let kind = match filter {
        Filter::Forbidden => proto::tls_route::filter::Kind::Forbidden(Forbidden {}),
        Filter::Invalid(message) => proto::tls_route::filter::Kind::Invalid(Invalid { message: message.to_string() }),
    };
    proto::tls_route::Filter { kind: Some(kind) }
}

fn timeouts(timeouts: Option<http_route::Timeouts>, request: Option<prost_types::Duration>) -> Result<Timeouts, Invalid> {
    let timeouts = timeouts.unwrap_or_default();
    Ok(Timeouts {
        request: net::limit(timeouts.request.or(request), "timeouts.request")?,
        response: net::limit(timeouts.response, "timeouts.response")?,
        idle: net::limit(timeouts.idle, "timeouts.idle")?,
    })
}

fn timeouts_to(timeouts: &Timeouts) -> Option<http_route::Timeouts> {
    let set = *timeouts != Timeouts::default();
    set.then(|| http_route::Timeouts {
        response: timeouts.response.map(net::duration_to),
        request: timeouts.request.map(net::duration_to),
        idle: timeouts.idle.map(net::duration_to),
    })
}

fn overrides(allowed: bool) -> Overrides {
    if allowed { Overrides::Obeyed } else { Overrides::PassedOn }
}

fn http_retry(retry: proto::http_route::Retry) -> Result<Params, Invalid> {
    let status = |n: u32| u16::try_from(n).map_err(|_| Invalid::new("retry.conditions", format_args!("{n} is not an HTTP status")));
    let ranges = retry.conditions.unwrap_or_default().status_ranges;
    let ranges = ranges.into_iter().map(|r| Ok(status(r.start)?..=status(r.end)?)).collect::<Result<_, Invalid>>()?;
    Ok(Params {
        max_retries: retry.max_retries,
        max_request_bytes: usize::try_from(retry.max_request_bytes).unwrap_or(usize::MAX),
        conditions: Conditions { statuses: StatusRanges::new(ranges), codes: CodeSet::EMPTY },
        per_try_timeout: net::limit(retry.timeout, "retry.timeout")?,
        backoff: backoff(retry.backoff)?,
    })
}

fn http_retry_to(params: &Params) -> proto::http_route::Retry {
    use proto::http_route::retry::{Conditions, conditions::StatusRange};
    let ranges = params.conditions.statuses.ranges().iter();
    let status_ranges = ranges.map(|r| StatusRange { start: (*r.start()).into(), end: (*r.end()).into() }).collect();
    proto::http_route::Retry {
        max_retries: params.max_retries,
        max_request_bytes: u32::try_from(params.max_request_bytes).unwrap_or(u32::MAX),
        conditions: Some(Conditions { status_ranges }),
        timeout: params.per_try_timeout.map(net::duration_to),
        backoff: params.backoff.as_ref().map(backoff_to),
    }
}

fn grpc_retry(retry: proto::grpc_route::Retry) -> Result<Params, Invalid> {
    let c = retry.conditions.unwrap_or_default();
    let codes = [
        (c.cancelled, Code::CANCELLED),
        (c.deadine_exceeded, Code::DEADLINE_EXCEEDED),
        (c.resource_exhausted, Code::RESOURCE_EXHAUSTED),
        (c.internal, Code::INTERNAL),
        (c.unavailable, Code::UNAVAILABLE),
    ];
    let codes = CodeSet::new(codes.into_iter().filter(|(set, _)| *set).map(|(_, code)| code));
    Ok(Params {
        max_retries: retry.max_retries,
        max_request_bytes: usize::try_from(retry.max_request_bytes).unwrap_or(usize::MAX),
        conditions: Conditions { statuses: StatusRanges::EMPTY, codes },
        per_try_timeout: net::limit(retry.timeout, "retry.timeout")?,
        backoff: backoff(retry.backoff)?,
    })
}

fn grpc_retry_to(params: &Params) -> proto::grpc_route::Retry {
    let set = |code| params.conditions.codes.contains(code);
    proto::grpc_route::Retry {
        max_retries: params.max_retries,
        max_request_bytes: u32::try_from(params.max_request_bytes).unwrap_or(u32::MAX),
        conditions: Some(proto::grpc_route::retry::Conditions {
            cancelled: set(Code::CANCELLED),
            deadine_exceeded: set(Code::DEADLINE_EXCEEDED),
            resource_exhausted: set(Code::RESOURCE_EXHAUSTED),
            internal: set(Code::INTERNAL),
            unavailable: set(Code::UNAVAILABLE),
        }),
        timeout: params.per_try_timeout.map(net::duration_to),
        backoff: params.backoff.as_ref().map(backoff_to),
    }
}

pub(super) fn http_routes(routes: Vec<proto::HttpRoute>, accrual: Option<Accrual>) -> Result<Arc<[HttpRoute]>, Invalid> {
    let rule = |rule: proto::http_route::Rule| {
        Ok(route::Rule {
            matches: rule.matches.into_iter().map(convert::http_match).collect::<Result<_, _>>()?,
            policy: Rule {
                filters: rule.filters.into_iter().map(http_filter).collect(),
                distribution: http_distribution(rule.backends, accrual)?,
                timeouts: timeouts(rule.timeouts, rule.request_timeout)?,
                retry: rule.retry.map(http_retry).transpose()?,
                overrides: overrides(rule.allow_l5d_request_headers),
            },
        })
    };
    let one = |wire: proto::HttpRoute| {
        let rules = wire.rules.into_iter().map(rule).collect::<Result<_, Invalid>>()?;
        Ok(Route { meta: meta(wire.metadata)?, hosts: convert::hosts(wire.hosts)?, rules })
    };
    routes.into_iter().map(one).collect::<Result<_, Invalid>>().map_err(|e| e.within("routes"))
}

pub(super) fn http_route_to(route: &HttpRoute) -> proto::HttpRoute {
    let rule = |rule: &route::Rule<http::Match, Rule<http::Filter>>| proto::http_route::Rule {
        matches: rule.matches.iter().map(convert::http_match_to).collect(),
        filters: rule.policy.filters.iter().filter_map(http_filter_to).collect(),
        backends: Some(http_distribution_to(&rule.policy.distribution)),
        request_timeout: rule.policy.timeouts.request.map(net::duration_to),
        timeouts: timeouts_to(&rule.policy.timeouts),
        retry: rule.policy.retry.as_ref().map(http_retry_to),
        allow_l5d_request_headers: rule.policy.overrides == Overrides::Obeyed,
    };
    proto::HttpRoute {
        metadata: Some(meta_to(&route.meta)),
        hosts: convert::hosts_to(&route.hosts),
        rules: route.rules.iter().map(rule).collect(),
    }
}

pub(super) fn grpc_routes(routes: Vec<proto::GrpcRoute>, accrual: Option<Accrual>) -> Result<Arc<[GrpcRoute]>, Invalid> {
    let rule = |rule: proto::grpc_route::Rule| {
        Ok(route::Rule {
            matches: rule.matches.into_iter().map(convert::grpc_match).collect::<Result<_, _>>()?,
            policy: Rule {
                filters: rule.filters.into_iter().map(grpc_filter).collect(),
                distribution: grpc_distribution(rule.backends, accrual)?,
                timeouts: timeouts(rule.timeouts, rule.request_timeout)?,
                retry: rule.retry.map(grpc_retry).transpose()?,
                overrides: overrides(rule.allow_l5d_request_headers),
            },
        })
    };
    let one = |wire: proto::GrpcRoute| {
        let rules = wire.rules.into_iter().map(rule).collect::<Result<_, Invalid>>()?;
        Ok(Route { meta: meta(wire.metadata)?, hosts: convert::hosts(wire.hosts)?, rules })
    };
    routes.into_iter().map(one).collect::<Result<_, Invalid>>().map_err(|e| e.within("routes"))
}

pub(super) fn grpc_route_to(route: &GrpcRoute) -> proto::GrpcRoute {
    let rule = |rule: &route::Rule<grpc::Match, Rule<grpc::Filter>>| proto::grpc_route::Rule {
        matches: rule.matches.iter().map(convert::grpc_match_to).collect(),
        filters: rule.policy.filters.iter().filter_map(grpc_filter_to).collect(),
        backends: Some(grpc_distribution_to(&rule.policy.distribution)),
        request_timeout: rule.policy.timeouts.request.map(net::duration_to),
        timeouts: timeouts_to(&rule.policy.timeouts),
        retry: rule.policy.retry.as_ref().map(grpc_retry_to),
        allow_l5d_request_headers: rule.policy.overrides == Overrides::Obeyed,
    };
    proto::GrpcRoute {
        metadata: Some(meta_to(&route.meta)),
        hosts: convert::hosts_to(&route.hosts),
        rules: route.rules.iter().map(rule).collect(),
    }
}

/// At most one route with exactly one rule can be followed.
pub(super) fn opaque_route(routes: Vec<proto::OpaqueRoute>) -> Result<Option<OpaqueRoute<OpaqueRule>>, Invalid> {
    let mut routes = routes.into_iter();
    let Some(route) = routes.next() else { return Ok(None) };
    let mut rules = route.rules.into_iter();
    match (rules.next(), rules.next(), routes.next()) {
        (Some(rule), None, None) => {
            let policy = OpaqueRule {
                filters: rule.filters.into_iter().map(opaque_filter).collect(),
                distribution: opaque_distribution(rule.backends, None)?,
            };
            Ok(Some(OpaqueRoute { meta: meta(route.metadata)?, policy }))
        }
        _ => Err(Invalid::new("opaque.routes", "there must be one route with one rule")),
    }
}

pub(super) fn opaque_route_to(route: &OpaqueRoute<OpaqueRule>) -> proto::OpaqueRoute {
    let rule = proto::opaque_route::Rule {
        backends: Some(opaque_distribution_to(&route.policy.distribution)),
        filters: route.policy.filters.iter().map(opaque_filter_to).collect(),
    };
    proto::OpaqueRoute { metadata: Some(meta_to(&route.meta)), rules: vec![rule] }
}

pub(super) fn tls_routes(routes: Vec<proto::TlsRoute>) -> Result<Arc<[tls::Route<OpaqueRule>]>, Invalid> {
    use linkerd2_proxy_api::tls_route::{SniMatch as Wire, sni_match};
    let name = |name: Wire| match name.r#match.ok_or_else(|| Invalid::missing("snis.match"))? {
        sni_match::Match::Exact(name) => Ok(SniMatch::Exact(name)),
        sni_match::Match::Suffix(suffix) => Ok(SniMatch::Suffix(suffix.reverse_labels.into_iter().rev().collect::<Vec<_>>().join("."))),
    };
    let one = |route: proto::TlsRoute| {
        let mut rules = route.rules.into_iter();
        let (Some(rule), None) = (rules.next(), rules.next()) else {
            return Err(Invalid::new("rules", "there must be one rule"));
        };
        Ok(tls::Route {
            meta: meta(route.metadata)?,
            names: route.snis.into_iter().map(name).collect::<Result<_, Invalid>>()?,
            policy: OpaqueRule {
                filters: rule.filters.into_iter().map(tls_filter).collect(),
                distribution: tls_distribution(rule.backends, None)?,
            },
        })
    };
    routes.into_iter().map(one).collect::<Result<_, Invalid>>().map_err(|e| e.within("tls.routes"))
}

pub(super) fn tls_route_to(route: &tls::Route<OpaqueRule>) -> proto::TlsRoute {
    use linkerd2_proxy_api::tls_route::{SniMatch as Wire, sni_match};
    let name = |name: &SniMatch| match name {
        SniMatch::Exact(name) => sni_match::Match::Exact(name.clone()),
        SniMatch::Suffix(suffix) => {
            sni_match::Match::Suffix(sni_match::Suffix { reverse_labels: suffix.split('.').rev().map(str::to_owned).collect() })
        }
    };
    let rule = proto::tls_route::Rule {
        backends: Some(tls_distribution_to(&route.policy.distribution)),
        filters: route.policy.filters.iter().map(tls_filter_to).collect(),
    };
    proto::TlsRoute {
        metadata: Some(meta_to(&route.meta)),
        snis: route.names.iter().map(|n| Wire { r#match: Some(name(n)) }).collect(),
        rules: vec![rule],
    }
}
