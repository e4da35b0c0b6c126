//! One object, or one page, about a whole mesh.

use std::fmt;

use serde::Serialize;

use super::{
    edges::{Edge, Scrape, edges},
    routes::{Route, routes},
};

/// What a mesh did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Who called whom.
    pub edges: Vec<Edge>,
    /// How the routes of each workload fared.
    pub routes: Vec<Route>,
    /// Who was refused.
    pub denied: Vec<Denied>,
    /// Who proved to be whom, until when.
    pub certificates: Vec<Certificate>,
}

/// A client that was refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Denied {
    /// The workload that refused.
    pub dst: String,
    /// The server that refused.
    pub server: String,
    /// Who it was; empty for a client without an identity.
    pub client: String,
    /// How often.
    pub requests: u64,
}

/// A proxy's certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// The workload.
    pub workload: String,
    /// The identity.
    pub identity: String,
    /// Its end, as a Unix time.
    pub expires: u64,
}

impl Summary {
    /// The summary of what the proxies counted in `seconds`.
    #[must_use]
    pub fn of(scrapes: &[Scrape], seconds: f64) -> Self {
        let count = |value: f64| value.max(0.0).round() as u64;
        let (mut denied, mut certificates) = (Vec::new(), Vec::new());
        for scrape in scrapes {
            for sample in &scrape.samples {
                let label = |key: &str| sample.label(key).to_owned();
                match sample.name.as_str() {
                    "inbound_http_authz_deny_total" if sample.value > 0.0 => denied.push(Denied {
                        dst: scrape.workload.clone(),
                        server: label("srv_name"),
                        client: label("client_id"),
                        requests: count(sample.value),
                    }),
                    "control_identity_cert_expiration_timestamp_seconds" => certificates.push(Certificate {
                        workload: scrape.workload.clone(),
                        identity: scrape.identity.clone(),
                        expires: count(sample.value),
                    }),
                    _ => {}
                }
            }
        }
        Self { edges: edges(scrapes, seconds), routes: routes(scrapes), denied, certificates }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:<12} {:>8} {:>8} {:>9} {:>9} {:>9}  MTLS", "FROM", "TO", "SUCCESS", "RPS", "P50", "P95", "P99")?;
        for e in &self.edges {
            let success = e.success_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1}%", rate * 100.0));
            let tls = if e.tls { "yes" } else { "NO" };
            writeln!(
                f,
                "{:<12} {:<12} {:>8} {:>8.1} {:>7.1}ms {:>7.1}ms {:>7.1}ms  {tls}",
                e.src, e.dst, success, e.rps, e.p50_ms, e.p95_ms, e.p99_ms
            )?;
        }
        if !self.routes.is_empty() {
            let (workload, direction, parent, route) = ("WORKLOAD", "DIRECTION", "OF", "ROUTE");
            writeln!(f, "\n{workload:<12} {direction:<9} {parent:<18} {route:<22} {:>8} {:>8} {:>8}", "SUCCESS", "REQUESTS", "RETRIES")?;
            self.routes.iter().try_for_each(|route| writeln!(f, "{route}"))?;
        }
        for d in &self.denied {
            let client = if d.client.is_empty() { "a client without an identity" } else { &d.client };
            writeln!(f, "denied: {client} at {} ({}), {} times", d.dst, d.server, d.requests)?;
        }
        Ok(())
    }
}
