use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use meshkit_core::{Cause, Error};
use pin_project::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::{Counts, Observe, Rate, Throttled, layer::Shared, service::Trouble};

/// Response of a [`Faulty`](crate::Faulty) service. Dropping it cancels the request.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S: Service<R>, R, O = Counts> {
    #[pin]
    state: State<S, R, S::Future>,
    rate: Option<Rate>,
    /// Who hears of trouble; nobody if there is none.
    shared: Option<Arc<Shared<O>>>,
}

#[pin_project(project = StateProj)]
enum State<S, R, F> {
    Held {
        #[pin]
        sleep: Option<Sleep>,
        then: Option<Then<S, R>>,
    },
    Sent {
        #[pin]
        response: F,
    },
}

/// What follows the wait.
enum Then<S, R> {
    Send(S, R),
    /// The request stays until it fails: a client can tell a body that was dropped from one that waits.
    Fail(Cause, R),
}

impl<S: Service<R>, R, O> ResponseFuture<S, R, O> {
    pub(crate) fn untroubled(response: S::Future) -> Self {
        Self { state: State::Sent { response }, rate: None, shared: None }
    }

    pub(crate) fn slow(response: S::Future, rate: Option<Rate>, shared: Arc<Shared<O>>) -> Self {
        Self { state: State::Sent { response }, rate, shared: Some(shared) }
    }

    pub(crate) fn held(service: S, request: R, trouble: Trouble, shared: Arc<Shared<O>>) -> Self {
        let Trouble { delay, failure, rate } = trouble;
        // A service that will not be called gives back now what it has reserved.
        let then = match failure {
            Some(cause) => Then::Fail(cause, request),
            None => Then::Send(service, request),
        };
        // A timer for no time at all takes a millisecond.
        let sleep = delay.filter(|length| !length.is_zero()).map(sleep);
        Self { state: State::Held { sleep, then: Some(then) }, rate, shared: Some(shared) }
    }
}

impl<S, R, RB, O> Future for ResponseFuture<S, R, O>
where
    S: Service<R, Response = Response<RB>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    RB: http_body::Body,
    O: Observe,
{
    type Output = Result<Response<Throttled<RB>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        let observe = this.shared.as_ref().map(|shared| &shared.observe);
        loop {
            match state.as_mut().project() {
                StateProj::Held { sleep, then } => {
                    if let Some(sleep) = sleep.as_pin_mut() {
                        ready!(sleep.poll(cx));
                    }
                    let response = match then.take().expect("polled after completion") {
                        Then::Send(mut service, request) => service.call(request),
                        Then::Fail(cause, _) => {
                            match (&cause, observe) {
                                (Cause::InjectedReset, Some(observe)) => observe.reset(),
                                (_, Some(observe)) => observe.aborted(),
                                (_, None) => {}
                            }
                            return Poll::Ready(Err(Error::new(cause)));
                        }
                    };
                    state.set(State::Sent { response });
                }
                StateProj::Sent { response } => {
                    let response = ready!(response.poll(cx)).map_err(|e| Error::from_boxed(e.into()))?;
                    if let (Some(_), Some(observe)) = (*this.rate, observe) {
                        observe.throttled();
                    }
                    return Poll::Ready(Ok(response.map(|body| Throttled::new(body, *this.rate))));
                }
            }
        }
    }
}

impl<S: Service<R>, R, O> fmt::Debug for ResponseFuture<S, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("rate", &self.rate).finish_non_exhaustive()
    }
}
