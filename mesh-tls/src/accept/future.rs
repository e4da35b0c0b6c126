use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use meshkit_core::{Cause, Error};
use pin_project::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};
use tower_service::Service;

use super::{Accepted, Handshake};
use crate::{
    HandshakeError,
    error::{Peer, Reason},
};

/// Response of an [`Accept`](super::Accept) service. Dropping it drops the connection.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S, I, F> {
    #[pin]
    state: State<S, I, F>,
}

#[pin_project(project = StateProj)]
enum State<S, I, F> {
    Refused {
        error: Option<HandshakeError>,
    },
    Shaking {
        handshake: Handshake<I>,
        /// The instance that was polled ready.
        ready: Option<S>,
        #[pin]
        sleep: Sleep,
        limit: Duration,
    },
    Serving {
        #[pin]
        response: F,
    },
}

impl<S, I, F> ResponseFuture<S, I, F> {
    pub(super) const fn refused(error: HandshakeError) -> Self {
        Self { state: State::Refused { error: Some(error) } }
    }

    pub(super) fn shaking(handshake: Handshake<I>, ready: S, limit: Duration) -> Self {
        Self { state: State::Shaking { handshake, ready: Some(ready), sleep: tokio::time::sleep(limit), limit } }
    }
}

impl<S, I> Future for ResponseFuture<S, I, S::Future>
where
    S: Service<Accepted<I>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    I: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<S::Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Refused { error } => {
                    let error = error.take().expect("polled after completion");
                    return Poll::Ready(Err(failed(error)));
                }
                StateProj::Shaking { handshake, ready, sleep, limit } => match Pin::new(handshake).poll(cx) {
                    Poll::Ready(Ok(accepted)) => {
                        let mut inner = ready.take().expect("taken once, when the state ends");
                        let response = inner.call(accepted);
                        state.set(State::Serving { response });
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(error))),
                    Poll::Pending => {
                        ready!(sleep.poll(cx));
                        let elapsed = HandshakeError::new(Peer::Client, Reason::Elapsed(*limit));
                        let error = Error::new(Cause::DetectTimeout(*limit)).message("the TLS handshake timed out").caused_by(elapsed);
                        return Poll::Ready(Err(error));
                    }
                },
                StateProj::Serving { response } => return response.poll(cx).map_err(|error| Error::from_boxed(error.into())),
            }
        }
    }
}

fn failed(error: HandshakeError) -> Error {
    Error::new(Cause::Io).message("no mutual TLS with the client").caused_by(error)
}

impl<S, I, F> fmt::Debug for ResponseFuture<S, I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Refused { .. } => "refused",
            State::Shaking { .. } => "shaking hands",
            State::Serving { .. } => "serving",
        };
        f.debug_tuple("accept::ResponseFuture").field(&state).finish()
    }
}
