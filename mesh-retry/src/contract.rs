//! What every layer promises, checked in the same way for each: readiness is forwarded, a clone is not ready, a drop gives back what was
//! reserved, the error of the inner service arrives.

use std::{
    collections::VecDeque,
    fmt::Debug,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use meshkit_core::{Backoff, Cause, Dice, Error};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Allow, Budget, HeadTimeoutLayer, Params, Plan, RetryLayer, TimeoutLayer, Timeouts, budget};

/// An inner service that minds how it is treated.
#[derive(Debug)]
pub(crate) struct Probe {
    state: Arc<Mutex<State>>,
    reserved: bool,
}

/// What the test does to the inner service, and sees of it.
#[derive(Clone, Debug)]
pub(crate) struct Hand(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    closed: bool,
    broken: bool,
    waiting: Vec<Waker>,
    reserved: usize,
    in_flight: usize,
    most_in_flight: usize,
    /// What becomes of the calls; those after the last one hang.
    outcomes: VecDeque<Result<(), Cause>>,
}

/// A call; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    state: Arc<Mutex<State>>,
    outcome: Option<Result<(), Cause>>,
}

pub(crate) fn probe() -> (Probe, Hand) {
    let state = Arc::default();
    (Probe { state: Arc::clone(&state), reserved: false }, Hand(state))
}

impl Hand {
    fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
        then(&mut self.0.lock().unwrap())
    }

    fn open(&self) {
        self.with(|state| {
            state.closed = false;
            state.waiting.drain(..).for_each(Waker::wake);
        });
    }

    pub(crate) fn next(&self, outcome: Result<(), Cause>) {
        self.with(|state| state.outcomes.push_back(outcome));
    }

    /// Instances that hold a permit, and calls that have not ended.
    pub(crate) fn held(&self) -> (usize, usize) {
        self.with(|state| (state.reserved, state.in_flight))
    }

    /// Calls that were alive at the same time.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.with(|state| state.most_in_flight)
    }
}

impl<R> Service<R> for Probe {
    type Response = Response<Full<Bytes>>;
    type Error = Error;
    type Future = Call;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.state.lock().unwrap();
        if state.broken {
            return Poll::Ready(Err(Error::new(Cause::LoadShed).message("broken")));
        }
        if state.closed {
            state.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        state.reserved += usize::from(!self.reserved);
        self.reserved = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Call {
        assert!(self.reserved, "called without having been polled ready");
        self.reserved = false;
        let mut state = self.state.lock().unwrap();
        state.reserved -= 1;
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        Call { state: Arc::clone(&self.state), outcome: state.outcomes.pop_front() }
    }
}

impl Future for Call {
    type Output = Result<Response<Full<Bytes>>, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.outcome.take() {
            Some(Ok(())) => Poll::Ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))),
            Some(Err(cause)) => Poll::Ready(Err(Error::new(cause).message("inner").caused_by("beneath"))),
            None => Poll::Pending,
        }
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), reserved: false }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.state.lock().unwrap().reserved -= usize::from(self.reserved);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.state.lock().unwrap().in_flight -= 1;
    }
}

type Sent = Request<Full<Bytes>>;

fn request() -> Sent {
    Request::post("http://web.ns/").body(Full::new(Bytes::from_static(b"body"))).unwrap()
}

fn check<L>(layer: &L)
where
    L: Layer<Probe>,
    L::Service: Service<Sent, Error = Error> + Clone + Send,
    <L::Service as Service<Sent>>::Future: Send,
    <L::Service as Service<Sent>>::Response: Debug,
{
    readiness_is_forwarded(layer);
    a_clone_is_not_ready(layer);
    a_drop_gives_back_what_was_reserved(layer);
    errors_of_the_inner_service_arrive(layer);
}

fn readiness_is_forwarded<L: Layer<Probe>>(layer: &L)
where
    L::Service: Service<Sent, Error = Error>,
{
    let (inner, hand) = probe();
    hand.with(|state| state.closed = true);
    let (mut service, mut caller) = (layer.layer(inner), task::spawn(()));
    assert_pending!(caller.enter(|cx, _| service.poll_ready(cx)));
    assert_pending!(caller.enter(|cx, _| service.poll_ready(cx)));
    assert!(!caller.is_woken());
    hand.open();
    assert!(caller.is_woken());
    assert_ready_ok!(caller.enter(|cx, _| service.poll_ready(cx)));
    assert_ready_ok!(caller.enter(|cx, _| service.poll_ready(cx)));
    assert_eq!(hand.held(), (1, 0), "however often it is asked");
}

fn a_clone_is_not_ready<L: Layer<Probe>>(layer: &L)
where
    L::Service: Service<Sent, Error = Error> + Clone,
    <L::Service as Service<Sent>>::Response: Debug,
{
    let (inner, hand) = probe();
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = layer.layer(inner);
    assert_ready_ok!(service.poll_ready(&mut cx));
    let mut copy = service.clone();
    assert_eq!(hand.held(), (1, 0));
    hand.next(Ok(()));
    hand.next(Ok(()));
    // The probe panics if this is not the very instance that was asked.
    assert_ready_ok!(task::spawn(service.call(request())).poll());
    assert_ready_ok!(copy.poll_ready(&mut cx));
    assert_ready_ok!(task::spawn(copy.call(request())).poll());
    assert_ready_ok!(service.poll_ready(&mut cx), "and it can be asked again");
}

fn a_drop_gives_back_what_was_reserved<L: Layer<Probe>>(layer: &L)
where
    L::Service: Service<Sent, Error = Error>,
    <L::Service as Service<Sent>>::Response: Debug,
{
    let (inner, hand) = probe();
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = layer.layer(inner);
    assert_ready_ok!(service.poll_ready(&mut cx));
    let response = task::spawn(service.call(request()));
    assert_eq!(hand.held(), (0, 1));
    drop(response);
    assert_eq!(hand.held(), (0, 0), "dropped before it was polled");

    assert_ready_ok!(service.poll_ready(&mut cx));
    let mut response = task::spawn(service.call(request()));
    assert_pending!(response.poll());
    drop(response);
    assert_eq!(hand.held(), (0, 0), "dropped in mid-flight");

    assert_ready_ok!(service.poll_ready(&mut cx));
    assert_eq!(hand.held(), (1, 0));
    drop(service);
    assert_eq!(hand.held(), (0, 0), "dropped before the call");
}

fn errors_of_the_inner_service_arrive<L: Layer<Probe>>(layer: &L)
where
    L::Service: Service<Sent, Error = Error>,
    <L::Service as Service<Sent>>::Response: Debug,
{
    let (inner, hand) = probe();
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = layer.layer(inner);
    assert_ready_ok!(service.poll_ready(&mut cx));
    hand.next(Err(Cause::NoBackend));
    let error = assert_ready_err!(task::spawn(service.call(request())).poll());
    assert_eq!((error.cause(), error.to_string().as_str()), (&Cause::NoBackend, "inner"));
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "beneath");

    hand.with(|state| state.broken = true);
    let error = assert_ready!(service.poll_ready(&mut cx)).unwrap_err();
    assert_eq!((error.cause(), error.to_string().as_str()), (&Cause::LoadShed, "broken"));
}

fn timeouts() -> Timeouts {
    let second = Some(Duration::from_secs(1));
    Timeouts { request: second, response: second, idle: second }
}

#[tokio::test(start_paused = true)]
async fn a_head_timeout_keeps_the_contract() {
    check(&HeadTimeoutLayer::default());
    check(&HeadTimeoutLayer::new(Some(Duration::from_secs(1))));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_keeps_the_contract() {
    check(&TimeoutLayer::default());
    check(&TimeoutLayer::new(timeouts()));
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_the_contract() {
    let layer = |plan: Plan| RetryLayer::new(plan, Dice::new(1));
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(1), 0.5).unwrap();
    let params = Params { max_retries: 3, backoff: Some(backoff), ..Params::DEFAULT };
    check(&layer(Plan::new()));
    check(&layer(Plan::new()).resend_unsent().hand_on_deadlines());
    check(&layer(Plan::new().timeouts(timeouts()).overrides(Allow::Yes)));
    check(&layer(params.clone().into()));
    check(&layer(params.into()).budget(Budget::new(budget::Params::default(), Instant::now())));
}
