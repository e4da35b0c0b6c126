use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
};

use meshkit_core::Error;
use pin_project::pin_project;

/// Response of a [`Policy`](super::Policy) service. Dropping it cancels the request.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    state: State<F>,
}

#[pin_project(project = StateProj)]
#[derive(Debug)]
enum State<F> {
    Refused(Option<Error>),
    Sent(#[pin] F),
}

impl<F> ResponseFuture<F> {
    pub(super) const fn refused(error: Error) -> Self {
        Self { state: State::Refused(Some(error)) }
    }

    pub(super) const fn sent(response: F) -> Self {
        Self { state: State::Sent(response) }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused(error) => Poll::Ready(Err(error.take().expect("polled after completion"))),
            StateProj::Sent(response) => response.poll(cx).map_err(|e| Error::from_boxed(e.into())),
        }
    }
}
