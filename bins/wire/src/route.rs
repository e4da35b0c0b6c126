//! What inbound and outbound routes have in common: hosts, matches, filters.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, uri::Scheme};
use linkerd2_proxy_api::{grpc_route, http_route, http_types};
use meshkit_core::{Ratio, grpc::Code};
use meshkit_policy::{
    grpc,
    http::{self as policy, FailureInjector, HeaderModifier, PathModifier, Redirect},
    route::{HeaderMatch, HostMatch, PathMatch, QueryMatch, Regex, ValueMatch},
};

use crate::Invalid;

pub(crate) fn hosts(hosts: Vec<http_route::HostMatch>) -> Result<Vec<HostMatch>, Invalid> {
    let host = |host: http_route::HostMatch| match host.r#match.ok_or_else(|| Invalid::missing("hosts.match"))? {
        http_route::host_match::Match::Exact(name) => Ok(HostMatch::Exact(name)),
        http_route::host_match::Match::Suffix(suffix) => {
            Ok(HostMatch::Suffix(suffix.reverse_labels.into_iter().rev().collect::<Vec<_>>().join(".")))
        }
    };
    hosts.into_iter().map(host).collect()
}

pub(crate) fn hosts_to(hosts: &[HostMatch]) -> Vec<http_route::HostMatch> {
    let host = |host: &HostMatch| match host {
        HostMatch::Exact(name) => http_route::host_match::Match::Exact(name.clone()),
        HostMatch::Suffix(suffix) => http_route::host_match::Match::Suffix(http_route::host_match::Suffix {
            reverse_labels: suffix.split('.').rev().map(str::to_owned).collect(),
        }),
    };
    hosts.iter().map(|h| http_route::HostMatch { r#match: Some(host(h)) }).collect()
}

fn regex(pattern: &str, field: &str) -> Result<Regex, Invalid> {
    Regex::new(pattern).map_err(|e| Invalid::new(field, e))
}

pub(crate) fn http_match(matches: http_route::HttpRouteMatch) -> Result<policy::Match, Invalid> {
    use http_route::path_match::Kind;
    let path = |path: http_route::PathMatch| match path.kind.ok_or_else(|| Invalid::missing("path.kind"))? {
        Kind::Exact(path) => Ok(PathMatch::Exact(path)),
        Kind::Prefix(path) => Ok(PathMatch::Prefix(path)),
        Kind::Regex(pattern) => regex(&pattern, "path.regex").map(PathMatch::Regex),
    };
    let query = |query: http_route::QueryParamMatch| {
        let value = match query.value.ok_or_else(|| Invalid::missing("query_params.value"))? {
            http_route::query_param_match::Value::Exact(value) => ValueMatch::Exact(value.into()),
            http_route::query_param_match::Value::Regex(pattern) => ValueMatch::Regex(regex(&pattern, "query_params.regex")?),
        };
        Ok(QueryMatch { name: query.name, value })
    };
    Ok(policy::Match {
        path: matches.path.map(path).transpose()?,
        headers: headers(matches.headers)?,
        query: matches.query_params.into_iter().map(query).collect::<Result<_, Invalid>>()?,
        method: matches.method.map(|m| m.try_into().map_err(|e| Invalid::new("method", e))).transpose()?,
    })
}

pub(crate) fn http_match_to(matches: &policy::Match) -> http_route::HttpRouteMatch {
    use http_route::path_match::Kind;
    let path = |path: &PathMatch| match path {
        PathMatch::Exact(path) => Kind::Exact(path.clone()),
        PathMatch::Prefix(path) => Kind::Prefix(path.clone()),
        PathMatch::Regex(regex) => Kind::Regex(regex.as_str().to_owned()),
    };
    let query = |query: &QueryMatch| http_route::QueryParamMatch {
        name: query.name.clone(),
        value: Some(match &query.value {
            ValueMatch::Exact(value) => http_route::query_param_match::Value::Exact(String::from_utf8_lossy(value).into_owned()),
            ValueMatch::Regex(regex) => http_route::query_param_match::Value::Regex(regex.as_str().to_owned()),
        }),
    };
    http_route::HttpRouteMatch {
        path: matches.path.as_ref().map(|p| http_route::PathMatch { kind: Some(path(p)) }),
        headers: headers_to(&matches.headers),
        query_params: matches.query.iter().map(query).collect(),
        method: matches.method.clone().map(Into::into),
    }
}

pub(crate) fn grpc_match(matches: grpc_route::GrpcRouteMatch) -> Result<grpc::Match, Invalid> {
    let rpc = matches.rpc.unwrap_or_default();
    let part = |part: String| (!part.is_empty()).then_some(part);
    Ok(grpc::Match { service: part(rpc.service), method: part(rpc.method), headers: headers(matches.headers)? })
}

pub(crate) fn grpc_match_to(matches: &grpc::Match) -> grpc_route::GrpcRouteMatch {
    let rpc = grpc_route::GrpcRpcMatch {
        service: matches.service.clone().unwrap_or_default(),
        method: matches.method.clone().unwrap_or_default(),
    };
    grpc_route::GrpcRouteMatch { rpc: Some(rpc), headers: headers_to(&matches.headers) }
}

fn headers(headers: Vec<http_route::HeaderMatch>) -> Result<Vec<HeaderMatch>, Invalid> {
    let header = |header: http_route::HeaderMatch| {
        let value = match header.value.ok_or_else(|| Invalid::missing("headers.value"))? {
            http_route::header_match::Value::Exact(value) => ValueMatch::Exact(value),
            http_route::header_match::Value::Regex(pattern) => ValueMatch::Regex(regex(&pattern, "headers.regex")?),
        };
        Ok(HeaderMatch { name: header_name(&header.name)?, value })
    };
    headers.into_iter().map(header).collect()
}

fn headers_to(headers: &[HeaderMatch]) -> Vec<http_route::HeaderMatch> {
    let header = |header: &HeaderMatch| http_route::HeaderMatch {
        name: header.name.to_string(),
        value: Some(match &header.value {
            ValueMatch::Exact(value) => http_route::header_match::Value::Exact(value.clone()),
            ValueMatch::Regex(regex) => http_route::header_match::Value::Regex(regex.as_str().to_owned()),
        }),
    };
    headers.iter().map(header).collect()
}

fn header_name(name: &str) -> Result<HeaderName, Invalid> {
    name.parse().map_err(|_| Invalid::new("headers.name", format_args!("{name:?} is not a header name")))
}

fn header_values(headers: Option<http_types::Headers>) -> Result<Vec<(HeaderName, HeaderValue)>, Invalid> {
    let header = |header: http_types::headers::Header| {
        let value = HeaderValue::from_bytes(&header.value);
        Ok((header_name(&header.name)?, value.map_err(|_| Invalid::new("headers.value", "is not a header value"))?))
    };
    headers.unwrap_or_default().headers.into_iter().map(header).collect()
}

fn header_values_to(headers: &[(HeaderName, HeaderValue)]) -> Option<http_types::Headers> {
    let header = |(name, value): &(HeaderName, HeaderValue)| http_types::headers::Header {
        name: name.to_string(),
        value: value.as_bytes().to_vec(),
    };
    (!headers.is_empty()).then(|| http_types::Headers { headers: headers.iter().map(header).collect() })
}

pub(crate) fn request_headers(modifier: http_route::RequestHeaderModifier) -> Result<HeaderModifier, Invalid> {
    let remove = modifier.remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?;
    Ok(HeaderModifier { add: header_values(modifier.add)?, set: header_values(modifier.set)?, remove })
}

pub(crate) fn request_headers_to(modifier: &HeaderModifier) -> http_route::RequestHeaderModifier {
    http_route::RequestHeaderModifier {
        add: header_values_to(&modifier.add),
        set: header_values_to(&modifier.set),
        remove: modifier.remove.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn response_headers(modifier: http_route::ResponseHeaderModifier) -> Result<HeaderModifier, Invalid> {
    let http_route::ResponseHeaderModifier { add, set, remove } = modifier;
    request_headers(http_route::RequestHeaderModifier { add, set, remove })
}

pub(crate) fn response_headers_to(modifier: &HeaderModifier) -> http_route::ResponseHeaderModifier {
    let http_route::RequestHeaderModifier { add, set, remove } = request_headers_to(modifier);
    http_route::ResponseHeaderModifier { add, set, remove }
}

pub(crate) fn redirect(redirect: http_route::RequestRedirect) -> Result<Redirect, Invalid> {
    let scheme = redirect.scheme.map(|s| Scheme::try_from(s).map_err(|e| Invalid::new("redirect.scheme", e))).transpose()?;
    let port = u16::try_from(redirect.port).map_err(|_| Invalid::new("redirect.port", format_args!("{} is not a port", redirect.port)))?;
    Ok(Redirect {
        scheme,
        host: Some(redirect.host).filter(|host| !host.is_empty()),
        port: (port != 0).then_some(port),
        path: redirect.path.and_then(|p| p.replace).map(|replace| match replace {
            http_route::path_modifier::Replace::Full(path) => PathModifier::Full(path),
            http_route::path_modifier::Replace::Prefix(prefix) => PathModifier::Prefix(prefix),
        }),
        status: (redirect.status != 0).then(|| status(redirect.status, "redirect.status")).transpose()?,
    })
}

pub(crate) fn redirect_to(redirect: &Redirect) -> http_route::RequestRedirect {
    let replace = |path: &PathModifier| match path {
        PathModifier::Full(path) => http_route::path_modifier::Replace::Full(path.clone()),
        PathModifier::Prefix(prefix) => http_route::path_modifier::Replace::Prefix(prefix.clone()),
    };
    http_route::RequestRedirect {
        scheme: redirect.scheme.as_ref().map(Into::into),
        host: redirect.host.clone().unwrap_or_default(),
        path: redirect.path.as_ref().map(|p| http_route::PathModifier { replace: Some(replace(p)) }),
        port: redirect.port.unwrap_or_default().into(),
        status: redirect.status.map_or(0, |s| s.as_u16().into()),
    }
}

fn status(status: u32, field: &str) -> Result<StatusCode, Invalid> {
    let code = u16::try_from(status).ok().and_then(|s| StatusCode::from_u16(s).ok());
    code.ok_or_else(|| Invalid::new(field, format_args!("{status} is not an HTTP status")))
}

fn share(ratio: Option<http_route::Ratio>) -> Result<Ratio, Invalid> {
    match ratio {
        None => Ok(Ratio::ONE),
        Some(r) => Ratio::of(r.numerator, r.denominator)
            .ok_or_else(|| Invalid::new("ratio", format_args!("{}/{} is not a share of the whole", r.numerator, r.denominator))),
    }
}

/// The API tells a share as a fraction: millionths are as fine as anyone writes them.
fn share_to(share: Ratio) -> Option<http_route::Ratio> {
    const WHOLE: u32 = 1_000_000;
    (share != Ratio::ONE).then(|| http_route::Ratio { numerator: (share.get() * f64::from(WHOLE)).round() as u32, denominator: WHOLE })
}

pub(crate) fn http_failure(failure: http_route::HttpFailureInjector) -> Result<FailureInjector<StatusCode>, Invalid> {
    Ok(FailureInjector {
        response: status(failure.status, "failure_injector.status")?,
        message: failure.message.into(),
        share: share(failure.ratio)?,
    })
}

pub(crate) fn http_failure_to(failure: &FailureInjector<StatusCode>) -> http_route::HttpFailureInjector {
    http_route::HttpFailureInjector {
        status: failure.response.as_u16().into(),
        message: failure.message.to_string(),
        ratio: share_to(failure.share),
    }
}

/// A control plane may send a code that gRPC does not know (500): that is an unknown error.
pub(crate) fn grpc_failure(failure: grpc_route::GrpcFailureInjector) -> Result<FailureInjector<Code>, Invalid> {
    let code = u8::try_from(failure.code).ok().and_then(Code::new).unwrap_or(Code::UNKNOWN);
    Ok(FailureInjector { response: code, message: failure.message.into(), share: share(failure.ratio)? })
}

pub(crate) fn grpc_failure_to(failure: &FailureInjector<Code>) -> grpc_route::GrpcFailureInjector {
    grpc_route::GrpcFailureInjector {
        code: failure.response.get().into(),
        message: failure.message.to_string(),
        ratio: share_to(failure.share),
    }
}

/// What a filter becomes that cannot be understood: every request that meets it fails, and says why.
pub(crate) fn not_understood(invalid: &Invalid) -> Arc<str> {
    format!("invalid policy: {invalid}").into()
}
