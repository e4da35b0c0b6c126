//! One backend: connections to it, and requests over them.

use std::{
    io, mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use meshkit_core::{Cause, Endpoint, Error};
use meshkit_retry::NotSent;
use meshkit_tls::{Connector, Store, Tag, TlsIo};
use tokio::net::TcpStream;
use tower::Service;

use crate::BoxError;

/// Further ones are closed after their response.
const MAX_IDLE: usize = 64;

/// HTTP/1 to one backend, over mutual TLS where the endpoint has an identity. Clones share the idle connections.
pub(crate) struct Http1<B> {
    endpoint: Arc<Endpoint>,
    tls: Option<Connector>,
    idle: Arc<Mutex<Vec<SendRequest<B>>>>,
}

impl<B> Http1<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    pub(crate) fn new(endpoint: Arc<Endpoint>, store: Option<&Store>) -> Self {
        let tls = endpoint.tls.clone().zip(store).map(|(server, store)| Connector::new(server, Tag::Plain, store.subscribe()));
        Self { endpoint, tls, idle: Arc::default() }
    }

    /// An idle connection that is still good, or a new one.
    async fn connection(&self) -> Result<SendRequest<B>, BoxError> {
        let mut idle = mem::take(&mut *self.lock());
        idle.retain(|connection| !connection.is_closed());
        let found = idle.iter().position(SendRequest::is_ready).map(|place| idle.swap_remove(place));
        self.lock().append(&mut idle);
        match found {
            Some(connection) => Ok(connection),
            None => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<SendRequest<B>, BoxError> {
        let tcp = TcpStream::connect(self.endpoint.addr).await?;
        tcp.set_nodelay(true)?;
        let io = match (&self.tls, &self.endpoint.tls) {
            (Some(tls), _) => tls.connect(tcp, None).await?,
            (None, None) => TlsIo::Plain(tcp),
            // Never in plaintext what was meant to be encrypted.
            (None, Some(server)) => return Err(io::Error::other(format!("no credentials for {}", server.identity)).into()),
        };
        let (send, connection) = handshake(TokioIo::new(io)).await?;
        // It ends with its handle, or when the backend hangs up.
        tokio::spawn(connection);
        Ok(send)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<B>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(self, request: Request<B>) -> Result<Response<Incoming>, Error> {
        let place = |error: Error| error.within(format!("backend {}", self.endpoint.addr));
        // Nothing was sent: the retry may give the request to another backend, whatever its method.
        let refused = |error: BoxError| place(Error::new(Cause::Io).message(error.to_string()).caused_by(NotSent));
        let mut connection = self.connection().await.map_err(refused)?;
        let response = connection.send_request(request).await.map_err(|error| place(Error::new(Cause::Io).caused_by(error)))?;
        // It is ready again when the body has been read, which whoever wants it next will see.
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        drop(idle);
        Ok(response)
    }
}

impl<B> Service<Request<B>> for Http1<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl<B> Clone for Http1<B> {
    fn clone(&self) -> Self {
        Self { endpoint: Arc::clone(&self.endpoint), tls: self.tls.clone(), idle: Arc::clone(&self.idle) }
    }
}
