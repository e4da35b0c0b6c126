use std::{
    error::Error as StdError,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::http::Response;
use meshkit_core::Error;
use pin_project::pin_project;

use super::Kind;

/// Response of a [`Filter`](super::Filter) service. Dropping it cancels the request.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<R, F> {
    #[pin]
    state: State<R, F>,
}

#[pin_project(project = StateProj)]
#[derive(Debug)]
enum State<R, F> {
    Refused(Option<Error>),
    Sent {
        #[pin]
        response: R,
        filters: Arc<[F]>,
    },
}

impl<R, F> ResponseFuture<R, F> {
    pub(super) const fn refused(error: Error) -> Self {
        Self { state: State::Refused(Some(error)) }
    }

    pub(super) const fn sent(response: R, filters: Arc<[F]>) -> Self {
        Self { state: State::Sent { response, filters } }
    }
}

impl<R, F, B, E> Future for ResponseFuture<R, F>
where
    R: Future<Output = Result<Response<B>, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
    F: Kind,
{
    type Output = Result<Response<B>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused(error) => Poll::Ready(Err(error.take().expect("polled after completion"))),
            StateProj::Sent { response, filters } => {
                let mut response = ready!(response.poll(cx)).map_err(|e| Error::from_boxed(e.into()))?;
                F::apply_response(filters, response.headers_mut());
                Poll::Ready(Ok(response))
            }
        }
    }
}
