//! The readiness contract: readiness forwarded, clones not ready, reservations given back, errors passed on.

use std::{
    future::{Future, Ready, poll_fn, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode};
use meshkit_core::{Cause, Error};
use tower::{Layer as _, Service};

use super::{Body, PAUSE, abort, delay, layer, rate};
use crate::{Fault, Kind};

/// A service with permits: readiness takes one, a call uses it, a clone has none. Calls then fail, or hang.
struct Permits {
    left: Arc<AtomicUsize>,
    held: bool,
    hang: bool,
}

enum Call {
    Hang,
    Fail(Ready<Result<Response<Body>, Error>>),
}

impl Permits {
    fn new(n: usize, hang: bool) -> (Self, Arc<AtomicUsize>) {
        let left = Arc::new(AtomicUsize::new(n));
        (Self { left: Arc::clone(&left), held: false, hang }, left)
    }
}

impl Service<Request<()>> for Permits {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Call;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let take = |n: usize| n.checked_sub(1);
        self.held = self.held || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if self.held { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<()>) -> Call {
        assert!(std::mem::take(&mut self.held), "called without being ready");
        self.left.fetch_add(1, Ordering::Relaxed);
        if self.hang { Call::Hang } else { Call::Fail(ready(Err(Error::new(Cause::Io)))) }
    }
}

impl Future for Call {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Hang => Poll::Pending,
            Self::Fail(failure) => Pin::new(failure).poll(cx),
        }
    }
}

impl Clone for Permits {
    fn clone(&self) -> Self {
        Self { left: Arc::clone(&self.left), held: false, hang: self.hang }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        if self.held {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn is_ready(service: &mut impl Service<Request<()>>) -> bool {
    poll_fn(|cx| Poll::Ready(service.poll_ready(cx).is_ready())).await
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inner_services_and_a_clone_has_none() {
    for fault in [delay(), rate(1), delay().share(meshkit_core::Ratio::ZERO)] {
        let (permits, left) = Permits::new(1, false);
        let mut faulty = layer(vec![fault]).layer(permits);
        assert!(is_ready(&mut faulty).await && is_ready(&mut faulty).await, "it may be asked again");
        assert!(!is_ready(&mut faulty.clone()).await);
        // The instance that was ready goes with the request, through the delay.
        assert_eq!(faulty.call(Request::new(())).await.unwrap_err().cause(), &Cause::Io, "the inner error is passed on");
        assert_eq!(left.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_request_waits_the_spare_is_not_ready() {
    let (permits, left) = Permits::new(1, false);
    let mut faulty = layer(vec![delay()]).layer(permits);
    assert!(is_ready(&mut faulty).await);
    let waiting = faulty.call(Request::new(()));
    assert!(!is_ready(&mut faulty).await, "the only permit is with the request");
    assert_eq!(waiting.await.unwrap_err().cause(), &Cause::Io);
    assert_eq!(left.load(Ordering::Relaxed), 1);
    assert!(is_ready(&mut faulty).await);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_will_fail_holds_nothing_while_it_waits() {
    for failure in [abort(StatusCode::BAD_GATEWAY), Fault::new(Kind::Reset)] {
        let (permits, left) = Permits::new(1, false);
        let mut faulty = layer(vec![delay(), failure]).layer(permits);
        assert!(is_ready(&mut faulty).await);
        let waiting = faulty.call(Request::new(()));
        assert_eq!(left.load(Ordering::Relaxed), 1);
        assert_ne!(waiting.await.unwrap_err().cause(), &Cause::Io);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_is_given_back() {
    for faults in [vec![], vec![delay()], vec![rate(1)], vec![abort(StatusCode::BAD_GATEWAY)]] {
        let (permits, left) = Permits::new(1, true);
        let mut faulty = layer(faults).layer(permits);
        assert!(is_ready(&mut faulty).await);
        drop(faulty.clone());
        let in_flight = faulty.call(Request::new(()));
        let _ = tokio::time::timeout(PAUSE / 2, in_flight).await;
        assert_eq!(left.load(Ordering::Relaxed), 1, "dropped in flight");
        assert!(is_ready(&mut faulty).await);
        drop(faulty);
        assert_eq!(left.load(Ordering::Relaxed), 1, "dropped before the call");
    }
}

/// Never ready again.
#[derive(Clone)]
struct Broken;

impl Service<Request<()>> for Broken {
    type Response = Response<Body>;
    type Error = std::io::Error;
    type Future = Ready<Result<Response<Body>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Err(std::io::ErrorKind::BrokenPipe.into()))
    }
}

#[tokio::test]
async fn an_inner_service_that_fails_to_get_ready_is_not_hidden() {
    let mut faulty = layer(vec![abort(StatusCode::BAD_GATEWAY)]).layer(Broken);
    let error = poll_fn(|cx| faulty.poll_ready(cx)).await.unwrap_err();
    // An error of another type keeps its place beneath.
    assert_eq!(error.cause(), &Cause::Unexpected);
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<std::io::Error>()));
}

#[tokio::test]
async fn services_and_futures_are_send() {
    fn is_send<T: Send + 'static>(_: &T) {}
    let mut faulty = layer(vec![delay()]).layer(Permits::new(1, true).0);
    is_send(&faulty);
    assert!(is_ready(&mut faulty).await);
    is_send(&faulty.call(Request::new(())));
}
