use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use http_body::Body as _;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use meshkit_core::{Cause, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{Service, ServiceExt as _};

use super::{
    Refused,
    idle::{IdleConnections, Lease, PoolSettings},
};
use crate::{
    Body, edge,
    normalize::{AbsoluteForm, origin_form},
    orig_proto,
};

/// HTTP/1 connections to one endpoint: as many as there are requests at a time, kept for a while. Clones share them.
///
/// A request of HTTP/1.0, or without `Host`, gets a connection of its own. Connections that begin with an upgrade leave the pool.
#[derive(Debug)]
pub struct Pool<C> {
    connect: C,
    idle: Arc<IdleConnections>,
}

impl<C> Pool<C> {
    /// An empty pool over what `connect` yields.
    #[must_use]
    pub fn new(connect: C, settings: PoolSettings) -> Self {
        Self { connect, idle: Arc::new(IdleConnections::new(settings)) }
    }
}

impl<C: Clone> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { connect: self.connect.clone(), idle: Arc::clone(&self.idle) }
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
        let upgrade = orig_proto::wants_upgrade(&request);
        set_form(&mut request);
        let (connect, idle) = (self.connect.clone(), Arc::clone(&self.idle));
        // What the library returns has no name, and this is the seam between an endpoint and its transport.
        Box::pin(async move {
            if pooled && let Some(send) = idle.take() {
                match exchange(send, request, Some(&idle)).await {
                    Ok(response) => return asked_for(response, upgrade),
                    // The server closed the connection while it was idle, before a byte was sent: a fresh one is tried once.
                    Err((_, Some(unsent))) => request = *unsent,
                    Err((error, None)) => return Err(error),
                }
            }
            let io = connect.oneshot(()).await?;
            let (send, connection) = Builder::new().handshake(TokioIo::new(io)).await.map_err(edge::classify)?;
            // It ends when its handle is dropped, or when the server goes away.
            tokio::spawn(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "HTTP/1 connection ended");
                }
            });
            let response = exchange(send, request, pooled.then_some(&idle)).await.map_err(|(error, _)| error)?;
            asked_for(response, upgrade)
        })
    }
}

/// A server gets the path only, a proxy that was asked as a proxy the whole target.
fn set_form(request: &mut Request<Body>) {
    if request.extensions().get::<AbsoluteForm>().is_some() {
        if !request.headers().contains_key(HOST)
            && let Some(host) = request.uri().authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok())
        {
            request.headers_mut().insert(HOST, host);
        }
    } else if request.method() != Method::CONNECT {
        let uri = std::mem::take(request.uri_mut());
        *request.uri_mut() = origin_form(uri);
    }
}

/// Nobody can follow a server that switches protocols on its own.
fn asked_for(response: Response<Body>, upgrade: bool) -> Result<Response<Body>, Error> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrade {
        return Err(Error::new(Cause::Io).message("the server switched protocols without being asked"));
    }
    Ok(response)
}

/// Sends one request. The connection returns to the pool with the end of the response's body, which is when it is free again.
async fn exchange(
    mut send: SendRequest<Body>,
    request: Request<Body>,
    idle: Option<&Arc<IdleConnections>>,
) -> Result<Response<Body>, (Error, Option<Box<Request<Body>>>)> {
    if let Err(error) = send.ready().await {
        return Err((edge::classify(error), Some(Box::new(request))));
    }
    match send.try_send_request(request).await {
        Ok(mut response) => {
            // Of two lengths the chunks count (RFC 9112, section 6.3), and nobody behind is to see the other.
            if response.headers().contains_key(TRANSFER_ENCODING) {
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            let Some(idle) = idle else { return Ok(response.map(Body::Incoming)) };
            let lease = Lease::new(send, Arc::clone(idle));
            Ok(response.map(|body| if body.is_end_stream() { Body::Incoming(body) } else { Body::Leased(body, lease) }))
        }
        Err(mut failed) => {
            let unsent = failed.take_message().map(Box::new);
            let error = failed.into_error();
            let error = match unsent {
                Some(_) => Error::new(Cause::Io).message(error.to_string()).caused_by(Refused(error)),
                None => edge::classify(error),
            };
            Err((error, unsent))
        }
    }
}
