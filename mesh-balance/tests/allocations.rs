//! A request to a ready endpoint allocates nothing.
#![allow(unsafe_code)] // A global allocator cannot be written without.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use meshkit_balance::{
    Balance, Config, Distribute, Reconnect, accrual,
    distribute::{Backend, Strategy},
    updates, zone,
};
use meshkit_core::{Backoff, Dice, Endpoint, endpoint::Locality};
use tower::ServiceExt;
use tower_service::Service;

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

#[tokio::test]
async fn a_request_to_a_ready_endpoint_allocates_nothing() {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.0).unwrap();
    let config = Config::default().accrual(accrual::Config::consecutive(7, backoff)).zone(zone::Preference::default());
    let (mut balance, driver) = Balance::new(config, |_| Hello);
    let endpoint =
        |n: u8| Endpoint::new(([10, 0, 0, n], 80).into()).locality(if n.is_multiple_of(2) { Locality::Local } else { Locality::Remote });
    tokio::spawn(driver.run(updates::fixed((1..=10).map(endpoint))));
    while balance.endpoints().ready < 10 {
        tokio::task::yield_now().await;
    }
    let before = COUNT.with(Cell::get);
    for _ in 0..100 {
        let mut response = balance.ready().await.unwrap().call(Request::new(())).await.unwrap();
        while response.body_mut().frame().await.is_some() {}
    }
    assert_eq!(COUNT.with(Cell::get) - before, 0);
}

#[test]
fn a_request_over_several_backends_allocates_nothing() {
    let mut cx = Context::from_waker(Waker::noop());
    for strategy in [Strategy::First, Strategy::Weighted] {
        let backends = (1..=3).map(|weight| Backend::new(weight, weight, Hello)).collect();
        let mut distribute = Distribute::new(strategy, backends, Dice::new(1));
        let before = COUNT.with(Cell::get);
        for _ in 0..100 {
            assert!(distribute.poll_ready(&mut cx).is_ready());
            assert!(pin!(distribute.call(Request::new(()))).as_mut().poll(&mut cx).is_ready());
        }
        assert_eq!(COUNT.with(Cell::get) - before, 0);
    }
}

/// Connects at once, to a server that answers at once.
#[derive(Clone)]
struct Connects;

impl Service<()> for Connects {
    type Response = Hello;
    type Error = Infallible;
    type Future = Ready<Result<Hello, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(Hello))
    }
}

#[tokio::test]
async fn a_request_over_a_connection_that_is_there_allocates_nothing() {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.0).unwrap();
    let mut reconnect = Reconnect::new(Connects, (), backoff, Dice::new(1));
    reconnect.ready().await.unwrap().call(Request::new(())).await.unwrap();
    let before = COUNT.with(Cell::get);
    for _ in 0..100 {
        reconnect.ready().await.unwrap().call(Request::new(())).await.unwrap();
    }
    assert_eq!(COUNT.with(Cell::get) - before, 0);
}
