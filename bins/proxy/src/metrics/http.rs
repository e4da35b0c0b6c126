use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Response, StatusCode};
use http_body::Body as _;
use meshkit_core::{
    Error, Outcome,
    grpc::{self, Code},
};
use meshkit_http::Body;
use meshkit_runtime::metrics::{
    CellKey, Cells, Counter, Family, Histogram, LabelWriter, Labels as WriteLabels, Quantiles, Registry, Scope,
};
use tokio::time::Instant;

use super::{
    Failure, Labels,
    follow::{End, Followed, Listen},
};

/// Bounds of the latency histogram, in milliseconds.
pub(super) const LATENCY_MS: &[f64] = &[
    1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0,
    10000.0, 20000.0, 30000.0, 40000.0, 50000.0,
];

/// Workloads whose latencies are kept apart; further ones share the scrape's family only.
const MAX_EDGES: usize = 1024;

/// Requests and responses, at the endpoint's side.
#[derive(Clone, Debug)]
pub struct HttpFamilies {
    requests: Family<Labels, Counter>,
    responses: Family<Labels, Cells<ResponseKey, Counter>>,
    latency: Family<Labels, Cells<StatusKey, Histogram>>,
    edges: Family<Labels, Quantiles>,
    /// The edges by name, for those who want them as values instead of text.
    known: Arc<Mutex<BTreeMap<String, Arc<Quantiles>>>>,
}

/// The handles of one endpoint and peer.
#[derive(Clone, Debug)]
pub struct HttpHandle(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    requests: Arc<Counter>,
    responses: Arc<Cells<ResponseKey, Counter>>,
    latency: Option<Arc<Cells<StatusKey, Histogram>>>,
    edge: Option<Arc<Quantiles>>,
}

/// Whom an outbound edge leads to: the quantiles of its latency are kept by this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge(pub String);

/// What is known of a response at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponseKey {
    status: Option<StatusCode>,
    outcome: Outcome,
    code: Option<Code>,
    failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusKey(StatusCode);

impl HttpFamilies {
    /// The families of the data path, or those whose names begin with `prefix`.
    pub(super) fn register(registry: &Registry, prefix: Option<&str>) -> Self {
        let legacy = prefix.into_iter().fold(registry.legacy(), Scope::prefix);
        Self {
            requests: legacy.counter_family("request_total", "HTTP requests"),
            responses: legacy.counter_cells("response_total", "HTTP responses"),
            latency: legacy.histogram_cells("response_latency_ms", "Milliseconds from a request to its response's first data", LATENCY_MS),
            edges: registry.open().prefix("mesh").quantiles_family("edge_latency", "Latency of the calls to a workload, as quantiles"),
            known: Arc::default(),
        }
    }

    /// Whom this proxy calls and how long that takes, as JSON: `[{"dst", "count", "p50_ms", "p95_ms", "p99_ms"}]`.
    #[must_use]
    pub fn edges(&self) -> serde_json::Value {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let row = |(dst, quantiles): (&String, &Arc<Quantiles>)| {
            let s = quantiles.snapshot();
            serde_json::json!({"dst": dst, "count": s.count, "p50_ms": millis(s.p50), "p95_ms": millis(s.p95), "p99_ms": millis(s.p99)})
        };
        known.iter().map(row).collect()
    }

    fn edge(&self, Edge(dst): &Edge) -> Arc<Quantiles> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quantiles) = known.get(dst) {
            return Arc::clone(quantiles);
        }
        let quantiles = self.edges.handle(&Labels::new([("dst", dst.as_str())]));
        if known.len() < MAX_EDGES {
            known.insert(dst.clone(), Arc::clone(&quantiles));
        }
        quantiles
    }

    /// The handles for these labels.
    #[must_use]
    pub fn handle(&self, labels: &Labels, edge: Option<&Edge>) -> HttpHandle {
        HttpHandle(Arc::new(Handles {
            requests: self.requests.handle(labels),
            responses: self.responses.handle(labels),
            latency: Some(self.latency.handle(labels)),
            edge: edge.map(|edge| self.edge(edge)),
        }))
    }
}

impl HttpHandle {
    /// Handles that are in no scrape: for connections whose requests are counted by somebody else.
    pub(crate) fn nowhere() -> Self {
        Self::new(Arc::default(), Arc::new(Cells::empty(())), None)
    }

    pub(super) fn new(
        requests: Arc<Counter>,
        responses: Arc<Cells<ResponseKey, Counter>>,
        latency: Option<Arc<Cells<StatusKey, Histogram>>>,
    ) -> Self {
        Self(Arc::new(Handles { requests, responses, latency, edge: None }))
    }

    /// Counts a request that is sent now.
    #[must_use]
    pub fn request(&self) -> Instant {
        self.0.requests.incr();
        Instant::now()
    }

    /// Follows a response to its end. What it counts as is decided already, or by the protocol.
    #[must_use]
    pub fn response(&self, response: Response<Body>, since: Instant, decided: Option<Outcome>) -> Response<Body> {
        let status = response.status();
        let decided = decided.or_else(|| Outcome::of_head(status, response.headers()));
        let code = Code::from_headers(response.headers());
        let grpc = grpc::is_grpc(response.headers());
        let open = Open { handle: self.clone(), since, status, decided, code, grpc, first: None };
        if response.body().is_end_stream() {
            open.end(End::Plain);
            return response;
        }
        response.map(|body| Body::wrap(Followed::new(body, open)))
    }

    /// Counts a request that got no response.
    pub fn failed(&self, error: &Error) {
        let failure = Some(Failure::of(error));
        self.0.responses.cell(&ResponseKey { status: None, outcome: Outcome::Failure, code: None, failure }).incr();
    }
}

#[derive(Debug)]
struct Open {
    handle: HttpHandle,
    since: Instant,
    status: StatusCode,
    decided: Option<Outcome>,
    code: Option<Code>,
    grpc: bool,
    first: Option<Duration>,
}

impl Open {
    fn first_data(&mut self) {
        if self.first.is_none() {
            let latency = self.since.elapsed();
            self.first = Some(latency);
            if let Some(histogram) = &self.handle.0.latency {
                histogram.cell(&StatusKey(self.status)).record_millis(latency);
            }
            if let Some(edge) = &self.handle.0.edge {
                edge.record(latency);
            }
        }
    }
}

impl Listen for Open {
    fn data(&mut self, _: usize) {
        self.first_data();
    }

    fn end(mut self, end: End<'_>) {
        self.first_data();
        let code = self.code.or_else(|| end.trailers().and_then(Code::from_headers));
        let failure = end.failure();
        let outcome = match (failure, self.decided) {
            (Some(_), _) => Outcome::Failure,
            (None, Some(outcome)) => outcome,
            (None, None) => Outcome::of_trailers(end.trailers()),
        };
        let code = if self.grpc { code.or(Some(Code::UNKNOWN)) } else { code };
        self.handle.0.responses.cell(&ResponseKey { status: Some(self.status), outcome, code, failure }).incr();
    }
}

impl WriteLabels for ResponseKey {
    fn write(&self, out: &mut LabelWriter<'_>) {
        if let Some(status) = self.status {
            out.pair("status_code", status.as_u16());
        }
        out.pair("classification", if self.outcome.is_failure() { "failure" } else { "success" });
        match self.code {
            Some(code) => out.pair("grpc_status", code.get()),
            None => out.pair("grpc_status", ""),
        }
        match self.failure {
            Some(failure) => out.all(&failure),
            None => out.pair("error", ""),
        }
    }
}

impl CellKey for ResponseKey {
    fn catch_all() -> Self {
        Self { status: None, outcome: Outcome::Failure, code: None, failure: Some(Failure::Unknown) }
    }
}

impl WriteLabels for StatusKey {
    fn write(&self, out: &mut LabelWriter<'_>) {
        out.pair("status_code", self.0.as_u16());
    }
}

impl CellKey for StatusKey {
    fn catch_all() -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
