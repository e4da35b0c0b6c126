use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use meshkit_core::{Cause, Error};
use pin_project::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::{Rate, Throttled, service::Trouble};

/// Response of a [`Faulty`](crate::Faulty) service. Dropping it cancels the request.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S: Service<R>, R> {
    #[pin]
    state: State<S, R, S::Future>,
    rate: Option<Rate>,
}

#[pin_project(project = StateProj)]
enum State<S, R, F> {
    Held {
        #[pin]
        sleep: Option<Sleep>,
        failure: Option<Cause>,
        send: Option<(S, R)>,
    },
    Sent {
        #[pin]
        response: F,
    },
}

impl<S: Service<R>, R> ResponseFuture<S, R> {
    pub(crate) fn sent(response: S::Future, rate: Option<Rate>) -> Self {
        Self { state: State::Sent { response }, rate }
    }

    pub(crate) fn held(trouble: Trouble, service: S, request: R) -> Self {
        let Trouble { delay, failure, rate } = trouble;
        Self { state: State::Held { sleep: delay.map(sleep), failure, send: Some((service, request)) }, rate }
    }
}

impl<S, R, RB> Future for ResponseFuture<S, R>
where
    S: Service<R, Response = Response<RB>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    RB: http_body::Body,
{
    type Output = Result<Response<Throttled<RB>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        loop {
            match state.as_mut().project() {
                StateProj::Held { sleep, failure, send } => {
                    if let Some(sleep) = sleep.as_pin_mut() {
                        ready!(sleep.poll(cx));
                    }
                    let (mut inner, request) = send.take().expect("polled after completion");
                    if let Some(cause) = failure.take() {
                        return Poll::Ready(Err(Error::new(cause)));
                    }
                    let response = inner.call(request);
                    state.set(State::Sent { response });
                }
                StateProj::Sent { response } => {
                    let response = ready!(response.poll(cx)).map_err(|e| Error::from_boxed(e.into()));
                    return Poll::Ready(response.map(|response| response.map(|body| Throttled::new(body, *this.rate))));
                }
            }
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("rate", &self.rate).finish_non_exhaustive()
    }
}
