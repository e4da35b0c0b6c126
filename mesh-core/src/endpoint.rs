//! An address, and what discovery knows about reaching it.

use std::{collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroU16, sync::Arc, time::Duration};

use crate::{Authority, Identity};

/// Metric and tap labels of an endpoint, without a prefix: `pod`, `deployment`, `zone`, ...
///
/// Shared, because every connection and every metric handle of the endpoint carries them.
pub type Labels = Arc<BTreeMap<String, String>>;

/// The weight of an endpoint that says nothing else.
pub const DEFAULT_WEIGHT: u32 = 10_000;

/// One replica of a service. Its address is its key: two endpoints of one set never share it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Who must answer there; `None` means plaintext.
    pub tls: Option<ServerTls>,
    /// What it speaks, as far as discovery knows.
    pub protocol: ProtocolHint,
    /// The port of its proxy that takes a transport header, for what cannot be detected there.
    pub tagged_port: Option<NonZeroU16>,
    /// Replaces the request's authority: the endpoint is a gateway to this name.
    pub authority_override: Option<Authority>,
    /// Relative share of traffic among ready endpoints, [`DEFAULT_WEIGHT`] unless said otherwise. Zero takes none.
    pub weight: u32,
    /// Whether it stands in the client's zone.
    pub locality: Locality,
    /// Settings for HTTP/2 connections to it.
    pub http2: Http2,
    /// What its metrics and taps are labelled with.
    pub labels: Labels,
}

/// The identity that a server must prove, and the name to ask for in the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// Must be among the names of the server's certificate.
    pub identity: Identity,
    /// Sent as SNI; a mesh proxy terminates TLS only for its own name.
    pub server_name: Arc<str>,
}

impl ServerTls {
    /// A server that is asked for by the very name that it must prove.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let server_name = identity.as_str().into();
        Self { identity, server_name }
    }
}

/// What an endpoint is known to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolHint {
    /// Nothing is known: forward what comes, as it comes.
    #[default]
    Unknown,
    /// A mesh proxy that takes HTTP/1 inside HTTP/2.
    Http2,
    /// A mesh proxy in front of bytes that are not to be looked at.
    Opaque,
}

/// Whether an endpoint stands in the zone of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The API knows these three.
pub enum Locality {
    /// One of the two zones is not known.
    #[default]
    Unknown,
    /// The same zone.
    Local,
    /// Another zone.
    Remote,
}

/// HTTP/2 client settings that discovery may set; `None` leaves the proxy's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Http2 {
    /// Bytes in flight on the whole connection.
    pub connection_window: Option<u32>,
    /// Bytes in flight on one stream.
    pub stream_window: Option<u32>,
    /// Let the windows follow the bandwidth-delay product.
    pub adaptive_window: bool,
    /// How often an idle connection is pinged, and how long the answer may take.
    pub keep_alive: Option<KeepAlive>,
    /// Resets remembered per connection.
    pub max_concurrent_reset_streams: Option<u32>,
    /// Largest frame accepted, in bytes.
    pub max_frame_size: Option<u32>,
    /// Bytes buffered per stream while sending.
    pub max_send_buf_size: Option<u32>,
}

/// Pings that find a dead peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeepAlive {
    /// Time between pings.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Also ping while no stream is open.
    pub while_idle: WhileIdle,
}

/// Whether an idle connection is pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // It is or it is not.
pub enum WhileIdle {
    /// Ping only while streams are open.
    Quiet,
    /// Ping always.
    Ping,
}

impl Endpoint {
    /// A plaintext endpoint of default weight about which nothing else is known.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            tls: None,
            protocol: ProtocolHint::Unknown,
            tagged_port: None,
            authority_override: None,
            weight: DEFAULT_WEIGHT,
            locality: Locality::Unknown,
            http2: Http2::default(),
            labels: Labels::default(),
        }
    }

    /// Requires mutual TLS with `identity`, asked for by the same name.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.tls = Some(ServerTls::new(identity));
        self
    }

    /// Says what the endpoint speaks.
    #[must_use]
    pub fn protocol(mut self, hint: ProtocolHint) -> Self {
        self.protocol = hint;
        self
    }

    /// Sets the port that takes a transport header.
    #[must_use]
    pub fn tagged_port(mut self, port: NonZeroU16) -> Self {
        self.tagged_port = Some(port);
        self
    }

    /// Sets the relative share of traffic.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets whether the endpoint stands in the client's zone.
    #[must_use]
    pub fn locality(mut self, locality: Locality) -> Self {
        self.locality = locality;
        self
    }

    /// Sets the metric labels.
    #[must_use]
    pub fn labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = Arc::new(labels);
        self
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("addr", &self.addr)
            .field("tls", &self.tls.as_ref().map(|t| t.identity.as_str()))
            .field("protocol", &self.protocol)
            .field("tagged_port", &self.tagged_port)
            .field("weight", &self.weight)
            .field("locality", &self.locality)
            .finish_non_exhaustive()
    }
}
