use super::Faults;
use crate::{
    GoDuration,
    meta::Metadata,
    profile::{ProfileSpec, RequestMatch, ResponseMatch},
};

pub(super) fn check(metadata: &Metadata, spec: &ProfileSpec, faults: &mut Faults) {
    if !is_subdomain(&metadata.name) {
        faults.add("metadata.name", format!("{:?} is not a name of the DNS, such as web.emojivoto.svc.cluster.local", metadata.name));
    }
    for (index, route) in spec.routes.iter().enumerate() {
        let path = format!("spec.routes[{index}]");
        if route.name.is_empty() {
            faults.add(format!("{path}.name"), "is missing".to_owned());
        }
        check_request(&route.condition, &format!("{path}.condition"), faults);
        if let Some(timeout) = &route.timeout
            && let Err(error) = timeout.parse::<GoDuration>()
        {
            faults.add(format!("{path}.timeout"), error.to_string());
        }
        for (nth, class) in route.response_classes.iter().enumerate() {
            check_response(&class.condition, &format!("{path}.responseClasses[{nth}].condition"), faults);
        }
    }
    if let Some(budget) = &spec.retry_budget
        && !(budget.retry_ratio >= 0.0 && budget.retry_ratio.is_finite())
    {
        faults.add("spec.retryBudget.retryRatio", format!("{} is not a number from 0", budget.retry_ratio));
    }
    for (index, dst) in spec.dst_overrides.iter().enumerate() {
        if dst.authority.is_empty() {
            faults.add(format!("spec.dstOverrides[{index}].authority"), "is missing".to_owned());
        }
        if dst.milli().is_none() {
            faults.add(format!("spec.dstOverrides[{index}].weight"), format!("{} is not a quantity such as 1 or 500m", dst.weight));
        }
    }
}

fn check_request(condition: &RequestMatch, path: &str, faults: &mut Faults) {
    if condition.is_empty() {
        faults.add(path, "at least one of pathRegex, method, all, any and not is needed".to_owned());
    }
    if let Some(expression) = &condition.path_regex
        && let Err(error) = super::route::expression(expression)
    {
        faults.add(format!("{path}.pathRegex"), error);
    }
    for (name, parts) in [("all", &condition.all), ("any", &condition.any)] {
        for (index, part) in parts.iter().flatten().enumerate() {
            check_request(part, &format!("{path}.{name}[{index}]"), faults);
        }
    }
    if let Some(part) = &condition.not {
        check_request(part, &format!("{path}.not"), faults);
    }
}

fn check_response(condition: &ResponseMatch, path: &str, faults: &mut Faults) {
    if condition.is_empty() {
        faults.add(path, "at least one of status, all, any and not is needed".to_owned());
    }
    if let Some(status) = &condition.status {
        for (name, end) in [("min", status.min), ("max", status.max)] {
            if let Some(end) = end.filter(|end| !(100..=599).contains(end)) {
                faults.add(format!("{path}.status.{name}"), format!("{end} is not a status from 100 to 599"));
            }
        }
        match (status.min, status.max) {
            (None, None) => faults.add(format!("{path}.status"), "min or max is needed".to_owned()),
            (Some(min), Some(max)) if min > max => faults.add(format!("{path}.status"), format!("min {min} is more than max {max}")),
            _ => {}
        }
    }
    for (name, parts) in [("all", &condition.all), ("any", &condition.any)] {
        for (index, part) in parts.iter().flatten().enumerate() {
            check_response(part, &format!("{path}.{name}[{index}]"), faults);
        }
    }
    if let Some(part) = &condition.not {
        check_response(part, &format!("{path}.not"), faults);
    }
}

/// RFC 1123: lower-case labels of letters, digits and inner dashes.
fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
