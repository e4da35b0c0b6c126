//! `io.linkerd.proxy.tap`: live requests, as a proxy sees them.

mod convert;
mod matches;
mod seen;
mod service;

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, time::Duration};

use http::{HeaderMap, Method, StatusCode};
use ipnet::IpNet;

pub use convert::{event, event_to, observe_to, read_observe};
pub use seen::Seen;
pub use service::{Events, Server, Tap, observe, server};

/// The most parts of a match. A larger one is refused: every request is held against it.
pub const MAX_PARTS: usize = 256;
/// The deepest match.
pub const MAX_DEPTH: usize = 16;

/// Which requests are to be told of, and how many.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs)] // The fields of the message.
pub struct Observe {
    /// How many requests: at least one.
    pub limit: u32,
    /// Which requests.
    pub matches: Match,
    /// Are headers and trailers told, too?
    pub headers: Headers,
}

/// Are headers told?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // They are or they are not.
pub enum Headers {
    /// Only what the events always hold.
    #[default]
    Hidden,
    /// All of them.
    Shown,
}

/// What a request must be like.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // A kind that is not known must be refused, and never pass for another.
pub enum Match {
    /// Like all of these; any request is, if there are none.
    All(Vec<Match>),
    /// Like one of these.
    Any(Vec<Match>),
    /// Unlike this.
    Not(Box<Match>),
    /// From there.
    Source(Tcp),
    /// To there.
    Destination(Tcp),
    /// To an endpoint with this label.
    DestinationLabel(String, String),
    /// By a route with this label.
    RouteLabel(String, String),
    /// With this scheme, `http` or `https`.
    Scheme(String),
    /// With this method.
    Method(Method),
    /// With an authority like this.
    Authority(Text),
    /// With a path like this.
    Path(Text),
}

/// Addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // An address has two parts.
pub enum Tcp {
    /// In this network.
    Net(IpNet),
    /// With a port from here to there.
    Ports(RangeInclusive<u16>),
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two of the message.
pub enum Text {
    /// This one.
    Exact(String),
    /// One that begins so.
    Prefix(String),
}

/// Labels of one side of a request.
pub type Labels = BTreeMap<String, String>;

/// Something that happened to a request.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs)] // The fields of the message.
pub struct Event {
    /// Who sent the request.
    pub source: SocketAddr,
    /// What is known of them.
    pub source_labels: Labels,
    /// Where it went.
    pub destination: SocketAddr,
    /// What is known of that.
    pub destination_labels: Labels,
    /// What is known of its route.
    pub route_labels: Labels,
    /// Which side of the proxy it was on.
    pub direction: Direction,
    /// The request.
    pub id: StreamId,
    /// What happened.
    pub what: What,
}

/// Which side of its proxy a request was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A proxy has two sides.
pub enum Direction {
    /// To the workload.
    Inbound,
    /// From the workload.
    Outbound,
}

/// Tells requests apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs)] // It is a pair.
pub struct StreamId {
    /// The one who observes.
    pub base: u32,
    /// The request.
    pub stream: u64,
}

/// What happened to a request.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums)] // A request, its response and its end.
pub enum What {
    /// It was sent.
    Request {
        /// How.
        method: Method,
        /// By which scheme.
        scheme: String,
        /// To which authority.
        authority: String,
        /// With which path, and query.
        path: String,
        /// Its headers, where they are shown.
        headers: HeaderMap,
    },
    /// Its response began.
    Response {
        /// After this time.
        since_request: Duration,
        /// With this status.
        status: StatusCode,
        /// With these headers, where they are shown.
        headers: HeaderMap,
    },
    /// It is over.
    End {
        /// After this time.
        since_request: Duration,
        /// This long after its response began.
        since_response: Duration,
        /// This long was the body of the response.
        bytes: u64,
        /// In this way.
        eos: Eos,
        /// With these trailers, where they are shown.
        trailers: HeaderMap,
    },
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two of the message, and neither.
pub enum Eos {
    /// As HTTP responses do.
    Ended,
    /// With this gRPC status.
    Grpc(u32),
    /// By a reset, with this code of HTTP/2.
    Reset(u32),
}
