//! Serving one connection.

mod future;
mod settings;
mod slow_header;

use std::{fmt, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshkit_core::{Cause, Error, drain};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use tower::{Service, ServiceExt as _};

pub use settings::{ClientEnd, Http2, Refusals, Settings};
pub use slow_header::BodyEnd;

use self::slow_header::{Heads, Limit, SlowHeader, Switching};
use crate::{
    Body, BoxError,
    detect::Version,
    edge::{Client, Told},
    orig_proto,
};

/// Asks the server to close this connection once what is in flight is done. In the extensions of each request.
///
/// An [answer](Client::answer) that closes the connection asks by itself.
#[derive(Clone, Debug, Default)]
pub struct Close(Arc<Notify>);

/// Marks a response after which the server closes the connection, as [`Close::ask`] does: HTTP/1 says so, HTTP/2 sends GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing;

/// What is known of a connection by every request on it.
#[derive(Clone)]
struct Served<S> {
    service: S,
    close: Close,
    heads: Heads,
    limit: (usize, &'static str),
    refusals: Refusals,
}

impl Close {
    /// Asks.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

/// Serves a connection to its end. When the drain is signaled, what is in flight is finished and nothing new begins; the drain waits for that.
///
/// A service that fails answers nothing: HTTP/2 resets the stream, with the reason of the [`h2::Error`] beneath its error if there is one, and
/// HTTP/1 ends the connection.
///
/// # Errors
/// The client breaks the protocol or goes away in the middle of something.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn serve<I, S>(io: I, version: Version, service: S, settings: &Settings, drain: drain::Watch) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let limit = (settings.max_header_bytes, settings.max_header_setting);
    let served = Served { service, close: Close::default(), heads: Heads::default(), limit, refusals: settings.refusals.clone() };
    let (close, heads) = (served.close.clone(), served.heads.clone());
    match version {
        Version::Http1 => {
            let slow = Limit { time: settings.header_read_timeout, setting: settings.header_read_setting };
            let io = TokioIo::new(SlowHeader::new(io, slow, heads));
            let mut connection = pin!(settings.http1().serve_connection(io, served).with_upgrades());
            let mut signaled = pin!(drain.signaled());
            // The watch is held to the end, by whichever future or variable has it.
            let _held;
            tokio::select! {
                done = connection.as_mut() => return done,
                held = signaled.as_mut() => _held = held,
                () = close.0.notified() => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        Version::Http2 => {
            let mut connection = pin!(settings.http2(TokioExecutor::new()).serve_connection(TokioIo::new(io), served));
            let mut signaled = pin!(drain.signaled());
            let _held;
            tokio::select! {
                done = connection.as_mut() => return done,
                held = signaled.as_mut() => _held = held,
                () = close.0.notified() => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

impl<S> hyper::service::Service<Request<hyper::body::Incoming>> for Served<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = future::ResponseFuture<S>;

    fn call(&self, mut request: Request<hyper::body::Incoming>) -> Self::Future {
        let (body_end, switching) = self.after_head(&request);
        if let Some(refusal) = too_large(&request, self.limit, &self.refusals) {
            return future::ResponseFuture::refused(refusal, self.close.clone());
        }
        request.extensions_mut().insert(self.close.clone());
        // The library calls through a shared reference, and waits for nobody: a clone is polled ready and called.
        let request = request.map(|body| match body_end {
            Some(end) => Body::Received(body, end),
            None => Body::from(body),
        });
        future::ResponseFuture::sent(self.service.clone().oneshot(request), self.close.clone(), switching)
    }
}

impl<S> Served<S> {
    /// Tells the stream what follows the head of a request.
    fn after_head(&self, request: &Request<hyper::body::Incoming>) -> (Option<BodyEnd>, Option<Switching>) {
        if request.version() >= http::Version::HTTP_2 {
            return (None, None);
        }
        let bodyless = hyper::body::Body::is_end_stream(request.body());
        let upgrade = orig_proto::wants_upgrade(request);
        if bodyless && !upgrade {
            self.heads.read();
            return (None, None);
        }
        let end = self.heads.read_before_body();
        let tunnel = request.method() == http::Method::CONNECT;
        match (upgrade, bodyless) {
            (true, true) => (None, Some(Switching::new(self.heads.clone(), tunnel, Some(end)))),
            (true, false) => (Some(end), Some(Switching::new(self.heads.clone(), tunnel, None))),
            (false, _) => (Some(end), None),
        }
    }
}

fn too_large<B>(request: &Request<B>, (limit, setting): (usize, &'static str), refusals: &Refusals) -> Option<Response<Body>> {
    let size = header_bytes(request.headers()) + request.uri().path_and_query().map_or(0, |p| p.as_str().len());
    if size <= limit {
        return None;
    }
    let message = format!("request headers of {size} bytes exceed {setting} ({limit})");
    let error = Error::new(Cause::HeadersTooLarge).message(message.clone());
    refusals.tell(&error);
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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What comes out when `bytes` go in and nothing follows.
    fn feed(version: Version, bytes: &[u8]) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let (mut client, io) = tokio::io::duplex(1 << 20);
            let (_signal, watch) = drain::channel();
            let echo = tower::service_fn(async |request: Request<Body>| Ok::<_, Infallible>(Response::new(request.into_body())));
            let settings = Settings::default();
            client.write_all(bytes).await.unwrap();
            client.shutdown().await.unwrap();
            let served = tokio::time::timeout(Duration::from_secs(60), serve(io, version, echo, &settings, watch)).await;
            assert!(served.is_ok(), "a connection ends with its client");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        })
    }

    #[test]
    fn a_request_is_answered_after_the_client_has_said_all() {
        let answer = feed(Version::Http1, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK") && answer.ends_with(b"hi"));
    }

    #[test]
    fn a_connection_is_small_enough_to_be_kept_idle() {
        let (_client, io) = tokio::io::duplex(1);
        let (_signal, watch) = drain::channel();
        let nobody = tower::service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::Empty)));
        let settings = Settings::default();
        let size = size_of_val(&serve(io, Version::Http1, nobody, &settings, watch));
        assert!(size <= 4 << 10, "{size}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_break_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            feed(Version::Http1, &bytes);
            feed(Version::Http1, &[b"GET / HTTP/1.1\r\n", &*bytes].concat());
            feed(Version::Http2, &bytes);
            feed(Version::Http2, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &*bytes].concat());
        }
    }
}
