//! What a workload counts, under the names that `mesh stat` and the dashboards know, and the admin server that tells them.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use meshkit_core::{Endpoint, Identity, Outcome, SystemClock};
use meshkit_policy::{inbound::Denied, policy};
use meshkit_runtime::{
    admin::{Access, Admin, Readiness},
    metrics::{Counter, Family, LabelWriter, Quantiles, Registry, Unit},
    process,
};
use meshkit_tls::Store;
use tokio::{net::TcpListener, time::Instant};

use crate::BoxError;

/// The families of one workload. Clones share them.
#[derive(Clone)]
pub(crate) struct Telemetry {
    registry: Registry,
    requests: Family<Labels, Counter>,
    responses: Family<Labels, Counter>,
    denied: Family<Labels, Counter>,
    latency: Family<Labels, Quantiles>,
}

/// What is counted about one peer: made with its connection or endpoint, so that a request looks nothing up.
#[derive(Clone)]
pub(crate) struct Peer {
    requests: Arc<Counter>,
    successes: Arc<Counter>,
    failures: Arc<Counter>,
    latency: Option<Arc<Quantiles>>,
}

/// Counts the requests of one client that the policy refuses.
#[derive(Clone)]
pub(crate) struct Denials {
    families: Family<Labels, Counter>,
    client: Labels,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels(Vec<(String, String)>);

impl meshkit_runtime::metrics::Labels for Labels {
    fn write(&self, out: &mut LabelWriter<'_>) {
        self.0.iter().for_each(|(key, value)| out.pair(key, value));
    }
}

impl Labels {
    fn new<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn and(&self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let mut pairs = self.0.clone();
        pairs.push((key.into(), value.into()));
        Self(pairs)
    }

    /// Who proved to be the client of a connection.
    fn client(id: Option<&Identity>) -> Self {
        Self::new([("direction", "inbound"), ("tls", "true"), ("client_id", id.map_or("", Identity::as_str))])
    }
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        let registry = Registry::new(Duration::from_secs(600));
        process::register(&registry, Arc::new(SystemClock));
        let legacy = registry.legacy();
        Self {
            requests: legacy.counter_family("request_total", "HTTP requests"),
            responses: legacy.counter_family("response_total", "HTTP responses"),
            denied: legacy.counter_family("inbound_http_authz_deny_total", "HTTP requests that no authorization allowed"),
            latency: registry.open().prefix("mesh").quantiles_family("edge_latency", "Latency of the calls to a workload"),
            registry,
        }
    }

    /// Handles for the requests that one client sends us.
    pub(crate) fn client(&self, id: Option<&Identity>) -> Peer {
        self.peer(&Labels::client(id), None)
    }

    /// Handles for the requests that we send to one endpoint.
    pub(crate) fn server(&self, endpoint: &Endpoint) -> Peer {
        let mut labels = Labels::new([("direction", "outbound"), ("target_addr", &endpoint.addr.to_string())]);
        labels = match &endpoint.tls {
            Some(server) => labels.and("tls", "true").and("server_id", server.identity.as_str()),
            None => labels.and("tls", "no_identity"),
        };
        for (key, value) in endpoint.labels.iter() {
            labels = labels.and(format!("dst_{key}"), value);
        }
        let workload = endpoint.labels.get("deployment");
        let latency = workload.map(|workload| self.latency.handle(&Labels::new([("dst", workload)])));
        self.peer(&labels, latency)
    }

    fn peer(&self, labels: &Labels, latency: Option<Arc<Quantiles>>) -> Peer {
        let responses = |class| self.responses.handle(&labels.and("classification", class));
        Peer { requests: self.requests.handle(labels), successes: responses("success"), failures: responses("failure"), latency }
    }

    pub(crate) fn denials(&self, client: Option<&Identity>) -> Denials {
        Denials { families: self.denied.clone(), client: Labels::client(client) }
    }

    /// Serves `/metrics`, `/ready` and the rest at a free port.
    pub(crate) async fn admin(&self, store: &Store) -> Result<SocketAddr, BoxError> {
        let seconds = self.registry.open().prefix("control_identity").unit(Unit::Seconds);
        let expires = seconds.float_gauge("cert_expiration_timestamp", "When the certificate ends, as a Unix time");
        if let Some(credentials) = store.snapshot().credentials() {
            expires.set(credentials.not_after().duration_since(UNIX_EPOCH)?.as_secs_f64());
        }
        let latency = self.latency.clone();
        let edges = move |_| std::future::ready(Response::new(Full::new(Bytes::from(edges(&latency).to_string()))));
        let admin = Admin::new(Readiness::new(), self.registry.clone()).route("/edges.json", Access::Anyone, edges);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        tokio::spawn(admin.serve(listener));
        Ok(addr)
    }
}

/// The quantiles per called workload, as `mesh stat` asks for them.
fn edges(latency: &Family<Labels, Quantiles>) -> serde_json::Value {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let row = |(Labels(labels), quantiles): (Labels, Arc<Quantiles>)| {
        let seen = quantiles.snapshot();
        let (p50, p95, p99) = (millis(seen.p50), millis(seen.p95), millis(seen.p99));
        serde_json::json!({"dst": labels[0].1, "count": seen.count, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99})
    };
    latency.series().into_iter().map(row).collect()
}

impl Peer {
    /// Counts a request and what comes of it. The outcome is that of the response's head, which is enough where there is no gRPC.
    pub(crate) async fn follow<B, E>(self, response: impl Future<Output = Result<Response<B>, E>>) -> Result<Response<B>, E> {
        self.requests.incr();
        let started = Instant::now();
        let response = response.await;
        let outcome = response.as_ref().map_or(Outcome::Failure, |response| Outcome::of_status(response.status()));
        if outcome.is_failure() {
            self.failures.incr()
        } else {
            self.successes.incr()
        }
        if let Some(latency) = &self.latency {
            latency.record(started.elapsed());
        }
        response
    }
}

impl policy::Observe for Denials {
    fn denied(&self, denied: &Denied) {
        self.families.handle(&self.client.and("srv_kind", denied.server().kind()).and("srv_name", denied.server().name())).incr();
    }
}
