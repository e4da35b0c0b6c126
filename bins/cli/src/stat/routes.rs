//! How the routes of each workload fare: the calls that it makes, and those that it lets in.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{edges::Scrape, exposition::Sample};

/// One route of one workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// The workload whose proxy counts.
    pub workload: String,
    /// `outbound` for its own calls, `inbound` for those of others.
    pub direction: &'static str,
    /// The service that is called, or the server that is called at.
    pub parent: String,
    /// The route.
    pub route: String,
    /// Requests, as the caller sees them: one that is tried three times is one.
    pub requests: u64,
    /// From 0 to 1; absent before the first response.
    pub success_rate: Option<f64>,
    /// Tries after the first one.
    pub retries: u64,
    /// Requests by the backend that took them, tries counted.
    pub backends: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Sums {
    requests: f64,
    responses: f64,
    successes: f64,
    retries: f64,
    backends: BTreeMap<String, f64>,
}

/// What a sample adds to.
enum Part {
    Requests,
    Responses,
    /// An ended exchange is a request and a response.
    Exchanges,
    Retries,
    Backend,
}

type Key = (String, &'static str, String, String);

/// The routes that requests have taken, in order of their names.
#[must_use]
pub fn routes(scrapes: &[Scrape]) -> Vec<Route> {
    let mut all: BTreeMap<Key, Sums> = BTreeMap::new();
    for scrape in scrapes {
        for sample in scrape.samples.iter().filter(|sample| sample.value > 0.0) {
            let Some((direction, part)) = part(sample) else { continue };
            let (parent, route) = names(sample, direction);
            let sums = all.entry((scrape.workload.clone(), direction, parent, route)).or_default();
            match part {
                Part::Requests => sums.requests += sample.value,
                Part::Responses => sums.respond(sample),
                Part::Exchanges => {
                    sums.requests += sample.value;
                    sums.respond(sample);
                }
                Part::Retries => sums.retries += sample.value,
                Part::Backend => *sums.backends.entry(sample.label("backend_name").to_owned()).or_default() += sample.value,
            }
        }
    }
    let count = |value: f64| value.max(0.0).round() as u64;
    let row = |((workload, direction, parent, route), sums): (Key, Sums)| Route {
        workload,
        direction,
        parent,
        route,
        requests: count(sums.requests),
        success_rate: (sums.responses > 0.0).then(|| sums.successes / sums.responses),
        retries: count(sums.retries),
        backends: sums.backends.into_iter().map(|(name, value)| (name, count(value))).collect(),
    };
    all.into_iter().filter(|(_, sums)| sums.requests > 0.0).map(row).collect()
}

impl Sums {
    fn respond(&mut self, sample: &Sample) {
        self.responses += sample.value;
        if succeeded(sample) {
            self.successes += sample.value;
        }
    }
}

fn part(sample: &Sample) -> Option<(&'static str, Part)> {
    let policy = sample.name.strip_prefix("outbound_http_route_").or_else(|| sample.name.strip_prefix("outbound_grpc_route_"));
    if let Some(name) = policy {
        return match name {
            "request_statuses_total" => Some(("outbound", Part::Exchanges)),
            "retry_requests_total" => Some(("outbound", Part::Retries)),
            "backend_requests_total" => Some(("outbound", Part::Backend)),
            _ => None,
        };
    }
    match sample.name.as_str() {
        "inbound_http_statuses_total" | "inbound_grpc_statuses_total" => Some(("inbound", Part::Exchanges)),
        "route_request_total" => Some((direction(sample), Part::Requests)),
        "route_response_total" => Some((direction(sample), Part::Responses)),
        "route_retryable_total" if sample.label("skipped").is_empty() => Some((direction(sample), Part::Retries)),
        _ => None,
    }
}

fn direction(sample: &Sample) -> &'static str {
    if sample.label("direction") == "inbound" { "inbound" } else { "outbound" }
}

/// The names of a sample's service or server, and route.
fn names(sample: &Sample, direction: &str) -> (String, String) {
    let dst = sample.label("dst");
    if !dst.is_empty() {
        let route = sample.label("rt_route");
        return (dst.to_owned(), if route.is_empty() { "default" } else { route }.to_owned());
    }
    let (parent, port) = (sample.label("parent_name"), sample.label("parent_port"));
    let parent = if direction == "outbound" && !port.is_empty() { format!("{parent}:{port}") } else { parent.to_owned() };
    (parent, sample.label("route_name").to_owned())
}

fn succeeded(sample: &Sample) -> bool {
    let classified = sample.label("classification");
    if !classified.is_empty() {
        return classified == "success";
    }
    if !sample.label("error").is_empty() {
        return false;
    }
    // By name outbound, by number inbound; the codes that say that the server failed.
    const FAILURES: [&str; 6] = ["UNKNOWN", "DEADLINE_EXCEEDED", "PERMISSION_DENIED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
    const NUMBERS: [&str; 6] = ["2", "4", "7", "13", "14", "15"];
    let status = sample.label("status");
    if sample.name.starts_with("inbound_grpc") {
        return !NUMBERS.contains(&status);
    }
    let code = sample.label("grpc_status");
    let http = if status.is_empty() { sample.label("http_status") } else { status };
    if code.is_empty() { !http.starts_with('5') } else { !FAILURES.contains(&code) }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let success = self.success_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1}%", rate * 100.0));
        let parent = self.parent.split('.').next().unwrap_or(&self.parent);
        write!(
            f,
            "{:<12} {:<9} {parent:<18} {:<22} {success:>8} {:>8} {:>8}",
            self.workload, self.direction, self.route, self.requests, self.retries
        )?;
        if self.backends.len() > 1 {
            let backends: Vec<_> = self.backends.iter().map(|(name, count)| format!("{name} {count}")).collect();
            write!(f, "  {}", backends.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::exposition::parse, *};

    fn of(text: &str) -> Vec<Route> {
        let scrape = Scrape {
            workload: "web".to_owned(),
            namespace: "emojivoto".to_owned(),
            identity: "web.id".to_owned(),
            samples: parse(text),
            latencies: Vec::new(),
        };
        routes(&[scrape])
    }

    #[test]
    fn a_route_counts_once_however_often_it_is_tried() {
        let found = of(r#"
outbound_grpc_route_request_statuses_total{parent_name="voting-svc",parent_port="8080",route_name="split",grpc_status="OK",error=""} 9
outbound_grpc_route_request_statuses_total{parent_name="voting-svc",parent_port="8080",route_name="split",grpc_status="UNAVAILABLE",error=""} 1
outbound_grpc_route_retry_requests_total{parent_name="voting-svc",parent_port="8080",route_name="split"} 3
outbound_grpc_route_backend_requests_total{parent_name="voting-svc",parent_port="8080",route_name="split",backend_name="v1"} 8
outbound_grpc_route_backend_requests_total{parent_name="voting-svc",parent_port="8080",route_name="split",backend_name="v2"} 5
"#);
        let backends = BTreeMap::from([("v1".to_owned(), 8), ("v2".to_owned(), 5)]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].parent.as_str(), found[0].route.as_str()), ("voting-svc:8080", "split"));
        assert_eq!((found[0].requests, found[0].retries, found[0].success_rate), (10, 3, Some(0.9)));
        assert_eq!(found[0].backends, backends);
    }

    #[test]
    fn the_routes_of_a_service_profile_are_routes_too() {
        let found = of(r#"
route_request_total{direction="outbound",dst="web-svc.ns.svc.cluster.local:80",rt_route="GET /"} 4
route_response_total{direction="outbound",dst="web-svc.ns.svc.cluster.local:80",rt_route="GET /",classification="success"} 4
route_retryable_total{direction="outbound",dst="web-svc.ns.svc.cluster.local:80",rt_route="GET /"} 2
route_retryable_total{direction="outbound",dst="web-svc.ns.svc.cluster.local:80",rt_route="GET /",skipped="no_budget"} 7
"#);
        assert_eq!((found[0].route.as_str(), found[0].requests, found[0].retries, found[0].success_rate), ("GET /", 4, 2, Some(1.0)));
    }

    #[test]
    fn what_others_asked_for_is_judged_by_its_code() {
        let found = of(r#"
inbound_grpc_statuses_total{parent_name="grpc",parent_port="8080",route_name="default",status="0"} 3
inbound_grpc_statuses_total{parent_name="grpc",parent_port="8080",route_name="default",status="14"} 1
"#);
        assert_eq!((found[0].direction, found[0].parent.as_str(), found[0].success_rate), ("inbound", "grpc", Some(0.75)));
    }
}
