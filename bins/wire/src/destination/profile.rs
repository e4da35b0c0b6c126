use std::sync::Arc;

use linkerd2_proxy_api::destination as proto;
use meshkit_core::{Authority, Outcome};
use meshkit_policy::route::Regex;
use meshkit_retry::budget;

use super::{endpoint, endpoint_to};
use crate::{
    Invalid,
    meta::{meta, meta_to},
    net,
    profile::{Profile, RequestMatch, ResponseClass, ResponseMatch, Retryable, Route, Target},
};

/// How deep conditions may be nested: a peer must not choose the depth of our stack.
const MAX_DEPTH: usize = 16;

/// Reads a profile.
///
/// # Errors
/// A field is malformed. An unusable retry budget is only dropped: the routes still hold.
pub fn profile(profile: proto::DestinationProfile) -> Result<Profile, Invalid> {
    let name = Some(profile.fully_qualified_name).filter(|n| !n.is_empty());
    let known = |m: Option<linkerd2_proxy_api::meta::Metadata>| m.filter(|m| m.kind.is_some()).map(|m| meta(Some(m))).transpose();
    Ok(Profile {
        name: name.map(Arc::from),
        opaque: profile.opaque_protocol,
        routes: profile.routes.into_iter().map(route).collect::<Result<_, _>>().map_err(|e| e.within("routes"))?,
        budget: profile.retry_budget.and_then(budget),
        targets: profile.dst_overrides.into_iter().map(target).collect::<Result<_, _>>().map_err(|e| e.within("dst_overrides"))?,
        endpoint: profile.endpoint.map(|e| endpoint(e, &Default::default())).transpose().map_err(|e| e.within("endpoint"))?,
        parent: known(profile.parent_ref)?,
        object: known(profile.profile_ref)?,
    })
}

fn budget(budget: proto::RetryBudget) -> Option<budget::Params> {
    let ttl = net::duration(budget.ttl, "ttl").ok()??;
    budget::Params::new(ttl, f64::from(budget.retry_ratio), budget.min_retries_per_second).ok()
}

fn target(target: proto::WeightedDst) -> Result<Target, Invalid> {
    let authority = Authority::parse(&target.authority, 80).map_err(|e| Invalid::new("authority", e))?;
    let backend = target.backend_ref.map(|m| meta(Some(m))).transpose()?;
    Ok(Target { authority, weight: target.weight, backend })
}

fn route(route: proto::Route) -> Result<Route, Invalid> {
    let class = |class: proto::ResponseClass| {
        let condition = response_match(class.condition.ok_or_else(|| Invalid::missing("condition"))?, 0)?;
        let outcome = if class.is_failure { Outcome::Failure } else { Outcome::Success };
        Ok(ResponseClass { condition, outcome })
    };
    Ok(Route {
        condition: request_match(route.condition.ok_or_else(|| Invalid::missing("condition"))?, 0)?,
        classes: route.response_classes.into_iter().map(class).collect::<Result<_, Invalid>>()?,
        labels: Arc::new(route.metrics_labels.into_iter().collect()),
        retry: if route.is_retryable { Retryable::WithinBudget } else { Retryable::Never },
        timeout: net::limit(route.timeout, "timeout")?,
    })
}

fn request_match(condition: proto::RequestMatch, depth: usize) -> Result<RequestMatch, Invalid> {
    use proto::request_match::Match;
    let depth = deeper(depth)?;
    let seq = |seq: proto::request_match::Seq| seq.matches.into_iter().map(|m| request_match(m, depth)).collect::<Result<_, _>>();
    Ok(match condition.r#match.ok_or_else(|| Invalid::missing("match"))? {
        Match::All(all) => RequestMatch::All(seq(all)?),
        Match::Any(any) => RequestMatch::Any(seq(any)?),
        Match::Not(not) => RequestMatch::Not(Box::new(request_match(*not, depth)?)),
        Match::Path(path) => RequestMatch::Path(Regex::new(&path.regex).map_err(|e| Invalid::new("path.regex", e))?),
        Match::Method(method) => RequestMatch::Method(method.try_into().map_err(|e| Invalid::new("method", e))?),
    })
}

fn response_match(condition: proto::ResponseMatch, depth: usize) -> Result<ResponseMatch, Invalid> {
    use proto::response_match::Match;
    let depth = deeper(depth)?;
    let seq = |seq: proto::response_match::Seq| seq.matches.into_iter().map(|m| response_match(m, depth)).collect::<Result<_, _>>();
    let status = |n: u32| u16::try_from(n).ok().filter(|n| (100..=599).contains(n));
    Ok(match condition.r#match.ok_or_else(|| Invalid::missing("match"))? {
        Match::All(all) => ResponseMatch::All(seq(all)?),
        Match::Any(any) => ResponseMatch::Any(seq(any)?),
        Match::Not(not) => ResponseMatch::Not(Box::new(response_match(*not, depth)?)),
        Match::Status(range) => match (status(range.min), status(range.max)) {
            (Some(min), Some(max)) => ResponseMatch::Status(min, max),
            _ => return Err(Invalid::new("status", format_args!("{}-{} is not a range of statuses", range.min, range.max))),
        },
    })
}

fn deeper(depth: usize) -> Result<usize, Invalid> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(Invalid::new("match", format_args!("is nested more than {MAX_DEPTH} deep"))) }
}

/// Writes a profile.
#[must_use]
pub fn profile_to(profile: &Profile) -> proto::DestinationProfile {
    proto::DestinationProfile {
        fully_qualified_name: profile.name.as_deref().unwrap_or_default().to_owned(),
        opaque_protocol: profile.opaque,
        routes: profile.routes.iter().map(route_to).collect(),
        retry_budget: profile.budget.as_ref().map(|b| proto::RetryBudget {
            retry_ratio: b.ratio() as f32,
            min_retries_per_second: b.min_per_second(),
            ttl: Some(net::duration_to(b.ttl())),
        }),
        dst_overrides: profile
            .targets
            .iter()
            .map(|t| proto::WeightedDst {
                authority: t.authority.to_string(),
                weight: t.weight,
                backend_ref: t.backend.as_ref().map(meta_to),
            })
            .collect(),
        endpoint: profile.endpoint.as_ref().map(|e| endpoint_to(e, &Default::default())),
        parent_ref: profile.parent.as_ref().map(meta_to),
        profile_ref: profile.object.as_ref().map(meta_to),
    }
}

fn route_to(route: &Route) -> proto::Route {
    proto::Route {
        condition: Some(request_match_to(&route.condition)),
        response_classes: route
            .classes
            .iter()
            .map(|c| proto::ResponseClass { condition: Some(response_match_to(&c.condition)), is_failure: c.outcome.is_failure() })
            .collect(),
        metrics_labels: route.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        is_retryable: route.retry == Retryable::WithinBudget,
        timeout: route.timeout.map(net::duration_to),
    }
}

fn request_match_to(condition: &RequestMatch) -> proto::RequestMatch {
    use proto::request_match::{Match, Seq};
    let seq = |matches: &[RequestMatch]| Seq { matches: matches.iter().map(request_match_to).collect() };
    let condition = match condition {
        RequestMatch::All(all) => Match::All(seq(all)),
        RequestMatch::Any(any) => Match::Any(seq(any)),
        RequestMatch::Not(not) => Match::Not(Box::new(request_match_to(not))),
        RequestMatch::Path(regex) => Match::Path(proto::PathMatch { regex: regex.as_str().to_owned() }),
        RequestMatch::Method(method) => Match::Method(method.clone().into()),
    };
    proto::RequestMatch { r#match: Some(condition) }
}

fn response_match_to(condition: &ResponseMatch) -> proto::ResponseMatch {
    use proto::response_match::{Match, Seq};
    let seq = |matches: &[ResponseMatch]| Seq { matches: matches.iter().map(response_match_to).collect() };
    let condition = match condition {
        ResponseMatch::All(all) => Match::All(seq(all)),
        ResponseMatch::Any(any) => Match::Any(seq(any)),
        ResponseMatch::Not(not) => Match::Not(Box::new(response_match_to(not))),
        ResponseMatch::Status(min, max) => Match::Status(proto::HttpStatusRange { min: (*min).into(), max: (*max).into() }),
    };
    proto::ResponseMatch { r#match: Some(condition) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample() -> Profile {
        Profile {
            name: Some("web-svc.emojivoto.svc.cluster.local".into()),
            routes: vec![Route {
                condition: RequestMatch::Any(vec![
                    RequestMatch::Not(Box::new(RequestMatch::Path(Regex::new("/api/.*").unwrap()))),
                    RequestMatch::Method(http::Method::from_bytes(b"PURGE").unwrap()),
                ]),
                classes: vec![ResponseClass { condition: ResponseMatch::Status(500, 599), outcome: Outcome::Failure }],
                labels: Arc::new([("route".to_owned(), "list".to_owned())].into()),
                retry: Retryable::WithinBudget,
                timeout: Some(Duration::from_millis(250)),
            }],
            budget: budget::Params::new(Duration::from_secs(10), 0.5, 10).ok(),
            targets: vec![Target { authority: "web-v2.emojivoto.svc.cluster.local:80".parse().unwrap(), weight: 5000, backend: None }],
            ..Profile::default()
        }
    }

    #[test]
    fn profiles_round_trip() {
        assert_eq!(profile(profile_to(&sample())), Ok(sample()));
    }

    #[test]
    fn a_bad_budget_is_no_budget_and_the_routes_stay() {
        let mut wire = profile_to(&sample());
        wire.retry_budget.as_mut().unwrap().retry_ratio = -1.0;
        let read = profile(wire).unwrap();
        assert_eq!((read.budget, read.routes.len()), (None, 1));
    }

    #[test]
    fn conditions_nested_without_end_are_refused() {
        let mut condition = proto::RequestMatch { r#match: Some(proto::request_match::Match::All(Default::default())) };
        for _ in 0..100 {
            condition = proto::RequestMatch { r#match: Some(proto::request_match::Match::Not(Box::new(condition))) };
        }
        assert!(request_match(condition, 0).unwrap_err().to_string().contains("nested"));
    }
}
