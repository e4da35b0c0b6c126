//! Serving one connection.

use std::{convert::Infallible, fmt, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use meshkit_core::{Cause, Error, drain, endpoint::KeepAlive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use tower::{Service, ServiceExt as _};

use crate::{
    Body,
    detect::Version,
    edge::{Client, Told},
};

/// Limits and settings of a server's connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of all header names and values of a request.
    pub max_header_bytes: usize,
    /// How the limit is named in the answer that refuses a request: the variable that sets it.
    pub max_header_setting: &'static str,
    /// How long a client may take to send a request's headers. HTTP/1 only: on HTTP/2 a slow stream holds nobody up.
    pub header_read_timeout: Duration,
    /// Settings of HTTP/2.
    pub http2: Http2,
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
            max_pending_accept_reset_streams: None,
            max_send_buf_size: None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_header_bytes: 64 << 10,
            max_header_setting: "MESH_PROXY_MAX_HEADER_BYTES",
            header_read_timeout: Duration::from_secs(10),
            http2: Http2::default(),
        }
    }
}

/// Asks the server to close this connection once what is in flight is done. In the extensions of each request.
#[derive(Clone, Debug, Default)]
pub struct Close(Arc<Notify>);

impl Close {
    /// Asks.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

/// Serves a connection to its end. When the drain is signaled, what is in flight is finished and nothing new begins; the drain waits for that.
///
/// # Errors
/// The client breaks the protocol or goes away in the middle of something.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn serve<I, S>(io: I, version: Version, service: S, settings: &Settings, drain: drain::Watch) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let close = Close::default();
    let limit = (settings.max_header_bytes, settings.max_header_setting);
    let service = service_fn({
        let close = close.clone();
        move |mut request: Request<hyper::body::Incoming>| {
            let refused = too_large(&request, limit);
            request.extensions_mut().insert(close.clone());
            let service = service.clone();
            async move {
                match refused {
                    Some(response) => Ok::<_, Infallible>(response),
                    None => service.oneshot(request.map(Body::from)).await,
                }
            }
        }
    });
    // Above our own limit, so that ours answers, and says which setting it is.
    let library_limit = settings.max_header_bytes.saturating_mul(2).saturating_add(64 << 10);
    match version {
        Version::Http1 => {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(settings.header_read_timeout).max_buf_size(library_limit).half_close(true);
            let connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
            let mut connection = pin!(connection);
            let mut signaled = pin!(drain.signaled());
            tokio::select! {
                done = connection.as_mut() => return done,
                _held = signaled.as_mut() => {
                    connection.as_mut().graceful_shutdown();
                    return connection.await;
                }
                () = close.0.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _held = signaled;
            connection.await
        }
        Version::Http2 => {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let http2 = &settings.http2;
            builder
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(library_limit).unwrap_or(u32::MAX))
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
            let connection = builder.serve_connection(TokioIo::new(io), service);
            let mut connection = pin!(connection);
            let mut signaled = pin!(drain.signaled());
            tokio::select! {
                done = connection.as_mut() => return done,
                _held = signaled.as_mut() => {
                    connection.as_mut().graceful_shutdown();
                    return connection.await;
                }
                () = close.0.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _held = signaled;
            connection.await
        }
    }
}

fn too_large<B>(request: &Request<B>, (limit, setting): (usize, &'static str)) -> Option<Response<Body>> {
    let size = header_bytes(request.headers()) + request.uri().path_and_query().map_or(0, |p| p.as_str().len());
    if size <= limit {
        return None;
    }
    let message = format!("request headers of {size} bytes exceed {setting} ({limit})");
    let error = Error::new(Cause::HeadersTooLarge).message(message.clone());
    let mut response = Client::of(request, Told::Everything).answer(&error);
    let body = Bytes::from(message + "\n");
    response.headers_mut().insert(http::header::CONTENT_LENGTH, body.len().into());
    *response.body_mut() = Body::from(body);
    Some(response)
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1",
            Self::Http2 => "HTTP/2",
        })
    }
}
