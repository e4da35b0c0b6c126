//! What both directions have: sockets, protocols, queues.

use std::time::Duration;

use meshkit_core::Backoff;

use crate::net::accept::SocketOptions;

/// How connections are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accept {
    /// Probes of silent peers, and how long sent bytes may stay unacknowledged: default the kernel's times.
    pub socket: SocketOptions,
    /// Connections that wait to be accepted: default unset, the system's.
    pub backlog: Option<u32>,
    /// How long a client may be silent before its protocol counts as unknown: default 10 s.
    pub detect_timeout: Duration,
    /// HTTP/2 towards clients.
    pub http2: Http2Server,
}

/// How connections are opened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Connect {
    /// Until a connection stands, with TLS and transport header: default 300 ms inbound, 1 s outbound.
    pub timeout: Duration,
    /// Probes of silent peers, and how long sent bytes may stay unacknowledged: default the kernel's times.
    pub socket: SocketOptions,
    /// Between attempts: default 100 ms to 10 s inbound, 100 ms to 60 s outbound, jitter 0.1.
    pub backoff: Backoff,
    /// Idle HTTP/1 connections.
    pub http1_pool: Http1Pool,
}

/// Idle HTTP/1 connections to one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // How many and how long.
pub struct Http1Pool {
    /// How many are kept: default 10000.
    pub max_idle: usize,
    /// How long each is kept: default 3 s.
    pub idle_timeout: Duration,
}

/// Requests or connections that wait for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // How many and how long.
pub struct Queue {
    /// How many wait: default 10000.
    pub capacity: usize,
    /// How long there may be no endpoint before all are refused at once: default 1 s inbound, 3 s outbound.
    pub failfast_timeout: Duration,
}

/// HTTP/2 towards servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Http2Client {
    /// Bytes in flight on a stream: default 65535.
    pub stream_window: u32,
    /// Bytes in flight on a connection: default 1048576.
    pub connection_window: u32,
}

/// HTTP/2 towards clients. What is unset is the HTTP library's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Http2Server {
    /// How many bytes may be in flight: default fixed, 65535 on a stream and 1048576 on a connection.
    pub flow_control: FlowControl,
    /// Probes of idle clients: default none.
    pub keep_alive: Option<KeepAlive>,
    /// Requests at once on one connection.
    pub max_concurrent_streams: Option<u32>,
    /// Bytes in one frame: 16384 to 16777215.
    pub max_frame_size: Option<u32>,
    /// Bytes in the header of one request.
    pub max_header_list_size: Option<u32>,
    /// Streams that a client reset before they were accepted.
    pub max_pending_accept_reset_streams: Option<usize>,
    /// Bytes that wait to be sent on one stream.
    pub max_send_buf_size: Option<usize>,
}

/// How many bytes may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // RFC 9113 section 5.2 knows windows; who sizes them is one or the other.
pub enum FlowControl {
    /// As many as the measured bandwidth asks for.
    Adaptive,
    /// Always as many.
    Fixed {
        /// On a stream.
        stream: u32,
        /// On a connection.
        connection: u32,
    },
}

/// Probes of idle peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // When and how long.
pub struct KeepAlive {
    /// Time without traffic until a probe.
    pub interval: Duration,
    /// Time without an answer until the connection is closed.
    pub timeout: Duration,
}

/// Bounds on what a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's header, beyond which it is answered with 431, at least 8192: default 65536, `MESH_PROXY_MAX_HEADER_BYTES`.
    pub max_header_bytes: usize,
    /// Until a request's header is complete: default 10 s, `MESH_PROXY_HEADER_READ_TIMEOUT`.
    pub header_read_timeout: Duration,
}

impl Default for Accept {
    fn default() -> Self {
        Self { socket: SocketOptions::default(), backlog: None, detect_timeout: Duration::from_secs(10), http2: Http2Server::default() }
    }
}

impl Default for Http1Pool {
    fn default() -> Self {
        Self { max_idle: 10_000, idle_timeout: Duration::from_secs(3) }
    }
}

impl Default for Http2Client {
    fn default() -> Self {
        Self { stream_window: 65_535, connection_window: 1_048_576 }
    }
}

impl Default for FlowControl {
    fn default() -> Self {
        Self::Fixed { stream: 65_535, connection: 1_048_576 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_header_bytes: 65_536, header_read_timeout: Duration::from_secs(10) }
    }
}

/// A backoff of 100 ms to `max`, jitter 0.1.
pub(super) fn backoff(max: Duration) -> Backoff {
    debug_assert!(max >= Duration::from_millis(100), "the callers' constants are 1, 10 and 60 s");
    Backoff::new(Duration::from_millis(100), max, 0.1).expect("100 ms to some seconds with a jitter of 0.1 is a backoff")
}
