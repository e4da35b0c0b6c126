use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use meshkit_core::{Cause, Error};
use pin_project::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};

use super::{ConnectLayer, Handshake};
use crate::{
    HandshakeError, TlsIo,
    error::{Peer, Reason},
};

/// Response of a [`Connect`](super::Connect) service. Dropping it drops the connection.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F, I> {
    #[pin]
    state: State<F, I>,
    #[pin]
    sleep: Sleep,
    layer: ConnectLayer,
}

#[pin_project(project = StateProj)]
enum State<F, I> {
    Opening {
        #[pin]
        opening: F,
    },
    Shaking {
        handshake: Handshake<I>,
    },
}

impl<F, I> ResponseFuture<F, I> {
    pub(super) fn new(opening: F, layer: ConnectLayer) -> Self {
        Self { state: State::Opening { opening }, sleep: tokio::time::sleep(layer.limit), layer }
    }
}

impl<F, I, E> Future for ResponseFuture<F, I>
where
    F: Future<Output = Result<I, E>>,
    I: AsyncRead + AsyncWrite + Unpin,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = Result<TlsIo<I>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let shaking = match this.state.as_mut().project() {
                StateProj::Opening { opening } => match opening.poll(cx) {
                    Poll::Ready(Ok(io)) => Some(this.layer.connector.handshake(io, this.layer.header.clone())),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(not_open(error))),
                    Poll::Pending => None,
                },
                StateProj::Shaking { handshake } => match Pin::new(handshake).poll(cx) {
                    Poll::Ready(Ok(io)) => return Poll::Ready(Ok(io)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(Cause::Io, error))),
                    Poll::Pending => None,
                },
            };
            if let Some(handshake) = shaking {
                this.state.set(State::Shaking { handshake });
                continue;
            }
            // After the answer: one that came in time is not thrown away.
            let limit = this.layer.limit;
            let elapsed = || failed(Cause::ConnectTimeout(limit), HandshakeError::new(Peer::Server, Reason::Elapsed(limit)));
            return this.sleep.poll(cx).map(|()| Err(elapsed()));
        }
    }
}

fn failed(cause: Cause, error: HandshakeError) -> Error {
    let error_of = Error::new(cause.clone());
    if cause == Cause::Io { error_of.message("no mutual TLS with the server").caused_by(error) } else { error_of.caused_by(error) }
}

/// The inner service's error: a mesh error as it is, anything else as one of the connection.
pub(super) fn not_open(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => Error::new(Cause::Io).message("the connection cannot be opened").caused_by(other),
    }
}

impl<F, I> fmt::Debug for ResponseFuture<F, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("connect::ResponseFuture").field("layer", &self.layer).finish_non_exhaustive()
    }
}
