use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower::{Service, util::Oneshot};

use super::{Close, Closing, slow_header::Switching};
use crate::{Body, BoxError};

/// Response of the service, watched for the wish to close the connection.
#[pin_project]
pub(super) struct ResponseFuture<S: Service<Request<Body>>> {
    #[pin]
    state: State<S>,
    close: Close,
    switching: Option<Switching>,
}

#[pin_project(project = StateProj)]
enum State<S: Service<Request<Body>>> {
    Sent(#[pin] Oneshot<S, Request<Body>>),
    Refused(Option<Response<Body>>),
}

impl<S: Service<Request<Body>>> ResponseFuture<S> {
    pub(super) const fn sent(response: Oneshot<S, Request<Body>>, close: Close, switching: Option<Switching>) -> Self {
        Self { state: State::Sent(response), close, switching }
    }

    pub(super) const fn refused(response: Response<Body>, close: Close) -> Self {
        Self { state: State::Refused(Some(response)), close, switching: None }
    }
}

impl<S> Future for ResponseFuture<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.state.project() {
            StateProj::Sent(response) => ready!(response.poll(cx)).map_err(Into::into)?,
            StateProj::Refused(response) => response.take().expect("polled after completion"),
        };
        if let Some(switching) = this.switching.take() {
            switching.answered(response.status());
        }
        if response.extensions().get::<Closing>().is_some() {
            this.close.ask();
        }
        Poll::Ready(Ok(response))
    }
}
