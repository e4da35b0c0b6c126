use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Version, header::HOST};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use meshkit_core::{Cause, Error};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower::{Service, ServiceExt as _};

use super::NotSent;
use crate::{
    Body, edge,
    normalize::{AbsoluteForm, origin_form},
};

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Connections that are kept while nobody uses them. Default 10,000.
    pub max_idle_count: usize,
    /// How long they are kept. Default 3 s.
    pub idle_timeout: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { max_idle_count: 10_000, idle_timeout: Duration::from_secs(3) }
    }
}

/// HTTP/1 connections to one endpoint: as many as there are requests at a time, kept for a while. Clones share them.
///
/// A request of HTTP/1.0, or without `Host`, gets a connection of its own. Connections that begin with an upgrade leave the pool.
#[derive(Debug)]
pub struct Pool<C> {
    connect: C,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: PoolSettings,
    idle: Mutex<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    send: SendRequest<Body>,
    since: Instant,
}

impl<C> Pool<C> {
    /// An empty pool over what `connect` yields.
    #[must_use]
    pub fn new(connect: C, settings: PoolSettings) -> Self {
        Self { connect, shared: Arc::new(Shared { settings, idle: Mutex::new(VecDeque::new()) }) }
    }
}

impl<C: Clone> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { connect: self.connect.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl Shared {
    /// The connection that was used last: the others get a chance to grow old.
    fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while idle.front().is_some_and(|i| now.saturating_duration_since(i.since) > self.settings.idle_timeout || i.send.is_closed()) {
            idle.pop_front();
        }
        while let Some(candidate) = idle.pop_back() {
            if candidate.send.is_ready() {
                return Some(candidate.send);
            }
        }
        None
    }

    fn put(&self, send: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.settings.max_idle_count {
            idle.push_back(Idle { send, since: Instant::now() });
        }
    }
}

impl<C, I> Service<Request<Body>> for Pool<C>
where
    C: Service<(), Response = I, Error = Error> + Clone + Send + 'static,
    C::Future: Send,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let pooled = request.version() == Version::HTTP_11 && request.headers().get(HOST).is_some_and(|host| !host.is_empty());
        let absolute = request.extensions().get::<AbsoluteForm>().is_some();
        if !absolute && request.method() != http::Method::CONNECT {
            let uri = std::mem::take(request.uri_mut());
            *request.uri_mut() = origin_form(uri);
        }
        let (connect, shared) = (self.connect.clone(), Arc::clone(&self.shared));
        Box::pin(async move {
            if pooled && let Some(send) = shared.take() {
                match exchange(send, request, Some(Arc::clone(&shared))).await {
                    Ok(response) => return Ok(response),
                    // The server closed the connection while it was idle, before a byte was sent: a fresh one is tried once.
                    Err((_, Some(unsent))) => request = unsent,
                    Err((error, None)) => return Err(error),
                }
            }
            let io = connect.oneshot(()).await?;
            let (send, connection) = Builder::new().handshake(TokioIo::new(io)).await.map_err(edge::classify)?;
            tokio::spawn(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "HTTP/1 connection ended");
                }
            });
            exchange(send, request, pooled.then_some(shared)).await.map_err(|(error, _)| error)
        })
    }
}

/// Sends one request. The connection returns to the pool once the response's body has been read, which is when it is ready again.
async fn exchange(
    mut send: SendRequest<Body>,
    request: Request<Body>,
    pool: Option<Arc<Shared>>,
) -> Result<Response<Body>, (Error, Option<Request<Body>>)> {
    if let Err(error) = send.ready().await {
        return Err((edge::classify(error), Some(request)));
    }
    match send.try_send_request(request).await {
        Ok(response) => {
            if let Some(pool) = pool {
                // Often the connection is ready at once; else the task ends with the body or with the connection.
                if send.is_ready() {
                    pool.put(send);
                } else {
                    tokio::spawn(async move {
                        if send.ready().await.is_ok() {
                            pool.put(send);
                        }
                    });
                }
            }
            Ok(response.map(Body::from))
        }
        Err(mut failed) => {
            let unsent = failed.take_message();
            let error = failed.into_error();
            let error = match unsent.is_some() {
                true => Error::new(Cause::Io).message(error.to_string()).caused_by(NotSent),
                false => edge::classify(error),
            };
            Err((error, unsent))
        }
    }
}
