use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, Version, request::Parts};
use http_body::Body;
use meshkit_core::{Cause, Error, grpc::Code};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower_service::Service;

use super::{
    Judge, Observe, Verdict, is_retryable_error,
    layer::Shared,
    service::prepare,
    verdict::{like_response, verdict},
};
use crate::{Limits, NotSent, Params, PeekBody, Replay, ReplayBody, Replayable, marker::carries, timeout::Limit};

type Outcome<RB> = Result<Response<PeekBody<RB>>, Error>;

/// Response of a [`Retry`](super::Retry) service. Dropping it cancels the request.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S, B, RB, J, O>
where
    S: Service<Request<ReplayBody<B>>>,
    RB: Body,
{
    #[pin]
    state: State<S::Future, RB>,
    again: Option<Again<S, B, J, O>>,
    #[pin]
    deadline: Option<Sleep>,
    limit: Option<Limit>,
}

#[pin_project(project = StateProj)]
enum State<F, RB: Body> {
    Waiting {
        #[pin]
        response: F,
    },
    Peeking {
        response: Option<Response<PeekBody<RB>>>,
    },
    /// Nothing of the last try is left but its outcome: what it held is free before the next one asks for it.
    Between,
    // The outcome is kept: it is the answer if the next try cannot be sent. It is also the larger part of the state.
    Backoff {
        #[pin]
        sleep: Sleep,
        outcome: Option<Outcome<RB>>,
    },
}

/// What it takes to send the request again.
pub(super) struct Again<S, B, J, O> {
    service: S,
    head: Parts,
    replay: Replay<B>,
    shared: Arc<Shared<J, O>>,
    /// What the request asked for in place of the plan.
    own: Option<Box<Option<Params>>>,
    limits: Limits,
    retries: u32,
    /// Nothing of it was sent before, and it has been sent to another endpoint.
    resent: bool,
}

enum Next {
    Answer,
    Resend,
    Retry,
}

impl<S, B, J, O> Again<S, B, J, O>
where
    S: Service<Request<ReplayBody<B>>>,
    J: Judge,
    O: Observe,
    B: Body,
{
    pub(super) fn new(
        service: S,
        head: Parts,
        replay: Replay<B>,
        shared: Arc<Shared<J, O>>,
        own: Option<Box<Option<Params>>>,
        limits: Limits,
    ) -> Self {
        Self { service, head, replay, shared, own, limits, retries: 0, resent: false }
    }

    fn params(&self) -> Option<&Params> {
        self.own.as_deref().unwrap_or(&self.shared.plan.retry).as_ref()
    }

    /// Sends the request with this body. The last try may take as long as it likes: there is none after it.
    pub(super) fn send(&mut self, body: ReplayBody<B>) -> S::Future {
        let mut head = self.head.clone();
        let per_try =
            self.params().filter(|params| self.retries < params.max_retries && body.can_be_kept()).and_then(|p| p.per_try_timeout);
        prepare(&mut head, Limits { headers: per_try, ..self.limits }, self.shared.deadlines);
        self.service.call(Request::from_parts(head, body))
    }

    /// Does the decision have to wait for the first frames?
    fn wants_peek<RB: Body + Unpin>(&self, response: &Response<PeekBody<RB>>) -> bool {
        let Some(params) = self.params() else { return false };
        let judge = &self.shared.judge;
        response.version() == Version::HTTP_2
            && judge.reads_trailers(&params.conditions)
            && Code::from_headers(response.headers()).is_none()
            && !judge.is_retryable(&params.conditions, response.status(), None)
            && !response.body().is_end_stream()
            // Nothing is held back for a retry that cannot be: the client may be waiting for the head before it goes on sending.
            && self.replay.replayable() == Replayable::Yes
    }

    fn decide<RB: Body>(&self, outcome: &Outcome<RB>) -> Next {
        let not_sent = match outcome {
            Ok(response) => response.extensions().get::<NotSent>().is_some(),
            Err(error) => carries::<NotSent>(error),
        };
        if not_sent && !self.resent && (self.replay.replayable() == Replayable::Yes || self.replay.untouched()) {
            return Next::Resend;
        }
        let Some(params) = self.params() else { return Next::Answer };
        let judge = |status, code| self.shared.judge.is_retryable(&params.conditions, status, code);
        let retryable = match outcome {
            Ok(response) => {
                let code = Code::from_headers(response.headers()).or_else(|| response.body().trailers().and_then(Code::from_headers));
                judge(response.status(), code)
            }
            Err(error) => {
                is_retryable_error(error) || like_response(error, &self.head.headers).is_some_and(|(status, code)| judge(status, code))
            }
        };
        let observe = &self.shared.observe;
        let withdraw = || self.shared.budget.as_ref().is_none_or(|budget| budget.withdraw(Instant::now()));
        match verdict(retryable, self.retries, params.max_retries, self.replay.replayable(), withdraw) {
            Verdict::Retry => return Next::Retry,
            Verdict::LimitExceeded => observe.limit_exceeded(),
            Verdict::OverBudget => observe.over_budget(),
            Verdict::Keep if self.retries > 0 && outcome.is_ok() => observe.success(),
            Verdict::Keep | Verdict::NotReplayable => {}
        }
        Next::Answer
    }
}

impl<S, B, RB, J, O> ResponseFuture<S, B, RB, J, O>
where
    S: Service<Request<ReplayBody<B>>>,
    RB: Body,
{
    pub(super) fn new(response: S::Future, again: Option<Again<S, B, J, O>>, limit: Option<Limit>) -> Self {
        Self { state: State::Waiting { response }, again, deadline: limit.map(|limit| sleep_until(limit.at())), limit }
    }
}

impl<S, B, RB, J, O> Future for ResponseFuture<S, B, RB, J, O>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<RB>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body,
    RB: Body + Unpin,
    J: Judge,
    O: Observe,
{
    type Output = Outcome<RB>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<RB>> {
        let mut this = self.project();
        // The response first: an answer that arrived in time is not thrown away.
        if let Poll::Ready(outcome) = poll_tries(this.state.as_mut(), this.again, cx) {
            // The timer at the endpoint rings together with this one. A head without a frame that it left is no answer in time.
            let broken_off = outcome.as_ref().is_ok_and(|response| response.body().has_failed());
            return Poll::Ready(match *this.limit {
                Some(limit) if broken_off && limit.at() <= Instant::now() => Err(too_late(limit)),
                _ => outcome,
            });
        }
        if let (Some(deadline), Some(limit)) = (this.deadline.as_pin_mut(), *this.limit) {
            ready!(deadline.poll(cx));
            return Poll::Ready(Err(too_late(limit)));
        }
        Poll::Pending
    }
}

fn too_late(limit: Limit) -> Error {
    Error::new(Cause::RequestTimeout(limit.length())).within("timed out waiting for response headers")
}

fn poll_tries<S, B, RB, J, O>(
    mut state: Pin<&mut State<S::Future, RB>>,
    slot: &mut Option<Again<S, B, J, O>>,
    cx: &mut Context<'_>,
) -> Poll<Outcome<RB>>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<RB>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body,
    RB: Body + Unpin,
    J: Judge,
    O: Observe,
{
    loop {
        let (outcome, waited) = match state.as_mut().project() {
            StateProj::Waiting { response } => {
                let outcome = ready!(response.poll(cx)).map_err(|e| Error::from_boxed(e.into()));
                let outcome = outcome.map(|response| response.map(PeekBody::new));
                state.set(State::Between);
                match outcome {
                    Ok(response) if slot.as_ref().is_some_and(|again| again.wants_peek(&response)) => {
                        state.set(State::Peeking { response: Some(response) });
                        continue;
                    }
                    outcome => (outcome, false),
                }
            }
            StateProj::Peeking { response } => {
                ready!(response.as_mut().expect("polled after completion").body_mut().poll_peek(cx));
                (Ok(response.take().expect("it was just there")), false)
            }
            StateProj::Backoff { sleep, outcome } => {
                ready!(sleep.poll(cx));
                (outcome.take().expect("polled after completion"), true)
            }
            StateProj::Between => panic!("polled after completion"),
        };
        let Some(again) = slot else { return Poll::Ready(outcome) };

        let next = if waited { Next::Retry } else { again.decide(&outcome) };
        if let Next::Answer = next {
            *slot = None;
            return Poll::Ready(outcome);
        }
        if let (Next::Retry, false) = (&next, waited)
            && let Some(backoff) = again.params().and_then(|params| params.backoff)
        {
            let wait = backoff.delay(again.retries, &again.shared.dice);
            state.set(State::Backoff { sleep: sleep(wait), outcome: Some(outcome) });
            continue;
        }

        // Readiness is asked for only now: a permit is not held through a wait.
        let ready = matches!(again.service.poll_ready(cx), Poll::Ready(Ok(())));
        let Some(body) = again.replay.body().filter(|_| ready) else {
            again.shared.observe.overflow();
            *slot = None;
            return Poll::Ready(outcome);
        };
        // Whatever the connection of this response holds is free before the next try asks for it.
        drop(outcome);
        match next {
            Next::Resend => {
                again.resent = true;
                again.shared.observe.resent();
            }
            Next::Retry | Next::Answer => {
                again.retries += 1;
                again.shared.observe.retry(again.retries);
            }
        }
        let response = again.send(body);
        state.set(State::Waiting { response });
    }
}

impl<S, B, RB, J, O> fmt::Debug for ResponseFuture<S, B, RB, J, O>
where
    S: Service<Request<ReplayBody<B>>>,
    RB: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("retry::ResponseFuture").field("limit", &self.limit).finish_non_exhaustive()
    }
}
