//! What the routes of a policy and their backends have done: `outbound_{http,grpc}_route_*`.

use std::sync::Arc;

use http::{Request, StatusCode};
use http_body::Body as _;
use meshkit_core::grpc::Code;
use meshkit_http::Body;
use meshkit_policy::Meta;
use meshkit_retry::Observe;
use meshkit_runtime::metrics::{CellKey, Cells, Counter, Family, Histogram, LabelWriter, Labels as WriteLabels, Registry, Unit};
use tokio::time::Instant;

use super::{
    Labels,
    exchange::{Clock, Count, Exchange, Sizes, Took},
    follow::Followed,
};

const ROUTE_SECONDS: &[f64] = &[0.05, 0.5, 1.0, 10.0];
const BACKEND_SECONDS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];
const FRAME_BYTES: &[f64] = &[128.0, 1024.0, 10_240.0];

/// What the requests of a route are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // There are families for these two.
pub enum Kind {
    /// Judged by their status.
    Http,
    /// Judged by their code.
    Grpc,
}

/// The families of routes and their backends, of one kind.
#[derive(Clone, Debug)]
pub struct RouteFamilies {
    kind: Kind,
    duration: Family<Labels, Histogram>,
    statuses: Family<Labels, Cells<Ended, Counter>>,
    request_frames: Family<Labels, Histogram>,
    limit_exceeded: Family<Labels, Counter>,
    overflow: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    successes: Family<Labels, Counter>,
    backend_requests: Family<Labels, Counter>,
    backend_duration: Family<Labels, Histogram>,
    backend_statuses: Family<Labels, Cells<Ended, Counter>>,
    backend_frames: Family<Labels, Histogram>,
}

/// The handles of one route.
#[derive(Debug)]
pub struct RouteHandle {
    kind: Kind,
    duration: Arc<Histogram>,
    statuses: Arc<Cells<Ended, Counter>>,
    frames: Arc<Histogram>,
    limit_exceeded: Arc<Counter>,
    overflow: Arc<Counter>,
    retries: Arc<Counter>,
    successes: Arc<Counter>,
}

/// The handles of one backend of one route.
#[derive(Debug)]
pub struct BackendHandle {
    kind: Kind,
    requests: Arc<Counter>,
    duration: Arc<Histogram>,
    statuses: Arc<Cells<Ended, Counter>>,
    frames: Arc<Histogram>,
}

/// How an exchange ended: the status of HTTP, or the code of gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    Http(Option<StatusCode>, &'static str),
    Grpc(Option<Code>, &'static str),
}

impl RouteFamilies {
    pub(super) fn register(registry: &Registry, kind: Kind) -> Self {
        let name = match kind {
            Kind::Http => "outbound_http_route",
            Kind::Grpc => "outbound_grpc_route",
        };
        let scope = registry.open().prefix(name);
        let (seconds, bytes) = (scope.clone().unit(Unit::Seconds), scope.clone().unit(Unit::Bytes));
        Self {
            kind,
            duration: seconds.histogram_family("request_duration", "From a request's start to its response's end", ROUTE_SECONDS),
            statuses: scope.counter_cells("request_statuses", "Ended exchanges of a route"),
            request_frames: bytes.histogram_family("request_frame_size", "Frames of data in requests", FRAME_BYTES),
            limit_exceeded: scope.counter_family("retry_limit_exceeded", "Retries that were due, and one too many"),
            overflow: scope.counter_family("retry_overflow", "Retries that were due, and that nothing was ready for"),
            retries: scope.counter_family("retry_requests", "Retries that were sent"),
            successes: scope.counter_family("retry_successes", "Retries whose responses were kept"),
            backend_requests: scope.counter_family("backend_requests", "Requests of a route sent to a backend"),
            backend_duration: seconds.histogram_family(
                "backend_response_duration",
                "From the end of a request to its response's end",
                BACKEND_SECONDS,
            ),
            backend_statuses: scope.counter_cells("backend_response_statuses", "Ended responses of a backend to a route's requests"),
            backend_frames: bytes.histogram_family("backend_response_frame_size", "Frames of data in responses", FRAME_BYTES),
        }
    }

    /// The handles of a route; the hostname is that of its requests, where they are told apart by it.
    #[must_use]
    pub fn route(&self, parent: &Meta, route: &Meta, hostname: &str) -> Arc<RouteHandle> {
        let labels = Labels::new(parent_labels(parent).into_iter().chain(route_labels(route)).chain([("hostname", hostname.to_owned())]));
        Arc::new(RouteHandle {
            kind: self.kind,
            duration: self.duration.handle(&labels),
            statuses: self.statuses.handle(&labels),
            frames: self.request_frames.handle(&labels),
            limit_exceeded: self.limit_exceeded.handle(&labels),
            overflow: self.overflow.handle(&labels),
            retries: self.retries.handle(&labels),
            successes: self.successes.handle(&labels),
        })
    }

    /// The handles of a backend, as a route uses it.
    #[must_use]
    pub fn backend(&self, parent: &Meta, route: &Meta, backend: &Meta) -> Arc<BackendHandle> {
        let labels = Labels::new(parent_labels(parent).into_iter().chain(route_labels(route)).chain(backend_labels(backend)));
        Arc::new(BackendHandle {
            kind: self.kind,
            requests: self.backend_requests.handle(&labels),
            duration: self.backend_duration.handle(&labels),
            statuses: self.backend_statuses.handle(&labels),
            frames: self.backend_frames.handle(&labels),
        })
    }
}

/// `parent_*`: what the traffic is meant for.
pub(crate) fn parent_labels(meta: &Meta) -> [(&'static str, String); 6] {
    resource(["parent_group", "parent_kind", "parent_namespace", "parent_name", "parent_port", "parent_section_name"], meta)
}

/// `backend_*`: where it goes.
pub(crate) fn backend_labels(meta: &Meta) -> [(&'static str, String); 6] {
    resource(["backend_group", "backend_kind", "backend_namespace", "backend_name", "backend_port", "backend_section_name"], meta)
}

/// `route_*`: what decides it.
pub(crate) fn route_labels(meta: &Meta) -> [(&'static str, String); 4] {
    let [group, kind, namespace, name, ..] = resource(["route_group", "route_kind", "route_namespace", "route_name", "", ""], meta);
    [group, kind, namespace, name]
}

fn resource(keys: [&'static str; 6], meta: &Meta) -> [(&'static str, String); 6] {
    let port = meta.port().map(|p| p.to_string()).unwrap_or_default();
    let text = |text: &str| text.to_owned();
    let values = [text(meta.group()), text(meta.kind()), text(meta.namespace()), text(meta.name()), port, text(meta.section())];
    let mut values = values.into_iter();
    keys.map(|key| (key, values.next().unwrap_or_default()))
}

impl RouteHandle {
    /// Begins with a request, whose frames are measured.
    pub fn request(self: &Arc<Self>, request: Request<Body>) -> (Request<Body>, Exchange<Arc<Self>>) {
        let exchange = Exchange::new(Arc::clone(self), Clock::Begun(Instant::now()));
        if request.body().is_end_stream() {
            return (request, exchange);
        }
        let sizes = Sizes(Arc::clone(&self.frames));
        (request.map(|body| Body::wrap(Followed::new(body, sizes))), exchange)
    }
}

impl BackendHandle {
    /// Begins with a request, the end of whose body is waited for.
    pub fn request(self: &Arc<Self>, request: Request<Body>) -> (Request<Body>, Exchange<Arc<Self>>) {
        self.requests.incr();
        let (clock, sending) = Clock::of(request.body());
        let exchange = Exchange::new(Arc::clone(self), clock);
        match sending {
            Some(sending) => (request.map(|body| Body::wrap(Followed::new(body, sending))), exchange),
            None => (request, exchange),
        }
    }
}

impl Count for Arc<RouteHandle> {
    fn frame(&self, _: usize) {}

    fn ended(&self, took: Took, status: Option<StatusCode>, code: Option<Code>, error: &'static str) {
        self.duration.record_secs(took.request);
        self.statuses.cell(&self.kind.ended(status, code, error)).incr();
    }
}

impl Count for Arc<BackendHandle> {
    fn frame(&self, len: usize) {
        self.frames.record(len as f64);
    }

    fn ended(&self, took: Took, status: Option<StatusCode>, code: Option<Code>, error: &'static str) {
        self.duration.record_secs(took.response);
        self.statuses.cell(&self.kind.ended(status, code, error)).incr();
    }
}

/// The route's retries.
impl Observe for RouteHandle {
    fn retry(&self, _: u32) {
        self.retries.incr();
    }
    fn limit_exceeded(&self) {
        self.limit_exceeded.incr();
    }
    fn overflow(&self) {
        self.overflow.incr();
    }
    fn success(&self) {
        self.successes.incr();
    }
}

impl Kind {
    const fn ended(self, status: Option<StatusCode>, code: Option<Code>, error: &'static str) -> Ended {
        match self {
            Self::Http => Ended::Http(status, error),
            Self::Grpc => Ended::Grpc(code, error),
        }
    }
}

impl WriteLabels for Ended {
    fn write(&self, out: &mut LabelWriter<'_>) {
        match self {
            Self::Http(Some(status), _) => out.pair("http_status", status.as_u16()),
            Self::Http(None, _) => out.pair("http_status", ""),
            Self::Grpc(code, _) => out.pair("grpc_status", code.unwrap_or(Code::UNKNOWN).name()),
        }
        let (Self::Http(_, error) | Self::Grpc(_, error)) = self;
        out.pair("error", error);
    }
}

impl CellKey for Ended {
    fn catch_all() -> Self {
        Self::Http(None, "UNKNOWN")
    }
}
