use linkerd2_proxy_api::outbound as proto;
use proto::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};

use super::{Accrual, Policy, Protocol, backend, routes};
use crate::{
    Invalid,
    meta::{meta, meta_to},
    net,
};

/// Reads a policy.
///
/// # Errors
/// A field is malformed. A filter that cannot be understood is none: it becomes a filter that fails every request.
pub fn policy(policy: proto::OutboundPolicy) -> Result<Policy, Invalid> {
    let kind = policy.protocol.and_then(|p| p.kind).ok_or_else(|| Invalid::missing("protocol.kind"))?;
    let protocol = match kind {
        Kind::Detect(detect) => {
            let http1 = detect.http1.ok_or_else(|| Invalid::missing("detect.http1"))?;
            let http2 = detect.http2.ok_or_else(|| Invalid::missing("detect.http2"))?;
            let opaque = detect.opaque.ok_or_else(|| Invalid::missing("detect.opaque"))?;
            Protocol::Detect {
                timeout: net::duration(detect.timeout, "detect.timeout")?.unwrap_or(std::time::Duration::from_secs(10)),
                http1: routes::http_routes(http1.routes, backend::accrual(http1.failure_accrual)?)?,
                http2: routes::http_routes(http2.routes, backend::accrual(http2.failure_accrual)?)?,
                opaque: routes::opaque_route(opaque.routes)?,
            }
        }
        Kind::Http1(http) => Protocol::Http1(routes::http_routes(http.routes, backend::accrual(http.failure_accrual)?)?),
        Kind::Http2(http) => Protocol::Http2(routes::http_routes(http.routes, backend::accrual(http.failure_accrual)?)?),
        Kind::Grpc(grpc) => Protocol::Grpc(routes::grpc_routes(grpc.routes, backend::accrual(grpc.failure_accrual)?)?),
        Kind::Tls(tls) => Protocol::Tls(routes::tls_routes(tls.routes)?),
        Kind::Opaque(opaque) => Protocol::Opaque(routes::opaque_route(opaque.routes)?),
    };
    Ok(Policy { parent: meta(policy.metadata)?, protocol })
}

/// Writes a policy.
#[must_use]
pub fn policy_to(policy: &Policy) -> proto::OutboundPolicy {
    let http = |all: &[routes::HttpRoute]| all.iter().map(routes::http_route_to).collect::<Vec<_>>();
    let opaque = |route: &Option<meshkit_policy::outbound::OpaqueRoute<super::OpaqueRule>>| Opaque {
        routes: route.iter().map(routes::opaque_route_to).collect(),
    };
    let kind = match &policy.protocol {
        Protocol::Detect { timeout, http1, http2, opaque: other } => Kind::Detect(Detect {
            timeout: Some(net::duration_to(*timeout)),
            opaque: Some(opaque(other)),
            http1: Some(Http1 { routes: http(http1), failure_accrual: backend::accrual_to(accrual(http1)) }),
            http2: Some(Http2 { routes: http(http2), failure_accrual: backend::accrual_to(accrual(http2)) }),
        }),
        Protocol::Http1(all) => Kind::Http1(Http1 { routes: http(all), failure_accrual: backend::accrual_to(accrual(all)) }),
        Protocol::Http2(all) => Kind::Http2(Http2 { routes: http(all), failure_accrual: backend::accrual_to(accrual(all)) }),
        Protocol::Grpc(all) => {
            Kind::Grpc(Grpc { routes: all.iter().map(routes::grpc_route_to).collect(), failure_accrual: backend::accrual_to(accrual(all)) })
        }
        Protocol::Tls(all) => Kind::Tls(Tls { routes: all.iter().map(routes::tls_route_to).collect() }),
        Protocol::Opaque(route) => Kind::Opaque(opaque(route)),
    };
    proto::OutboundPolicy { protocol: Some(proto::ProxyProtocol { kind: Some(kind) }), metadata: Some(meta_to(&policy.parent)) }
}

/// The API says it once for a protocol; all its backends have the same.
fn accrual<M, F>(all: &[meshkit_policy::route::Route<M, super::Rule<F>>]) -> Option<&Accrual> {
    let rules = all.iter().flat_map(|route| &route.rules);
    rules.flat_map(|rule| rule.policy.distribution.backends()).find_map(|(b, _)| b.backend.accrual.as_ref())
}
