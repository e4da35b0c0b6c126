use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, Version};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use meshkit_core::{
    Cause, Error,
    endpoint::{Http2, WhileIdle},
};
use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{Service, ServiceExt as _};

use super::Refused;
use crate::{Body, edge};

/// Windows of a connection whose endpoint asks for nothing else.
const STREAM_WINDOW: u32 = 65_535;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Opens HTTP/2 connections: a service from the settings of an endpoint to a [`Connection`].
#[derive(Clone, Debug)]
pub struct Connect<C> {
    connect: C,
    settings: Http2,
}

/// A shared connection. Clones share it; it is closed when the last one is gone.
#[derive(Clone, Debug)]
pub struct Connection(SendRequest<Body>);

/// Response of a [`Connection`]. Dropping it resets the stream.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F>(#[pin] F);

impl<C> Connect<C> {
    /// Opens connections over what `connect` yields.
    #[must_use]
    pub const fn new(connect: C, settings: Http2) -> Self {
        Self { connect, settings }
    }
}

impl<C, I> Service<()> for Connect<C>
where
    C: Service<(), Response = I, Error = Error> + Clone + Send + 'static,
    C::Future: Send,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Response = Connection;
    type Error = Error;
    // Connection set-up, not the request path.
    type Future = Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let (connect, settings) = (self.connect.clone(), self.settings);
        Box::pin(async move {
            let io = connect.oneshot(()).await?;
            let (send, connection) = builder(&settings).handshake(TokioIo::new(io)).await.map_err(edge::classify)?;
            // It ends by itself when every handle is gone, or when the peer goes away.
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "HTTP/2 connection ended");
                }
            });
            Ok(Connection(send))
        })
    }
}

fn builder(settings: &Http2) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new());
    if settings.adaptive_window {
        builder.adaptive_window(true);
    } else {
        builder
            .initial_stream_window_size(settings.stream_window.unwrap_or(STREAM_WINDOW))
            .initial_connection_window_size(settings.connection_window.unwrap_or(CONNECTION_WINDOW));
    }
    if let Some(keep_alive) = settings.keep_alive {
        builder
            .keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout)
            .keep_alive_while_idle(keep_alive.while_idle == WhileIdle::Ping);
    }
    if let Some(count) = settings.max_concurrent_reset_streams {
        builder.max_concurrent_reset_streams(usize::try_from(count).unwrap_or(usize::MAX));
    }
    if let Some(size) = settings.max_frame_size {
        builder.max_frame_size(size);
    }
    if let Some(size) = settings.max_send_buf_size {
        builder.max_send_buf_size(usize::try_from(size).unwrap_or(usize::MAX));
    }
    builder
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture<Sending>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx).map_err(edge::classify)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.uri().authority().is_none() {
            // A target without an authority is legal, and the library takes it only from what claims to be HTTP/1.
            *request.version_mut() = Version::HTTP_11;
        }
        ResponseFuture(Sending(Box::pin(self.0.send_request(request))))
    }
}

/// What hyper returns has no name.
#[must_use = "futures do nothing unless polled"]
pub struct Sending(Pin<Box<dyn Future<Output = hyper::Result<Response<hyper::body::Incoming>>> + Send>>);

impl Future for Sending {
    type Output = hyper::Result<Response<hyper::body::Incoming>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<F: Future<Output = hyper::Result<Response<hyper::body::Incoming>>>> Future for ResponseFuture<F> {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.project().0.poll(cx)) {
            Ok(response) => Ok(response.map(Body::from)),
            Err(error) => Err(classify(error)),
        })
    }
}

/// A stream that the peer refused was not looked at (RFC 9113, section 8.7); nor was one that never left.
fn classify(error: hyper::Error) -> Error {
    if error.is_canceled() || edge::reset_reason(&error) == Some(h2::Reason::REFUSED_STREAM) {
        return Error::new(Cause::Io).message(error.to_string()).caused_by(Refused(error));
    }
    edge::classify(error)
}
