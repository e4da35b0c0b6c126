use std::{
    error::Error as StdError,
    task::{Context, Poll},
};

use meshkit_core::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::{ConnectLayer, ResponseFuture, future::not_open};
use crate::TlsIo;

/// Opens connections with mutual TLS.
///
/// Fails with a [`meshkit_core::Error`]: [`Cause::Io`](meshkit_core::Cause::Io) with a [`HandshakeError`](crate::HandshakeError) beneath if the
/// handshake fails, [`Cause::ConnectTimeout`](meshkit_core::Cause::ConnectTimeout) if it all takes too long. An error of the inner service
/// keeps its cause if it has one, and else is an I/O error.
#[derive(Clone, Debug)]
pub struct Connect<S> {
    pub(super) inner: S,
    pub(super) layer: ConnectLayer,
}

impl<S, T> Service<T> for Connect<S>
where
    S: Service<T>,
    S::Response: AsyncRead + AsyncWrite + Unpin,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = TlsIo<S::Response>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(not_open)
    }

    fn call(&mut self, target: T) -> Self::Future {
        ResponseFuture::new(self.inner.call(target), self.layer.clone())
    }
}
