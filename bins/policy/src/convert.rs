//! Gateway API matches and filters, in the words of the policy crate.
//!
//! Source of the semantics: `policy-controller/k8s/index/src/routes` of Linkerd 2.x.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use meshkit_manifest::route as api;
use meshkit_policy::{
    grpc, http as policy,
    route::{HeaderMatch, HostMatch, PathMatch, QueryMatch, Regex, ValueMatch},
};

/// What a route wants, and the mesh does not have: it makes the whole route unusable, as upstream does. On a backend, only that backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported(pub(crate) String);

impl Unsupported {
    fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

type Converted<T> = Result<T, Unsupported>;

pub(crate) fn hosts(hostnames: &[String]) -> Converted<Vec<HostMatch>> {
    let host = |name: &String| match name.strip_prefix("*.") {
        _ if name.parse::<IpAddr>().is_ok() => Err(Unsupported(format!("host {name}: it is an address"))),
        Some(suffix) => Ok(HostMatch::Suffix(suffix.to_owned())),
        None => Ok(HostMatch::Exact(name.clone())),
    };
    hostnames.iter().map(host).collect()
}

pub(crate) fn http_match(matches: &api::HttpMatch) -> Converted<policy::Match> {
    let path = match &matches.path {
        None => Some(PathMatch::Prefix("/".to_owned())),
        Some(path) => {
            let value = path.value.clone().unwrap_or_else(|| "/".to_owned());
            Some(match path.kind.unwrap_or_default() {
                api::PathMatchKind::RegularExpression => PathMatch::Regex(expression(&value)?),
                _ if !value.starts_with('/') => return Err(Unsupported(format!("relative path {value}"))),
                api::PathMatchKind::Exact => PathMatch::Exact(value),
                api::PathMatchKind::PathPrefix => PathMatch::Prefix(value),
            })
        }
    };
    let query = |query: &api::ValueMatch| Ok(QueryMatch { name: query.name.clone(), value: value(query)? });
    let method = |m: &String| Method::from_bytes(m.as_bytes()).map_err(|_| Unsupported(format!("method {m}")));
    let method = matches.method.as_ref().map(method).transpose()?;
    Ok(policy::Match {
        path,
        headers: headers(&matches.headers)?,
        query: matches.query_params.iter().map(query).collect::<Result<_, _>>()?,
        method,
    })
}

pub(crate) fn grpc_match(matches: &api::GrpcMatch) -> Converted<grpc::Match> {
    let method = matches.method.as_ref();
    if method.and_then(|m| m.kind) == Some(api::ValueMatchKind::RegularExpression) {
        return Err(Unsupported::new("method by expression"));
    }
    let part = |part: &Option<String>| part.clone().filter(|part| !part.is_empty());
    Ok(grpc::Match {
        service: method.and_then(|m| part(&m.service)),
        method: method.and_then(|m| part(&m.method)),
        headers: headers(&matches.headers)?,
    })
}

fn headers(all: &[api::ValueMatch]) -> Converted<Vec<HeaderMatch>> {
    let header = |header: &api::ValueMatch| Ok(HeaderMatch { name: name(&header.name)?, value: value(header)? });
    all.iter().map(header).collect()
}

fn value(matches: &api::ValueMatch) -> Converted<ValueMatch> {
    Ok(match matches.kind.unwrap_or_default() {
        api::ValueMatchKind::Exact => ValueMatch::Exact(matches.value.clone().into_bytes()),
        api::ValueMatchKind::RegularExpression => ValueMatch::Regex(expression(&matches.value)?),
    })
}

fn expression(text: &str) -> Converted<Regex> {
    Regex::new(text).map_err(|_| Unsupported(format!("expression {text}")))
}

fn name(name: &str) -> Converted<HeaderName> {
    name.parse().map_err(|_| Unsupported(format!("header {name}")))
}

pub(crate) fn http_filter(filter: &api::HttpFilter) -> Converted<policy::Filter> {
    match filter.kind.as_str() {
        "RequestHeaderModifier" => modifier(filter.request_header_modifier.as_ref()).map(policy::Filter::RequestHeaders),
        "ResponseHeaderModifier" => modifier(filter.response_header_modifier.as_ref()).map(policy::Filter::ResponseHeaders),
        "RequestRedirect" => redirect(filter.request_redirect.as_ref()).map(policy::Filter::Redirect),
        other => Err(Unsupported(format!("filter {other}"))),
    }
}

pub(crate) fn grpc_filter(filter: &api::HttpFilter) -> Converted<grpc::Filter> {
    match filter.kind.as_str() {
        "RequestHeaderModifier" => modifier(filter.request_header_modifier.as_ref()).map(grpc::Filter::RequestHeaders),
        other => Err(Unsupported(format!("filter {other}"))),
    }
}

fn modifier(modifier: Option<&api::HeaderModifier>) -> Converted<policy::HeaderModifier> {
    let modifier = modifier.ok_or_else(|| Unsupported::new("empty header modifier"))?;
    let pair = |header: &api::Header| {
        let value = HeaderValue::from_str(&header.value).map_err(|_| Unsupported(format!("value of header {}", header.name)))?;
        Ok((name(&header.name)?, value))
    };
    Ok(policy::HeaderModifier {
        add: modifier.add.iter().map(pair).collect::<Result<_, _>>()?,
        set: modifier.set.iter().map(pair).collect::<Result<_, _>>()?,
        remove: modifier.remove.iter().map(|n| name(n)).collect::<Result<_, _>>()?,
    })
}

fn redirect(redirect: Option<&api::Redirect>) -> Converted<policy::Redirect> {
    let redirect = redirect.ok_or_else(|| Unsupported::new("empty redirect"))?;
    let path = |path: &api::PathModifier| match (&path.replace_full_path, &path.replace_prefix_match) {
        (Some(full), _) => Ok(policy::PathModifier::Full(full.clone())),
        (None, Some(prefix)) => Ok(policy::PathModifier::Prefix(prefix.clone())),
        (None, None) => Err(Unsupported::new("empty path of a redirect")),
    };
    let scheme = |text: &str| text.parse().map_err(|_| Unsupported(format!("scheme {text}")));
    let status = |number: u16| StatusCode::from_u16(number).map_err(|_| Unsupported(format!("status {number}")));
    Ok(policy::Redirect {
        scheme: redirect.scheme.as_deref().map(scheme).transpose()?,
        host: redirect.hostname.clone(),
        port: redirect.port,
        path: redirect.path.as_ref().map(path).transpose()?,
        // The API server writes it down where nobody else has.
        status: Some(status(redirect.status_code.unwrap_or(302))?),
    })
}
