//! What planned trouble takes from the heap, and that those whom it does not hit pay nothing.
#![allow(unsafe_code)] // A global allocator cannot be written without.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use meshkit_core::{Dice, Identity, Ratio};
use meshkit_fault::{Abort, Delay, Fault, FaultLayer, Faults, Kind, Rate};
use tokio::sync::watch;
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

/// Answers at once.
#[derive(Clone)]
struct Hello;

impl Service<Request<()>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    }
}

/// Allocations of a request from its call to the last frame of its response, or to its failure.
fn cost<O>(layer: &FaultLayer<O>) -> usize
where
    O: meshkit_fault::Observe,
{
    let mut service = layer.layer(Hello);
    let mut request = Request::new(());
    request.extensions_mut().insert("web.ns".parse::<Identity>().unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    let before = COUNT.get();
    assert!(service.poll_ready(&mut cx).is_ready());
    let Poll::Ready(result) = pin!(service.call(request)).as_mut().poll(&mut cx) else { panic!("it answers at once") };
    if let Ok(response) = black_box(result) {
        let mut body = response.into_body();
        while !body.is_end_stream() && Pin::new(&mut body).poll_frame(&mut cx).is_ready() {}
    }
    COUNT.get() - before
}

fn kinds() -> [Kind; 4] {
    let delay = Delay::Normal { mean: Duration::from_millis(300), deviation: Duration::from_millis(50) };
    let abort = Abort::Status(StatusCode::SERVICE_UNAVAILABLE);
    [Kind::Delay(delay), Kind::Abort(abort), Kind::Throttle(Rate::new(64 << 10).unwrap()), Kind::Reset]
}

#[test]
fn a_request_that_no_fault_hits_allocates_nothing() {
    let missed: Vec<_> = kinds().map(|kind| Fault::new(kind).share(Ratio::ZERO)).into();
    let for_others: Vec<_> = kinds().map(|kind| Fault::new(kind).from("other/web,*.other.ns,spiffe://td/x".parse().unwrap())).into();
    for faults in [Faults::default(), missed.into(), for_others.into()] {
        assert_eq!(cost(&FaultLayer::new(faults.clone(), Dice::new(1))), 0);
        assert_eq!(cost(&FaultLayer::new(faults.clone(), Dice::new(1)).observe(())), 0);
        let (_updates, watched) = watch::channel(Arc::new(faults));
        assert_eq!(cost(&FaultLayer::new(watched, Dice::new(1))), 0);
    }
}

#[tokio::test]
async fn trouble_takes_what_it_needs() {
    let [_, abort, throttle, reset] = kinds();
    // The error.
    assert_eq!(cost(&FaultLayer::new(Fault::new(abort), Dice::new(1))), 1);
    assert_eq!(cost(&FaultLayer::new(Fault::new(reset), Dice::new(1))), 1);
    // The timer with its rate, and what tokio keeps for each timer in use.
    let throttled = cost(&FaultLayer::new(Fault::new(throttle), Dice::new(1)));
    assert!((1..=2).contains(&throttled), "{throttled}");
}
