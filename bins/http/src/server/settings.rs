use std::{fmt, sync::Arc, time::Duration};

use meshkit_core::{Error, endpoint::KeepAlive};

/// Limits and settings of a server's connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of all header names and values of a request. Default 64 KiB.
    pub max_header_bytes: usize,
    /// How the limit is named in the answer that refuses a request: the variable that sets it.
    pub max_header_setting: &'static str,
    /// How long a client may take to send a request's headers, from their first byte. Default 10 s. HTTP/1 only: on HTTP/2 a slow stream holds
    /// nobody up. Idle connections are not limited.
    pub header_read_timeout: Duration,
    /// How that limit is named in the error of a connection that is cut off: the variable that sets it.
    pub header_read_setting: &'static str,
    /// Hears of requests that the server refuses before the service sees them.
    pub refusals: Refusals,
    /// What the end of a client's bytes means in the middle of a request. HTTP/1 only.
    pub client_end: ClientEnd,
    /// Settings of HTTP/2.
    pub http2: Http2,
}

/// Hears of requests that a server refuses by itself. The default is nobody.
#[derive(Clone, Default)]
pub struct Refusals(Option<Arc<Hear>>);

type Hear = dyn Fn(&Error) + Send + Sync;

/// What the end of a client's bytes means while its request is served. TCP does not tell the two apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It listens or it does not.
pub enum ClientEnd {
    /// It has said all and listens still: the answer is sent, and a client that went away is noticed by that.
    #[default]
    HalfClosed,
    /// It went away: the request is canceled.
    Gone,
}

/// Settings of HTTP/2 connections. `None` is the library's default.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// Bytes in flight on one stream. Default 65,535.
    pub stream_window: u32,
    /// Bytes in flight on the connection. Default 1 MiB.
    pub connection_window: u32,
    /// Let the windows follow the bandwidth-delay product instead.
    pub adaptive_window: bool,
    /// Pings that find a dead peer.
    pub keep_alive: Option<KeepAlive>,
    /// Streams open at the same time.
    pub max_concurrent_streams: Option<u32>,
    /// Largest frame accepted, in bytes.
    pub max_frame_size: Option<u32>,
    /// Bytes of a request's headers that the library takes, each header counted with 32 more. The default is well above
    /// [`Settings::max_header_bytes`], which answers; this one resets.
    pub max_header_list_size: Option<u32>,
    /// Streams that were reset before anybody accepted them.
    pub max_pending_accept_reset_streams: Option<usize>,
    /// Bytes buffered per stream while sending.
    pub max_send_buf_size: Option<usize>,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            stream_window: 65_535,
            connection_window: 1 << 20,
            adaptive_window: false,
            keep_alive: None,
            max_concurrent_streams: None,
            max_frame_size: None,
            max_header_list_size: None,
            max_pending_accept_reset_streams: None,
            max_send_buf_size: None,
        }
    }
}

impl Refusals {
    /// Calls `hear` with the error of each refusal.
    pub fn new(hear: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    pub(super) fn tell(&self, error: &Error) {
        if let Some(hear) = &self.0 {
            hear(error);
        }
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Refusals(heard)" } else { "Refusals(unheard)" })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_header_bytes: 64 << 10,
            max_header_setting: "MESH_PROXY_MAX_HEADER_BYTES",
            header_read_timeout: Duration::from_secs(10),
            header_read_setting: "MESH_PROXY_HEADER_READ_TIMEOUT",
            refusals: Refusals::default(),
            client_end: ClientEnd::default(),
            http2: Http2::default(),
        }
    }
}

impl Settings {
    /// Above our own limit, so that ours answers, and says which setting it is.
    pub(super) const fn library_limit(&self) -> usize {
        self.max_header_bytes.saturating_mul(2).saturating_add(64 << 10)
    }

    /// What ended a connection, down to its reason, and the setting that is behind it.
    #[must_use]
    pub fn explain(&self, error: &hyper::Error) -> String {
        let text = crate::edge::describe(error);
        match error.is_parse_too_large() {
            true => format!("{text}: headers exceed {} ({}), or are more than 100", self.max_header_setting, self.max_header_bytes),
            false => text,
        }
    }

    pub(super) fn http1(&self) -> hyper::server::conn::http1::Builder {
        let mut builder = hyper::server::conn::http1::Builder::new();
        // The library's limit on the time for headers counts idle time, too; ours is in the stream.
        builder.max_buf_size(self.library_limit()).half_close(self.client_end == ClientEnd::HalfClosed).header_read_timeout(None);
        builder
    }

    pub(super) fn http2<E>(&self, executor: E) -> hyper::server::conn::http2::Builder<E> {
        let mut builder = hyper::server::conn::http2::Builder::new(executor);
        let http2 = &self.http2;
        builder
            .timer(hyper_util::rt::TokioTimer::new())
            .max_header_list_size(http2.max_header_list_size.unwrap_or_else(|| u32::try_from(self.library_limit()).unwrap_or(u32::MAX)))
            .max_frame_size(http2.max_frame_size);
        if http2.adaptive_window {
            builder.adaptive_window(true);
        } else {
            builder.initial_stream_window_size(http2.stream_window).initial_connection_window_size(http2.connection_window);
        }
        if let Some(keep_alive) = http2.keep_alive {
            builder.keep_alive_interval(keep_alive.interval).keep_alive_timeout(keep_alive.timeout);
        }
        if let Some(count) = http2.max_concurrent_streams {
            builder.max_concurrent_streams(count);
        }
        if let Some(count) = http2.max_pending_accept_reset_streams {
            builder.max_pending_accept_reset_streams(count);
        }
        if let Some(size) = http2.max_send_buf_size {
            builder.max_send_buf_size(size);
        }
        builder
    }
}
