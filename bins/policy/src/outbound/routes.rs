//! The routes of a Service.

use std::{sync::Arc, time::Duration};

use meshkit_core::{Backoff, grpc::Code};
use meshkit_manifest::{
    Cluster, Object, annotations,
    meta::Metadata,
    route::{BackendRef, HTTPRoute, ParentRef},
};
use meshkit_policy::{
    Meta, Resource, grpc, http,
    http::FailureInjector,
    route::{Route, Rule as RouteRule},
};
use meshkit_retry::{CodeSet, Conditions, Params, StatusRanges, Timeouts};
use meshkit_wire::outbound::{Backend, Dispatch, Distribution, Overrides, RouteBackend, Rule};

use super::{
    Parent,
    convert::{self, Unsupported},
    first,
};
use crate::inbound::Workload;

/// HTTP routes, the oldest first.
pub(super) fn http(cluster: &Cluster, source: &Workload, parent: &Parent<'_>) -> Vec<Route<http::Match, Rule<http::Filter>>> {
    let of = |object: &Object| {
        let (group, route) = match object {
            Object::HTTPRoute(route) => ("gateway.networking.k8s.io", route),
            Object::PolicyHTTPRoute(route) => ("policy.linkerd.io", route),
            _ => return None,
        };
        applies(&route.metadata, &route.spec.parent_refs, source, &parent.service.metadata, parent.port)
            .then(|| (age(&route.metadata), group, Arc::clone(route)))
    };
    let mut all: Vec<_> = cluster.objects().filter_map(of).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.iter().filter_map(|(_, group, route)| http_route(cluster, parent, group, route).ok()).collect()
}

fn http_route(
    cluster: &Cluster,
    parent: &Parent<'_>,
    group: &str,
    route: &HTTPRoute,
) -> Result<Route<http::Match, Rule<http::Filter>>, Unsupported> {
    let notes = &route.metadata.annotations;
    let (timeouts, retry) = (timeouts(parent, notes), http_retry(parent, notes));
    let invalid = |message: String| {
        let failure = FailureInjector {
            response: ::http::StatusCode::INTERNAL_SERVER_ERROR,
            message: message.into(),
            share: meshkit_core::Ratio::ONE,
        };
        http::Filter::Fail(failure)
    };
    let rule = |rule: &meshkit_manifest::route::HttpRule| {
        let mut timeouts = timeouts;
        if timeouts.request.is_none() {
            let request = rule.timeouts.as_ref().and_then(|t| t.request.as_ref()?.to_std());
            timeouts.request = request.filter(|d| !d.is_zero());
        }
        let backend = |reference: &BackendRef| {
            let (backend, fault) = backend(cluster, parent, reference);
            let own = reference.filters.iter().map(convert::http_filter).collect::<Result<Vec<_>, _>>();
            let filters = match own {
                Ok(own) => own.into_iter().chain(fault.map(invalid)).collect(),
                Err(Unsupported) => [invalid("unsupported backend filter".to_owned())].into(),
            };
            (RouteBackend { backend, filters }, reference.weight.unwrap_or(1))
        };
        Ok(RouteRule {
            matches: rule.matches.iter().map(convert::http_match).collect::<Result<_, _>>()?,
            policy: Rule {
                filters: rule.filters.iter().map(convert::http_filter).collect::<Result<_, _>>()?,
                distribution: match rule.backend_refs.as_slice() {
                    [] => first(parent.own()),
                    references => Distribution::Random(references.iter().map(backend).collect()),
                },
                timeouts,
                retry: retry.clone(),
                overrides: Overrides::PassedOn,
            },
        })
    };
    Ok(Route {
        meta: meta(group, "HTTPRoute", &route.metadata),
        hosts: convert::hosts(&route.spec.hostnames),
        rules: route.spec.rules.iter().map(rule).collect::<Result<_, _>>()?,
    })
}

/// gRPC routes, the oldest first.
pub(super) fn grpc(cluster: &Cluster, source: &Workload, parent: &Parent<'_>) -> Vec<Route<grpc::Match, Rule<grpc::Filter>>> {
    let of = |object: &Object| match object {
        Object::GRPCRoute(route) if applies(&route.metadata, &route.spec.parent_refs, source, &parent.service.metadata, parent.port) => {
            Some((age(&route.metadata), Arc::clone(route)))
        }
        _ => None,
    };
    let mut all: Vec<_> = cluster.objects().filter_map(of).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.iter().filter_map(|(_, route)| grpc_route(cluster, parent, route).ok()).collect()
}

fn grpc_route(
    cluster: &Cluster,
    parent: &Parent<'_>,
    route: &meshkit_manifest::route::GRPCRoute,
) -> Result<Route<grpc::Match, Rule<grpc::Filter>>, Unsupported> {
    let notes = &route.metadata.annotations;
    let (timeouts, retry) = (timeouts(parent, notes), grpc_retry(parent, notes));
    let invalid = |message: String| {
        // Upstream sends the code 500, which gRPC does not know and proxies take for an unknown error.
        let failure = FailureInjector { response: Code::UNKNOWN, message: message.into(), share: meshkit_core::Ratio::ONE };
        grpc::Filter::Fail(failure)
    };
    let rule = |rule: &meshkit_manifest::route::GrpcRule| {
        let backend = |reference: &BackendRef| {
            let (backend, fault) = backend(cluster, parent, reference);
            let own = reference.filters.iter().map(convert::grpc_filter).collect::<Result<Vec<_>, _>>();
            let filters = match own {
                Ok(own) => own.into_iter().chain(fault.map(invalid)).collect(),
                Err(Unsupported) => [invalid("unsupported backend filter".to_owned())].into(),
            };
            (RouteBackend { backend, filters }, reference.weight.unwrap_or(1))
        };
        Ok(RouteRule {
            matches: rule.matches.iter().map(convert::grpc_match).collect::<Result<_, _>>()?,
            policy: Rule {
                filters: rule.filters.iter().map(convert::grpc_filter).collect::<Result<_, _>>()?,
                distribution: match rule.backend_refs.as_slice() {
                    [] => first(parent.own()),
                    references => Distribution::Random(references.iter().map(backend).collect()),
                },
                timeouts,
                retry: retry.clone(),
                overrides: Overrides::PassedOn,
            },
        })
    };
    Ok(Route {
        meta: meta("gateway.networking.k8s.io", "GRPCRoute", &route.metadata),
        hosts: convert::hosts(&route.spec.hostnames),
        rules: route.spec.rules.iter().map(rule).collect::<Result<_, _>>()?,
    })
}

/// A route of the Service's namespace is for everybody; one of another namespace is for the clients of its own.
pub(crate) fn applies(metadata: &Metadata, parents: &[ParentRef], source: &Workload, service: &Metadata, port: u16) -> bool {
    let visible = metadata.namespace == service.namespace || metadata.namespace == source.ns;
    let names = |r: &ParentRef| {
        r.is("core", "Service")
            && r.name == service.name
            && *r.namespace.as_ref().unwrap_or(&metadata.namespace) == service.namespace
            && r.port.is_none_or(|named| named == port)
    };
    visible && parents.iter().any(names)
}

fn age(metadata: &Metadata) -> (bool, Option<String>, String) {
    (metadata.creation_timestamp.is_none(), metadata.creation_timestamp.clone(), metadata.name.clone())
}

fn meta(group: &str, kind: &str, metadata: &Metadata) -> Meta {
    Meta::Resource(Arc::new(Resource {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        ..Resource::default()
    }))
}

/// A backend that cannot be served keeps its share of the traffic, and fails it: the reason is the second part.
fn backend(cluster: &Cluster, parent: &Parent<'_>, reference: &BackendRef) -> (Arc<Backend>, Option<String>) {
    let failing = |meta, why: String| (Arc::new(Backend { meta, dispatch: Dispatch::Fail, accrual: None }), Some(why));
    if !reference.is("core", "Service") {
        let (group, kind) = (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or_default());
        return failing(Meta::builtin("invalid"), format!("unsupported backend type {group} {kind}"));
    }
    let namespace = reference.namespace.as_ref().unwrap_or(&parent.service.metadata.namespace);
    let Some(port) = reference.port else {
        return failing(Meta::builtin("invalid"), format!("missing port for backend Service {}", reference.name));
    };
    match cluster.service(namespace, &reference.name) {
        Some(_) => (parent.backend(namespace, &reference.name, port), None),
        None => failing(super::service_meta(namespace, &reference.name, port), format!("Service not found {}", reference.name)),
    }
}

type Notes = std::collections::BTreeMap<String, String>;

/// A route's timeouts replace the Service's if it sets any.
fn timeouts(parent: &Parent<'_>, notes: &Notes) -> Timeouts {
    let own = annotations::timeouts(notes).map(|t| Timeouts { request: t.request, response: t.response, idle: t.idle }).unwrap_or_default();
    if own == Timeouts::default() { parent.timeouts } else { own }
}

fn params(conditions: Conditions, limit: u16, timeout: Option<Duration>) -> Params {
    let backoff = Backoff::new(Duration::from_millis(25), Duration::from_millis(250), 1.0).ok();
    Params { max_retries: limit.into(), conditions, per_try_timeout: timeout, backoff, ..Params::DEFAULT }
}

fn http_retry(parent: &Parent<'_>, notes: &Notes) -> Option<Params> {
    let of = |notes| annotations::http_retry(notes).ok().flatten();
    let retry = of(notes).or_else(|| of(&parent.service.metadata.annotations))?;
    let conditions = Conditions { statuses: StatusRanges::new(retry.conditions), codes: CodeSet::EMPTY };
    Some(params(conditions, retry.limit, retry.timeout))
}

fn grpc_retry(parent: &Parent<'_>, notes: &Notes) -> Option<Params> {
    let of = |notes| annotations::grpc_retry(notes).ok().flatten();
    let retry = of(notes).or_else(|| of(&parent.service.metadata.annotations))?;
    let conditions = Conditions { statuses: StatusRanges::EMPTY, codes: CodeSet::new(retry.conditions) };
    Some(params(conditions, retry.limit, retry.timeout))
}
