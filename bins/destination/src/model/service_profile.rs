//! What a ServiceProfile says, in the terms of the proxy.
//!
//! The parts of a profile are not equal. Without a condition a route means nothing, and the routes after it would mean something else: such a
//! profile is refused as a whole, and whoever has an earlier one keeps it. A timeout, a budget or an override that cannot be read is left
//! out, and the rest holds. Either way the fault is told, with the path of its field.

use std::{fmt, sync::Arc, time::Duration};

use http::Method;
use meshkit_core::{Authority, Outcome};
use meshkit_manifest::{
    GoDuration,
    profile::{self as manifest, ProfileSpec, StatusRange},
};
use meshkit_policy::route::Regex;
use meshkit_retry::budget;
use meshkit_wire::profile::{Profile, RequestMatch, ResponseClass, ResponseMatch, Retryable, Route, Target};

/// How deep conditions may be nested: readers refuse what is deeper.
const MAX_DEPTH: usize = 16;

/// A part of a ServiceProfile that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    path: String,
    what: String,
}

/// A profile, and the parts of its object that were left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The profile.
    pub profile: Profile,
    /// What was left out.
    pub faults: Vec<Fault>,
}

/// Adds routes, budget and targets to the profile of a Service's `port`.
///
/// # Errors
/// A condition that cannot be used: then nothing of the object can be.
pub fn read(spec: &ProfileSpec, port: u16, into: Profile) -> Result<Reading, Fault> {
    let mut faults = Vec::new();
    let routes = spec.routes.iter().enumerate().map(|(index, r)| route(r, &format!("spec.routes[{index}]"), &mut faults));
    let routes = routes.collect::<Result<Vec<_>, _>>()?;
    let budget = match &spec.retry_budget {
        None => Some(budget::Params::default()),
        Some(budget) => noted(&mut faults, read_budget(budget)),
    };
    let overrides = spec.dst_overrides.iter().enumerate();
    let targets: Vec<_> =
        overrides.filter_map(|(index, dst)| noted(&mut faults, target(dst, port, &format!("spec.dstOverrides[{index}]")))).collect();
    if !spec.opaque_ports.is_empty() {
        faults.push(Fault::new("spec.opaquePorts", "has no effect: annotate the Service with config.linkerd.io/opaque-ports"));
    }
    Ok(Reading { profile: Profile { routes, budget, targets, ..into }, faults })
}

fn route(route: &manifest::ProfileRoute, path: &str, faults: &mut Vec<Fault>) -> Result<Route, Fault> {
    let class = |(index, class): (usize, &manifest::ResponseClass)| {
        let condition = response(&class.condition, &format!("{path}.responseClasses[{index}].condition"), 0)?;
        let outcome = if class.is_failure { Outcome::Failure } else { Outcome::Success };
        Ok(ResponseClass { condition, outcome })
    };
    Ok(Route {
        condition: request(&route.condition, &format!("{path}.condition"), 0)?,
        classes: route.response_classes.iter().enumerate().map(class).collect::<Result<_, _>>()?,
        labels: Arc::new([("route".to_owned(), route.name.clone())].into()),
        retry: if route.is_retryable { Retryable::WithinBudget } else { Retryable::Never },
        timeout: noted(faults, timeout(route.timeout.as_deref(), path)).flatten(),
    })
}

/// Zero is no limit.
fn timeout(text: Option<&str>, path: &str) -> Result<Option<Duration>, Fault> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let fault = |what: &dyn fmt::Display| Fault::new(format!("{path}.timeout"), what);
    let read: GoDuration = text.parse().map_err(|e| fault(&e))?;
    let timeout = read.to_std().ok_or_else(|| fault(&format_args!("{text:?} is less than nothing")))?;
    Ok(Some(timeout).filter(|t| !t.is_zero()))
}

fn read_budget(budget: &manifest::RetryBudget) -> Result<budget::Params, Fault> {
    let ttl = budget.ttl.to_std().unwrap_or_default();
    budget::Params::new(ttl, budget.retry_ratio, budget.min_retries_per_second).map_err(|error| match error {
        budget::InvalidBudget::Ttl => {
            Fault::new("spec.retryBudget.ttl", format_args!("{} is not from 1s to 60s: nothing is retried", budget.ttl))
        }
        _ => Fault::new("spec.retryBudget.retryRatio", format_args!("{} is not from 0 to 1000: nothing is retried", budget.retry_ratio)),
    })
}

fn target(dst: &manifest::WeightedDst, port: u16, path: &str) -> Result<Target, Fault> {
    let authority = Authority::parse(&dst.authority, port).map_err(|e| Fault::new(format!("{path}.authority"), e))?;
    let weight = dst
        .milli()
        .ok_or_else(|| Fault::new(format!("{path}.weight"), format_args!("{} is not a quantity such as 1 or 500m", dst.weight)))?;
    // One whole is 10000, as for endpoints.
    Ok(Target { authority, weight: weight.saturating_mul(10), backend: None })
}

/// Several fields are one condition each, and all of them must hold.
fn request(condition: &manifest::RequestMatch, path: &str, depth: usize) -> Result<RequestMatch, Fault> {
    let method = condition.method.as_deref().filter(|text| !text.is_empty());
    let regex = condition.path_regex.as_deref().filter(|text| !text.is_empty());
    let set = [condition.all.is_some(), condition.any.is_some(), condition.not.is_some(), method.is_some(), regex.is_some()];
    let below = deeper(depth, &set, path)?;
    let parts = |name: &str, parts: &[manifest::RequestMatch]| {
        parts
            .iter()
            .enumerate()
            .map(|(index, part)| request(part, &format!("{path}.{name}[{index}]"), below))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut all = Vec::new();
    if let Some(inner) = &condition.all {
        all.push(RequestMatch::All(parts("all", inner)?));
    }
    if let Some(inner) = &condition.any {
        all.push(RequestMatch::Any(parts("any", inner)?));
    }
    if let Some(inner) = &condition.not {
        all.push(RequestMatch::Not(Box::new(request(inner, &format!("{path}.not"), below)?)));
    }
    if let Some(text) = method {
        let method = Method::from_bytes(text.as_bytes())
            .map_err(|_| Fault::new(format!("{path}.method"), format_args!("{text:?} is not a method")))?;
        all.push(RequestMatch::Method(method));
    }
    if let Some(text) = regex {
        all.push(RequestMatch::Path(Regex::new(text).map_err(|e| Fault::new(format!("{path}.pathRegex"), e))?));
    }
    Ok(only(all).unwrap_or_else(RequestMatch::All))
}

fn response(condition: &manifest::ResponseMatch, path: &str, depth: usize) -> Result<ResponseMatch, Fault> {
    let set = [condition.all.is_some(), condition.any.is_some(), condition.not.is_some(), condition.status.is_some()];
    let below = deeper(depth, &set, path)?;
    let parts = |name: &str, parts: &[manifest::ResponseMatch]| {
        parts
            .iter()
            .enumerate()
            .map(|(index, part)| response(part, &format!("{path}.{name}[{index}]"), below))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut all = Vec::new();
    if let Some(inner) = &condition.all {
        all.push(ResponseMatch::All(parts("all", inner)?));
    }
    if let Some(inner) = &condition.any {
        all.push(ResponseMatch::Any(parts("any", inner)?));
    }
    if let Some(inner) = &condition.not {
        all.push(ResponseMatch::Not(Box::new(response(inner, &format!("{path}.not"), below)?)));
    }
    if let Some(range) = &condition.status {
        all.push(status(range, path)?);
    }
    Ok(only(all).unwrap_or_else(ResponseMatch::All))
}

/// An end that is not there is that of the other.
fn status(range: &StatusRange, path: &str) -> Result<ResponseMatch, Fault> {
    let end = |n: u32| u16::try_from(n).ok().filter(|n| (100..=599).contains(n));
    let (min, max) = (range.min.or(range.max).and_then(end), range.max.or(range.min).and_then(end));
    match (min, max) {
        (Some(min), Some(max)) if min <= max => Ok(ResponseMatch::Status(min, max)),
        _ => Err(Fault::new(format!("{path}.status"), "is not a range of statuses from 100 to 599")),
    }
}

/// The depth of what stands below a condition with these fields. More than one field needs a level of its own.
fn deeper(depth: usize, set: &[bool], path: &str) -> Result<usize, Fault> {
    let own = match set.iter().filter(|is_set| **is_set).count() {
        0 => return Err(Fault::new(path, "has no field that says anything")),
        1 => depth,
        _ => depth + 1,
    };
    if own < MAX_DEPTH { Ok(own + 1) } else { Err(Fault::new(path, format_args!("is nested more than {MAX_DEPTH} deep"))) }
}

/// The only one of several, if it is.
fn only<T>(all: Vec<T>) -> Result<T, Vec<T>> {
    <[T; 1]>::try_from(all).map(|[only]| only)
}

fn noted<T>(faults: &mut Vec<Fault>, part: Result<T, Fault>) -> Option<T> {
    part.map_err(|fault| faults.push(fault)).ok()
}

impl Fault {
    fn new(path: impl Into<String>, what: impl fmt::Display) -> Self {
        Self { path: path.into(), what: what.to_string() }
    }

    /// Where in the object it is.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

impl std::error::Error for Fault {}
