use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header::ACCEPT};

use super::{
    Reply,
    answer::{not_allowed, text, with_type},
};

/// All settings, or those named in the query (`?A&B`); `null` for one that is not set.
pub(super) fn answer(vars: &BTreeMap<String, String>, request: &Request<Bytes>) -> Reply {
    if request.method() != Method::GET {
        return not_allowed("GET");
    }
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(accepts_json);
    let mut accept = request.headers().get_all(ACCEPT).iter().peekable();
    if accept.peek().is_some() && !accept.any(accepts) {
        return text(StatusCode::NOT_ACCEPTABLE, "only application/json is served here\n");
    }
    let query = request.uri().query().unwrap_or_default();
    if let Some(pair) = query.split('&').find(|item| item.contains('=')) {
        let shown: String = pair.chars().take(64).collect();
        return text(StatusCode::BAD_REQUEST, format!("expected names of variables, as in ?A&B, and got a value: {shown:?}\n"));
    }
    let named: BTreeMap<&str, Option<&str>> = match query {
        "" => vars.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect(),
        _ => query.split('&').filter(|name| !name.is_empty()).map(|name| (name, vars.get(name).map(String::as_str))).collect(),
    };
    match serde_json::to_vec(&named) {
        Ok(json) => with_type(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn accepts_json(accept: &str) -> bool {
    let ranges = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    ranges.into_iter().any(|range| ["application/json", "application/*", "*/*"].iter().any(|json| range.eq_ignore_ascii_case(json)))
}
