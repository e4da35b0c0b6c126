//! What a request that is not sent again takes from the heap, layer by layer.
#![allow(unsafe_code)] // A global allocator cannot be written without.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, HOST, USER_AGENT},
};
use http_body::Body;
use http_body_util::Full;
use meshkit_core::{Dice, grpc::Code};
use meshkit_retry::{
    Allow, Budget, CodeSet, Conditions, HeadTimeoutLayer, Params, Plan, ReplayBody, RetryLayer, StatusRanges, TimeoutLayer, Timeouts,
    budget,
};
use tokio::time::Instant;
use tower::{Layer, Service};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator unchanged; the counter neither allocates nor runs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `work`.
fn count<T>(work: impl FnOnce() -> T) -> usize {
    let before = COUNT.get();
    black_box(work());
    COUNT.get() - before
}

/// Reads a request to its end, and answers at once.
#[derive(Clone)]
struct Hello;

impl<B: Body + Unpin> Service<Request<B>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        read(&mut request.into_body());
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    }
}

fn read<B: Body + Unpin>(body: &mut B) {
    while !body.is_end_stream() && Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())).is_ready() {}
}

/// A request with headers, and with a body or without one. Its memory is shared already, as that of a request read from a connection is.
fn request(body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from_static(body.as_bytes())));
    *request.uri_mut() = Uri::from_static("http://web.ns/api/vote");
    for (name, value) in [(HOST, "web.ns"), (USER_AGENT, "curl/8"), (ACCEPT, "*/*")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// Allocations of a request from its call to the last frame of its response.
async fn cost<L, B>(layer: &L, body: &'static str) -> usize
where
    L: Layer<Hello>,
    L::Service: Service<Request<Full<Bytes>>, Response = Response<B>>,
    B: Body + Unpin,
{
    let mut service = layer.layer(Hello);
    let request = request(body);
    let mut cx = Context::from_waker(Waker::noop());
    count(|| {
        let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("it is ready") };
        let Poll::Ready(Ok(response)) = pin!(service.call(request)).as_mut().poll(&mut cx) else { panic!("it answers at once") };
        read(&mut response.into_body());
    })
}

fn timeouts() -> Timeouts {
    let minute = Some(Duration::from_secs(60));
    Timeouts { request: minute, response: minute, idle: minute }
}

fn params() -> Params {
    let conditions = Conditions { statuses: StatusRanges::new(vec![500..=599]), codes: CodeSet::new([Code::UNAVAILABLE]) };
    Params { conditions, ..Params::DEFAULT }
}

fn layer(plan: impl Into<Plan>) -> RetryLayer {
    RetryLayer::new(plan.into(), Dice::new(1))
}

#[test]
fn the_budget_and_the_conditions_take_nothing() {
    let now = Instant::now();
    let budget = Budget::new(budget::Params::default(), now);
    assert_eq!(count(|| budget.deposit(now)), 0);
    assert_eq!(count(|| budget.withdraw(now)), 0);
    assert_eq!(count(|| budget.withdraw(now + Duration::from_secs(30))), 0);
    let conditions = params().conditions;
    assert_eq!(count(|| conditions.contains(StatusCode::OK, Some(Code::OK))), 0);
}

#[tokio::test]
async fn a_timeout_takes_nothing_unless_a_body_has_to_be_followed() {
    for layer in [HeadTimeoutLayer::default(), HeadTimeoutLayer::new(Some(Duration::from_secs(60)))] {
        assert_eq!((cost(&layer, "").await, cost(&layer, "body").await), (0, 0));
    }
    for (timeouts, with_body) in [
        (Timeouts::default(), 0),
        // It does not depend on the request's body.
        (Timeouts { request: timeouts().request, ..Timeouts::default() }, 0),
        // What the body, which the transport owns, tells the timer, which the caller owns.
        (timeouts(), 1),
    ] {
        let layer = TimeoutLayer::new(timeouts);
        assert_eq!((cost(&layer, "").await, cost(&layer, "body").await), (0, with_body), "{timeouts:?}");
    }
}

#[tokio::test]
async fn a_route_without_retries_takes_nothing() {
    for layer in [layer(Plan::new()), layer(Plan::new().overrides(Allow::Yes)), layer(Plan::new()).hand_on_deadlines()] {
        assert_eq!((cost(&layer, "").await, cost(&layer, "body").await), (0, 0));
    }
    // The limit for the endpoint: the map of extensions, and what is put into it.
    let limited = layer(Plan::new().timeouts(timeouts()));
    assert_eq!((cost(&limited, "").await, cost(&limited, "body").await), (2 + 1, 2 + 1));
}

#[tokio::test]
async fn a_request_that_might_be_sent_again_takes_a_copy_of_its_head() {
    // The two tables of a header map. Names and values share their memory, and there are no extensions to be copied.
    let head = 2;
    assert_eq!(cost(&layer(params()), "").await, head);
    // Nothing but the copy: a budget, and the wish to send elsewhere what was not sent, take nothing more.
    let budget = Budget::new(budget::Params::default(), Instant::now());
    assert_eq!(cost(&layer(params()).budget(budget), "").await, head);
    assert_eq!(cost(&layer(Plan::new()).resend_unsent(), "").await, head);
    // The tape of a body, and the list of its frames; nothing is copied.
    assert_eq!(cost(&layer(params()), "body").await, head + 2);
    assert_eq!(cost(&layer(Plan::new()).resend_unsent(), "body").await, head + 1);
}

#[test]
fn a_body_that_is_empty_or_sent_once_takes_nothing() {
    let body = || Full::new(Bytes::from_static(b"body"));
    assert_eq!(count(|| read(&mut ReplayBody::once(body()))), 0);
    assert_eq!(count(|| ReplayBody::new(Full::<Bytes>::default(), 64)), 0);
    assert_eq!(count(|| ReplayBody::new(body(), 64)), 1);
}
