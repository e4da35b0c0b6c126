use std::{
    error::Error as StdError,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use meshkit_core::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::{AcceptLayer, Accepted, Handshake, ResponseFuture};
use crate::error::{HandshakeError, Peer, Reason};

/// Shakes hands with clients, then hands their connections on as [`Accepted`].
///
/// Fails with a [`meshkit_core::Error`]: [`Cause::Io`](meshkit_core::Cause::Io) with a [`HandshakeError`](crate::HandshakeError) beneath if the
/// handshake fails or there are no credentials yet, [`Cause::DetectTimeout`](meshkit_core::Cause::DetectTimeout) if it takes too long. An
/// error of the inner service keeps its cause.
#[derive(Clone, Debug)]
pub struct Accept<S> {
    pub(super) inner: S,
    pub(super) layer: AcceptLayer,
}

impl<S, I> Service<I> for Accept<S>
where
    S: Service<Accepted<I>> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    I: AsyncRead + AsyncWrite + Unpin,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ResponseFuture<S, I, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|error| Error::from_boxed(error.into()))
    }

    fn call(&mut self, io: I) -> Self::Future {
        // One snapshot for the handshake. The guard is dropped before anything else runs.
        let snapshot = Arc::clone(&self.layer.snapshots.borrow());
        let config = match snapshot.server(self.layer.tag) {
            Ok(config) => config,
            Err(_) if snapshot.credentials().is_none() => {
                return ResponseFuture::refused(HandshakeError::new(Peer::Client, Reason::NoCredentials));
            }
            Err(error) => return ResponseFuture::refused(HandshakeError::from_rustls(Peer::Client, error)),
        };
        // The spare has not been polled ready. It stays behind for the next connection; the instance that was ready waits for this one.
        let spare = self.inner.clone();
        let ready = mem::replace(&mut self.inner, spare);
        ResponseFuture::shaking(Handshake::new(io, config), ready, self.layer.limit)
    }
}
