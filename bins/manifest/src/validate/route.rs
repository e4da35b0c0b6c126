use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::{Faults, POLICY};
use crate::{
    GoDuration, annotations,
    route::{
        BackendRef, ConnectionRule, GRPCRoute, HTTPRoute, HeaderModifier, HttpFilter, HttpMatch, HttpTimeouts, ParentRef, PathMatchKind,
        PathModifier, ValueMatch, ValueMatchKind,
    },
};

/// The largest compiled expression, in bytes: expressions come from whoever may write routes, and every proxy compiles them.
const MAX_EXPRESSION_LEN: usize = 1 << 20;

pub(super) fn check_policy_http(route: &HTTPRoute, faults: &mut Faults) {
    check_http_rules(route, faults);
    for (index, rule) in route.spec.rules.iter().enumerate() {
        if let Some(timeouts) = &rule.timeouts {
            check_timeouts(timeouts, &format!("spec.rules[{index}].timeouts"), faults);
        }
    }
}

pub(super) fn check_http(route: &HTTPRoute, faults: &mut Faults) {
    check_http_rules(route, faults);
    for (index, rule) in route.spec.rules.iter().enumerate() {
        check_backends(&rule.backend_refs, &format!("spec.rules[{index}]"), faults);
    }
}

fn check_http_rules(route: &HTTPRoute, faults: &mut Faults) {
    let spec = &route.spec;
    check_parents(&spec.parent_refs, faults);
    check_annotations(&spec.parent_refs, &route.metadata.annotations, faults, |all| annotations::http_retry(all).map(drop));
    for (index, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        for (nth, condition) in rule.matches.iter().enumerate() {
            check_match(condition, &format!("{path}.matches[{nth}]"), faults);
        }
        check_filters(&rule.filters, &path, faults);
        for (nth, backend) in rule.backend_refs.iter().enumerate() {
            check_filters(&backend.filters, &format!("{path}.backendRefs[{nth}]"), faults);
        }
    }
}

pub(super) fn check_grpc(route: &GRPCRoute, faults: &mut Faults) {
    let spec = &route.spec;
    check_parents(&spec.parent_refs, faults);
    check_annotations(&spec.parent_refs, &route.metadata.annotations, faults, |all| annotations::grpc_retry(all).map(drop));
    for (index, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        for (nth, condition) in rule.matches.iter().enumerate() {
            let path = format!("{path}.matches[{nth}]");
            if let Some(method) = &condition.method {
                if method.kind == Some(ValueMatchKind::RegularExpression) {
                    faults.add(format!("{path}.method.type"), "expressions are not supported here: Exact is wanted".to_owned());
                }
                let is_empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
                if is_empty(&method.service) && is_empty(&method.method) {
                    faults.add(format!("{path}.method"), "at least one of service and method is needed".to_owned());
                }
            }
            check_headers(&condition.headers, &format!("{path}.headers"), faults);
        }
        check_filters(&rule.filters, &path, faults);
        check_backends(&rule.backend_refs, &path, faults);
        for (nth, backend) in rule.backend_refs.iter().enumerate() {
            check_filters(&backend.filters, &format!("{path}.backendRefs[{nth}]"), faults);
        }
    }
}

pub(super) fn check_connections(parents: &[ParentRef], rules: &[ConnectionRule], faults: &mut Faults) {
    check_parents(parents, faults);
    if rules.len() != 1 {
        faults.add("spec.rules", format!("{} rules are not exactly one", rules.len()));
    }
}

fn check_parents(parents: &[ParentRef], faults: &mut Faults) {
    for (index, _) in parents.iter().enumerate().filter(|(_, p)| p.is(POLICY, "EgressNetwork") && p.port.is_none()) {
        faults.add(format!("spec.parentRefs[{index}].port"), "is missing: an EgressNetwork needs one".to_owned());
    }
}

/// Annotations count for routes of callers only.
fn check_annotations(
    parents: &[ParentRef],
    all: &BTreeMap<String, String>,
    faults: &mut Faults,
    retry: impl Fn(&BTreeMap<String, String>) -> Result<(), super::FieldError>,
) {
    if parents.iter().any(|p| p.is("", "Service") || p.is(POLICY, "EgressNetwork")) {
        faults.0.extend(retry(all).err());
        faults.0.extend(annotations::timeouts(all).err());
    }
}

fn check_match(condition: &HttpMatch, path: &str, faults: &mut Faults) {
    if let Some(wanted) = &condition.path {
        let value = wanted.value.as_deref().unwrap_or("/");
        match wanted.kind.unwrap_or_default() {
            PathMatchKind::Exact | PathMatchKind::PathPrefix if !value.starts_with('/') => {
                faults.add(format!("{path}.path.value"), format!("{value:?} does not begin with a slash"));
            }
            PathMatchKind::Exact | PathMatchKind::PathPrefix => {}
            PathMatchKind::RegularExpression => {
                if let Err(error) = expression(value) {
                    faults.add(format!("{path}.path.value"), error);
                }
            }
        }
    }
    check_headers(&condition.headers, &format!("{path}.headers"), faults);
    for (index, wanted) in condition.query_params.iter().enumerate() {
        if wanted.kind == Some(ValueMatchKind::RegularExpression)
            && let Err(error) = expression(&wanted.value)
        {
            faults.add(format!("{path}.queryParams[{index}].value"), error);
        }
    }
    if let Some(method) = &condition.method
        && method.parse::<http::Method>().is_err()
    {
        faults.add(format!("{path}.method"), format!("{method:?} is not a method"));
    }
}

fn check_headers(headers: &[ValueMatch], path: &str, faults: &mut Faults) {
    for (index, wanted) in headers.iter().enumerate() {
        check_name(&wanted.name, &format!("{path}[{index}].name"), faults);
        match wanted.kind.unwrap_or_default() {
            ValueMatchKind::Exact => check_value(&wanted.value, &format!("{path}[{index}].value"), faults),
            ValueMatchKind::RegularExpression => {
                if let Err(error) = expression(&wanted.value) {
                    faults.add(format!("{path}[{index}].value"), error);
                }
            }
        }
    }
}

fn check_filters(filters: &[HttpFilter], path: &str, faults: &mut Faults) {
    for (index, filter) in filters.iter().enumerate() {
        let path = format!("{path}.filters[{index}]");
        let modifiers =
            [("requestHeaderModifier", &filter.request_header_modifier), ("responseHeaderModifier", &filter.response_header_modifier)];
        for (name, modifier) in modifiers {
            if let Some(modifier) = modifier {
                check_modifier(modifier, &format!("{path}.{name}"), faults);
            }
        }
        if let Some(modifier) = filter.request_redirect.as_ref().and_then(|redirect| redirect.path.as_ref()) {
            check_redirect(modifier, &format!("{path}.requestRedirect.path"), faults);
        }
    }
}

fn check_modifier(modifier: &HeaderModifier, path: &str, faults: &mut Faults) {
    for (list, headers) in [("set", &modifier.set), ("add", &modifier.add)] {
        for (index, header) in headers.iter().enumerate() {
            check_name(&header.name, &format!("{path}.{list}[{index}].name"), faults);
            check_value(&header.value, &format!("{path}.{list}[{index}].value"), faults);
        }
    }
    for (index, name) in modifier.remove.iter().enumerate() {
        check_name(name, &format!("{path}.remove[{index}]"), faults);
    }
}

fn check_redirect(modifier: &PathModifier, path: &str, faults: &mut Faults) {
    let values = [("replaceFullPath", &modifier.replace_full_path), ("replacePrefixMatch", &modifier.replace_prefix_match)];
    for (name, value) in values {
        if let Some(value) = value.as_ref().filter(|value| !value.starts_with('/')) {
            faults.add(format!("{path}.{name}"), format!("{value:?} does not begin with a slash"));
        }
    }
}

fn check_timeouts(timeouts: &HttpTimeouts, path: &str, faults: &mut Faults) {
    for (name, timeout) in [("request", timeouts.request), ("backendRequest", timeouts.backend_request)] {
        if let Some(timeout) = timeout.filter(|timeout| timeout.as_nanos() < 0) {
            faults.add(format!("{path}.{name}"), format!("{timeout} is negative"));
        }
    }
    // Zero is no limit.
    if let (Some(request), Some(backend)) = (timeouts.request, timeouts.backend_request)
        && request != GoDuration::default()
        && backend > request
    {
        faults.add(format!("{path}.backendRequest"), format!("{backend} is more than the {request} of the whole request"));
    }
}

fn check_backends(backends: &[BackendRef], path: &str, faults: &mut Faults) {
    for (index, _) in backends.iter().enumerate().filter(|(_, b)| b.is("", "Service") && b.port.unwrap_or_default() == 0) {
        faults.add(format!("{path}.backendRefs[{index}].port"), "is missing: a Service needs one".to_owned());
    }
}

fn check_name(name: &str, path: &str, faults: &mut Faults) {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        faults.add(path, format!("{name:?} is not a header's name"));
    }
}

fn check_value(value: &str, path: &str, faults: &mut Faults) {
    if HeaderValue::from_str(value).is_err() {
        faults.add(path, format!("{value:?} is not a header's value"));
    }
}

pub(super) fn expression(text: &str) -> Result<(), String> {
    let compiled = regex::RegexBuilder::new(text).size_limit(MAX_EXPRESSION_LEN).build();
    compiled.map(drop).map_err(|error| {
        // The library draws the place over several lines; its last line says what it is.
        let what = error.to_string();
        format!("{text:?} is not a regular expression: {}", what.lines().next_back().unwrap_or_default().trim_start_matches("error: "))
    })
}
