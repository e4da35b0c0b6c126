//! Who calls whom, how it goes, and whether it is encrypted: from what the proxies of both ends count.

use std::collections::BTreeMap;

use serde::Serialize;

use super::exposition::Sample;

/// What one proxy says.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The workload it stands beside, as other proxies' labels name it: the Deployment.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// Who it is.
    pub identity: String,
    /// Its counters.
    pub samples: Vec<Sample>,
    /// Its latencies, by destination workload.
    pub latencies: Vec<Latency>,
}

/// Latencies of the calls to one workload, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// The workload that was called.
    pub dst: String,
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 95 of 100 are faster.
    pub p95_ms: f64,
    /// 99 of 100 are faster.
    pub p99_ms: f64,
}

/// One row: everything that `src` asked of `dst`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edge {
    /// The workload that calls.
    pub src: String,
    /// The workload that is called.
    pub dst: String,
    /// Do both ends agree that they proved themselves to each other?
    pub tls: bool,
    /// From 0 to 1; absent before the first response.
    pub success_rate: Option<f64>,
    /// Requests a second, since the previous scrape or, in a summary, since the start.
    pub rps: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 95 of 100 are faster.
    pub p95_ms: f64,
    /// 99 of 100 are faster.
    pub p99_ms: f64,
}

#[derive(Default)]
struct Sums {
    requests: f64,
    responses: f64,
    successes: f64,
    /// Requests to a server that proved to be this one.
    proved: BTreeMap<String, f64>,
    unproved: f64,
}

/// The edges over `seconds`, in order of their names. Counters count from the proxies' start.
#[must_use]
pub fn edges(scrapes: &[Scrape], seconds: f64) -> Vec<Edge> {
    let mut sums: BTreeMap<(String, String), Sums> = BTreeMap::new();
    for scrape in scrapes {
        for sample in scrape.samples.iter().filter(|s| s.label("direction") == "outbound") {
            let Some(dst) = destination(sample) else { continue };
            let sums = sums.entry((scrape.workload.clone(), dst)).or_default();
            match sample.name.as_str() {
                "request_total" => {
                    sums.requests += sample.value;
                    if sample.label("tls") == "true" {
                        *sums.proved.entry(sample.label("server_id").to_owned()).or_default() += sample.value;
                    } else {
                        sums.unproved += sample.value;
                    }
                }
                "response_total" => {
                    sums.responses += sample.value;
                    if sample.label("classification") == "success" {
                        sums.successes += sample.value;
                    }
                }
                _ => {}
            }
        }
    }
    let row = |((src, dst), sums): ((String, String), Sums)| {
        let latency = latency(scrapes, &src, &dst);
        Edge {
            tls: agrees(scrapes, &src, &dst, &sums),
            success_rate: (sums.responses > 0.0).then(|| sums.successes / sums.responses),
            rps: if seconds > 0.0 { sums.requests / seconds } else { 0.0 },
            p50_ms: latency.p50_ms,
            p95_ms: latency.p95_ms,
            p99_ms: latency.p99_ms,
            src,
            dst,
        }
    };
    sums.into_iter().filter(|(_, sums)| sums.requests > 0.0).map(row).collect()
}

/// The workload that an outbound sample is about.
fn destination(sample: &Sample) -> Option<String> {
    let known = ["dst_deployment", "dst_statefulset", "dst_daemonset", "dst_k8s_job", "dst_pod"];
    known.iter().map(|key| sample.label(key)).find(|name| !name.is_empty()).map(str::to_owned)
}

/// Every request went to a server that proved to be the destination, and the destination saw requests from a client that proved to be the
/// source.
fn agrees(scrapes: &[Scrape], src: &str, dst: &str, sums: &Sums) -> bool {
    let identities =
        |workload: &str| -> Vec<&str> { scrapes.iter().filter(|s| s.workload == workload).map(|s| s.identity.as_str()).collect() };
    let (sources, destinations) = (identities(src), identities(dst));
    let servers_agree = sums.unproved == 0.0 && !sums.proved.is_empty() && sums.proved.keys().all(|id| destinations.contains(&id.as_str()));
    let seen = |sample: &&Sample| {
        let counts = matches!(sample.name.as_str(), "request_total" | "inbound_http_authz_deny_total");
        counts && sample.value > 0.0 && sample.label("tls") == "true" && sources.contains(&sample.label("client_id"))
    };
    let clients_agree = scrapes.iter().filter(|s| s.workload == dst).flat_map(|s| &s.samples).any(|s| seen(&s));
    servers_agree && clients_agree
}

/// Of several replicas' latencies, weighted by their counts: an approximation that is exact for one replica.
fn latency(scrapes: &[Scrape], src: &str, dst: &str) -> Latency {
    let of_src = scrapes.iter().filter(|s| s.workload == src);
    let parts: Vec<_> = of_src.flat_map(|s| &s.latencies).filter(|l| l.dst == dst && l.count > 0).collect();
    let count: u64 = parts.iter().map(|l| l.count).sum();
    let mean = |of: fn(&Latency) -> f64| match count {
        0 => 0.0,
        _ => parts.iter().map(|l| of(l) * l.count as f64).sum::<f64>() / count as f64,
    };
    Latency { dst: dst.to_owned(), count, p50_ms: mean(|l| l.p50_ms), p95_ms: mean(|l| l.p95_ms), p99_ms: mean(|l| l.p99_ms) }
}

#[cfg(test)]
mod tests {
    use super::{super::exposition::parse, *};

    fn scrape(workload: &str, text: &str) -> Scrape {
        Scrape {
            workload: workload.to_owned(),
            namespace: "emojivoto".to_owned(),
            identity: format!("{workload}.id"),
            samples: parse(text),
            latencies: vec![Latency { dst: "voting".to_owned(), count: 5, p50_ms: 1.0, p95_ms: 2.0, p99_ms: 3.0 }],
        }
    }

    const OUT: &str = "request_total{direction=\"outbound\",tls=\"true\",server_id=\"voting.id\",dst_deployment=\"voting\"} 10\n\
        response_total{direction=\"outbound\",classification=\"success\",dst_deployment=\"voting\"} 9\n\
        response_total{direction=\"outbound\",classification=\"failure\",dst_deployment=\"voting\"} 1\n";

    #[test]
    fn an_edge_is_encrypted_only_where_both_ends_say_so() {
        let seen = "request_total{direction=\"inbound\",tls=\"true\",client_id=\"web.id\"} 10\n";
        let rows = edges(&[scrape("web", OUT), scrape("voting", seen)], 5.0);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].tls);
        assert_eq!((rows[0].success_rate, rows[0].rps, rows[0].p99_ms), (Some(0.9), 2.0, 3.0));

        for other in [
            "",
            "request_total{direction=\"inbound\",tls=\"no_identity\"} 10\n",
            "request_total{direction=\"inbound\",tls=\"true\",client_id=\"bot.id\"} 1\n",
        ] {
            assert!(!edges(&[scrape("web", OUT), scrape("voting", other)], 5.0)[0].tls, "{other}");
        }
        let plain = OUT.replace("tls=\"true\"", "tls=\"no_identity\"");
        assert!(!edges(&[scrape("web", &plain), scrape("voting", seen)], 5.0)[0].tls);
        let wrong = OUT.replace("voting.id", "emoji.id");
        assert!(!edges(&[scrape("web", &wrong), scrape("voting", seen)], 5.0)[0].tls);
    }
}
