//! Gateway API matches and filters, in the words of the policy crate.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use meshkit_manifest::route as api;
use meshkit_policy::{
    grpc, http as policy,
    route::{HeaderMatch, HostMatch, PathMatch, QueryMatch, Regex, ValueMatch},
};

/// A filter that this mesh does not have makes its whole route unusable, as upstream does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsupported;

type Converted<T> = Result<T, Unsupported>;

pub(super) fn hosts(hostnames: &[String]) -> Vec<HostMatch> {
    let host = |name: &String| match name.strip_prefix("*.") {
        Some(suffix) => HostMatch::Suffix(suffix.to_owned()),
        None => HostMatch::Exact(name.clone()),
    };
    hostnames.iter().map(host).collect()
}

pub(super) fn http_match(matches: &api::HttpMatch) -> Converted<policy::Match> {
    let path = match &matches.path {
        None => Some(PathMatch::Prefix("/".to_owned())),
        Some(path) => {
            let value = path.value.clone().unwrap_or_else(|| "/".to_owned());
            Some(match path.kind.unwrap_or_default() {
                api::PathMatchKind::Exact => PathMatch::Exact(value),
                api::PathMatchKind::PathPrefix => PathMatch::Prefix(value),
                api::PathMatchKind::RegularExpression => PathMatch::Regex(Regex::new(&value).map_err(|_| Unsupported)?),
            })
        }
    };
    let query = |query: &api::ValueMatch| Ok(QueryMatch { name: query.name.clone(), value: value(query)? });
    let method = matches.method.as_ref().map(|m| Method::from_bytes(m.as_bytes()).map_err(|_| Unsupported)).transpose()?;
    Ok(policy::Match {
        path,
        headers: headers(&matches.headers)?,
        query: matches.query_params.iter().map(query).collect::<Result<_, _>>()?,
        method,
    })
}

pub(super) fn grpc_match(matches: &api::GrpcMatch) -> Converted<grpc::Match> {
    let method = matches.method.as_ref();
    Ok(grpc::Match {
        service: method.and_then(|m| m.service.clone()),
        method: method.and_then(|m| m.method.clone()),
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
        api::ValueMatchKind::RegularExpression => ValueMatch::Regex(Regex::new(&matches.value).map_err(|_| Unsupported)?),
    })
}

fn name(name: &str) -> Converted<HeaderName> {
    name.parse().map_err(|_| Unsupported)
}

pub(super) fn http_filter(filter: &api::HttpFilter) -> Converted<policy::Filter> {
    match filter.kind.as_str() {
        "RequestHeaderModifier" => modifier(filter.request_header_modifier.as_ref()).map(policy::Filter::RequestHeaders),
        "ResponseHeaderModifier" => modifier(filter.response_header_modifier.as_ref()).map(policy::Filter::ResponseHeaders),
        "RequestRedirect" => redirect(filter.request_redirect.as_ref()).map(policy::Filter::Redirect),
        _ => Err(Unsupported),
    }
}

pub(super) fn grpc_filter(filter: &api::HttpFilter) -> Converted<grpc::Filter> {
    match filter.kind.as_str() {
        "RequestHeaderModifier" => modifier(filter.request_header_modifier.as_ref()).map(grpc::Filter::RequestHeaders),
        _ => Err(Unsupported),
    }
}

fn modifier(modifier: Option<&api::HeaderModifier>) -> Converted<policy::HeaderModifier> {
    let modifier = modifier.ok_or(Unsupported)?;
    let pair = |header: &api::Header| Ok((name(&header.name)?, HeaderValue::from_str(&header.value).map_err(|_| Unsupported)?));
    Ok(policy::HeaderModifier {
        add: modifier.add.iter().map(pair).collect::<Result<_, _>>()?,
        set: modifier.set.iter().map(pair).collect::<Result<_, _>>()?,
        remove: modifier.remove.iter().map(|n| name(n)).collect::<Result<_, _>>()?,
    })
}

fn redirect(redirect: Option<&api::Redirect>) -> Converted<policy::Redirect> {
    let redirect = redirect.ok_or(Unsupported)?;
    let path = |path: &api::PathModifier| match (&path.replace_full_path, &path.replace_prefix_match) {
        (Some(full), _) => Ok(policy::PathModifier::Full(full.clone())),
        (None, Some(prefix)) => Ok(policy::PathModifier::Prefix(prefix.clone())),
        (None, None) => Err(Unsupported),
    };
    Ok(policy::Redirect {
        scheme: redirect.scheme.as_deref().map(|s| s.parse().map_err(|_| Unsupported)).transpose()?,
        host: redirect.hostname.clone(),
        port: redirect.port,
        path: redirect.path.as_ref().map(path).transpose()?,
        status: redirect.status_code.map(|s| StatusCode::from_u16(s).map_err(|_| Unsupported)).transpose()?,
    })
}
