//! What a running local mesh does: `mesh viz stat`, and the rows of `mesh demo`.

pub mod edges;
pub mod exposition;
pub mod routes;
pub mod summary;

use std::path::Path;

use futures_util::future::join_all;

use self::{
    edges::{Latency, Scrape},
    summary::Summary,
};
use crate::{
    fetch,
    run::{Described, Description},
};

/// Asks every proxy of a run. One that does not answer is left out.
pub async fn scrape(description: &Description) -> Vec<Scrape> {
    join_all(description.replicas.iter().map(one)).await.into_iter().flatten().collect()
}

async fn one(replica: &Described) -> Option<Scrape> {
    let (metrics, edges) = tokio::join!(fetch::get(replica.admin, "/metrics"), fetch::get(replica.admin, "/edges.json"));
    let (_, metrics) = metrics.ok()?;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&edges.ok()?.1).ok()?;
    let latency = |row: &serde_json::Value| {
        let number = |key: &str| row.get(key).and_then(serde_json::Value::as_f64).unwrap_or_default();
        Some(Latency {
            dst: row.get("dst")?.as_str()?.to_owned(),
            count: row.get("count")?.as_u64()?,
            p50_ms: number("p50_ms"),
            p95_ms: number("p95_ms"),
            p99_ms: number("p99_ms"),
        })
    };
    Some(Scrape {
        workload: replica.workload.clone(),
        namespace: replica.namespace.clone(),
        identity: replica.identity.clone(),
        samples: exposition::parse(&metrics),
        latencies: rows.iter().filter_map(latency).collect(),
    })
}

/// The summary of the run whose state lies in `state`, since its proxies started.
///
/// # Errors
/// Nothing runs there.
pub async fn of_run(state: &Path) -> Result<Summary, String> {
    let description = Description::of_run(state)?;
    let scrapes = scrape(&description).await;
    Ok(Summary::of(&scrapes, uptime(&scrapes)))
}

fn uptime(scrapes: &[Scrape]) -> f64 {
    let samples = scrapes.iter().flat_map(|s| &s.samples).filter(|s| s.name == "process_uptime_seconds_total");
    samples.map(|s| s.value).fold(0.0, f64::max)
}
