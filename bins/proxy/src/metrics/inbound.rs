//! What inbound routes have done: `inbound_{http,grpc}_*`, for the requests that the policy let pass.

use std::sync::Arc;

use http::{Request, StatusCode};
use meshkit_core::grpc::Code;
use meshkit_http::Body;
use meshkit_policy::Meta;
use meshkit_runtime::metrics::{CellKey, Cells, Counter, Family, Histogram, LabelWriter, Labels as WriteLabels, Registry, Unit};

use super::{
    Kind, Labels,
    exchange::{Clock, Count, Exchange, Took},
    follow::Followed,
};

const REQUEST_SECONDS: &[f64] = &[0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];
const RESPONSE_SECONDS: &[f64] = &[0.05, 0.5, 1.0, 10.0];
const FRAME_BYTES: &[f64] = &[128.0, 1024.0, 10_240.0];

/// The families of inbound routes, of one kind.
#[derive(Clone, Debug)]
pub struct InboundFamilies {
    kind: Kind,
    requests: Family<Labels, Counter>,
    request_duration: Family<Labels, Histogram>,
    response_duration: Family<Labels, Histogram>,
    request_frames: Family<Labels, Histogram>,
    response_frames: Family<Labels, Histogram>,
    statuses: Family<Labels, Cells<Status, Counter>>,
}

/// The handles of one inbound route.
#[derive(Debug)]
pub struct InboundHandle {
    kind: Kind,
    requests: Arc<Counter>,
    request_duration: Arc<Histogram>,
    response_duration: Arc<Histogram>,
    request_frames: Arc<Histogram>,
    response_frames: Arc<Histogram>,
    statuses: Arc<Cells<Status, Counter>>,
}

/// The label `status`: a status, or a code; empty where there was neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status(Option<u16>);

impl InboundFamilies {
    pub(super) fn register(registry: &Registry, kind: Kind) -> Self {
        let name = match kind {
            Kind::Http => "inbound_http",
            Kind::Grpc => "inbound_grpc",
        };
        let scope = registry.open().prefix(name);
        let (seconds, bytes) = (scope.clone().unit(Unit::Seconds), scope.clone().unit(Unit::Bytes));
        Self {
            kind,
            requests: scope.counter_family("requests", "Requests that the policy let pass"),
            request_duration: seconds.histogram_family("request_duration", "From a request's start to its response's end", REQUEST_SECONDS),
            response_duration: seconds.histogram_family(
                "response_duration",
                "From a request's end to its response's end",
                RESPONSE_SECONDS,
            ),
            request_frames: bytes.histogram_family("request_frame_size", "Frames of data in requests", FRAME_BYTES),
            response_frames: bytes.histogram_family("response_frame_size", "Frames of data in responses", FRAME_BYTES),
            statuses: scope.counter_cells("statuses", "Ended exchanges"),
        }
    }

    /// The handles of a route of a server.
    #[must_use]
    pub fn handle(&self, server: &Meta, route: &Meta) -> Arc<InboundHandle> {
        let port = server.port().map(|p| p.to_string()).unwrap_or_default();
        let labels = Labels::new([
            ("parent_group", server.group()),
            ("parent_kind", server.kind()),
            ("parent_name", server.name()),
            ("parent_port", &port),
            ("route_group", route.group()),
            ("route_kind", route.kind()),
            ("route_name", route.name()),
        ]);
        Arc::new(InboundHandle {
            kind: self.kind,
            requests: self.requests.handle(&labels),
            request_duration: self.request_duration.handle(&labels),
            response_duration: self.response_duration.handle(&labels),
            request_frames: self.request_frames.handle(&labels),
            response_frames: self.response_frames.handle(&labels),
            statuses: self.statuses.handle(&labels),
        })
    }
}

impl InboundHandle {
    /// Begins with a request, whose frames are measured.
    pub fn request(self: &Arc<Self>, request: Request<Body>) -> (Request<Body>, Exchange<Arc<Self>>) {
        self.requests.incr();
        let (clock, sending) = Clock::of(request.body());
        let exchange = Exchange::new(Arc::clone(self), clock);
        match sending {
            Some(sending) => {
                let sending = sending.sizes(Arc::clone(&self.request_frames));
                (request.map(|body| Body::wrap(Followed::new(body, sending))), exchange)
            }
            None => (request, exchange),
        }
    }
}

impl Count for Arc<InboundHandle> {
    fn frame(&self, len: usize) {
        self.response_frames.record(len as f64);
    }

    fn ended(&self, took: Took, status: Option<StatusCode>, code: Option<Code>, _: &'static str) {
        self.request_duration.record_secs(took.request);
        self.response_duration.record_secs(took.response);
        let status = match self.kind {
            Kind::Http => status.map(|status| status.as_u16()),
            Kind::Grpc => code.map(|code| code.get().into()),
        };
        self.statuses.cell(&Status(status)).incr();
    }
}

impl WriteLabels for Status {
    fn write(&self, out: &mut LabelWriter<'_>) {
        match self.0 {
            Some(status) => out.pair("status", status),
            None => out.pair("status", ""),
        }
    }
}

impl CellKey for Status {
    fn catch_all() -> Self {
        Self(None)
    }
}
