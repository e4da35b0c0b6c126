use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use meshkit_core::{Cause, Dice, Error, Identity, Ratio, grpc::Code};
use tokio::{sync::watch, time::Instant};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::{Abort, Delay, Fault, FaultLayer, Faults, Kind, Peers, Rate, Throttled};

type Body = Full<bytes::Bytes>;

const PAUSE: Duration = Duration::from_secs(3);

fn layer(faults: Vec<Fault>) -> FaultLayer {
    FaultLayer::new(faults, Dice::new(1))
}

fn delay() -> Fault {
    Fault::new(Kind::Delay(Delay::Fixed(PAUSE)))
}

fn abort(status: StatusCode) -> Fault {
    Fault::new(Kind::Abort(Abort::Status(status)))
}

async fn send<O: crate::Observe>(layer: &FaultLayer<O>, request: Request<()>) -> Result<Response<Throttled<Body>>, Error> {
    layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::from("0123456789"))))).oneshot(request).await
}

async fn ask(layer: &FaultLayer) -> Result<Response<Throttled<Body>>, Error> {
    send(layer, Request::new(())).await
}

#[tokio::test(start_paused = true)]
async fn a_sampled_request_waits_the_whole_pause_and_no_more() {
    let layer = layer(vec![delay()]);
    let begun = Instant::now();
    assert!(ask(&layer).await.is_ok());
    assert_eq!(begun.elapsed(), PAUSE);
    assert_eq!((layer.counts().delayed(), layer.counts().aborted()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_may_wait_twice_and_fail() {
    let layer = layer(vec![delay(), Fault::new(Kind::Abort(Abort::Code(Code::UNAVAILABLE))), delay()]);
    let begun = Instant::now();
    assert_eq!(ask(&layer).await.unwrap_err().cause(), &Cause::InjectedCode(Code::UNAVAILABLE));
    assert_eq!(begun.elapsed(), 2 * PAUSE);
}

#[tokio::test]
async fn a_reset_goes_before_an_abort() {
    let layer = layer(vec![abort(StatusCode::IM_A_TEAPOT), Fault::new(Kind::Reset)]);
    assert_eq!(ask(&layer).await.unwrap_err().cause(), &Cause::InjectedReset);
    assert_eq!((layer.counts().reset(), layer.counts().aborted()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_slowest_rate_counts() {
    let rate = |n| Fault::new(Kind::Throttle(Rate::new(n).unwrap()));
    let layer = layer(vec![rate(100), rate(5), rate(7)]);
    let begun = Instant::now();
    let body = ask(&layer).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "0123456789");
    assert!((begun.elapsed().as_secs_f64() - 2.0).abs() < 0.02);
    assert_eq!(layer.counts().throttled(), 1);
}

#[tokio::test]
async fn a_seed_repeats_a_run() {
    let faults = vec![abort(StatusCode::BAD_GATEWAY).share(Ratio::new(0.3).unwrap())];
    let (one, two) = (layer(faults.clone()), layer(faults));
    for _ in 0..50 {
        assert_eq!(ask(&one).await.is_ok(), ask(&two).await.is_ok());
    }
    assert!(one.counts().aborted() > 0);
}

#[tokio::test]
async fn only_the_peers_that_are_meant_are_troubled() {
    let layer = layer(vec![abort(StatusCode::BAD_GATEWAY).from("emojivoto/web".parse::<Peers>().unwrap())]);
    let from = |name: &str| {
        let identity: Identity = format!("{name}.emojivoto.serviceaccount.identity.linkerd.cluster.local").parse().unwrap();
        let mut request = Request::new(());
        request.extensions_mut().insert(identity);
        request
    };
    assert!(send(&layer, from("web")).await.is_err());
    assert!(send(&layer, from("voting")).await.is_ok());
    assert!(ask(&layer).await.is_ok());
    let blind = layer.caller(|_| None);
    assert!(send(&blind, from("web")).await.is_ok());
}

#[tokio::test]
async fn an_update_reaches_the_next_request() {
    let (faults, watched) = watch::channel(Arc::new(Faults::default()));
    let layer = FaultLayer::new(watched, Dice::new(1));
    let mut service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::default()))));
    assert!(service.ready().await.unwrap().call(Request::new(())).await.is_ok());
    faults.send_replace(Arc::new(abort(StatusCode::BAD_GATEWAY).into()));
    assert!(service.ready().await.unwrap().call(Request::new(())).await.is_err());
    drop(faults);
    assert!(service.ready().await.unwrap().call(Request::new(())).await.is_err(), "the last faults stay");
}

#[tokio::test]
async fn an_observer_replaces_the_counts() {
    let counts = crate::Counts::default();
    let layer = layer(vec![abort(StatusCode::BAD_GATEWAY)]).observe(counts.clone());
    assert!(send(&layer, Request::new(())).await.is_err());
    assert_eq!(counts.aborted(), 1);
}

/// A service with permits: readiness takes one, a call uses it, a clone has none. Calls then fail, or hang.
struct Permits {
    left: Arc<AtomicUsize>,
    held: bool,
    hang: bool,
}

impl Permits {
    fn new(n: usize, hang: bool) -> (Self, Arc<AtomicUsize>) {
        let left = Arc::new(AtomicUsize::new(n));
        (Self { left: Arc::clone(&left), held: false, hang }, left)
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

impl Service<Request<()>> for Permits {
    type Response = Response<Body>;
    type Error = Error;
    type Future = futures::Either;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let take = |n: usize| n.checked_sub(1);
        self.held = self.held || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if self.held { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.held), "called without being ready");
        self.left.fetch_add(1, Ordering::Relaxed);
        if self.hang { futures::Either::Hang } else { futures::Either::Fail(ready(Err(Error::new(Cause::Io)))) }
    }
}

mod futures {
    use std::{future::Future, pin::Pin};

    use super::*;

    pub(super) enum Either {
        Hang,
        Fail(Ready<Result<Response<Body>, Error>>),
    }

    impl Future for Either {
        type Output = Result<Response<Body>, Error>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            match &mut *self {
                Self::Hang => Poll::Pending,
                Self::Fail(failure) => Pin::new(failure).poll(cx),
            }
        }
    }
}

async fn is_ready(service: &mut impl Service<Request<()>>) -> bool {
    poll_fn(|cx| Poll::Ready(service.poll_ready(cx).is_ready())).await
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inner_services_and_a_clone_has_none() {
    let (permits, left) = Permits::new(1, false);
    let mut faulty = layer(vec![delay()]).layer(permits);
    assert!(is_ready(&mut faulty).await && is_ready(&mut faulty).await, "it may be asked again");
    assert!(!is_ready(&mut faulty.clone()).await);
    // The instance that was ready goes with the request, through the delay.
    assert_eq!(faulty.call(Request::new(())).await.unwrap_err().cause(), &Cause::Io, "the inner error is passed on");
    assert_eq!(left.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_is_given_back() {
    for faults in [vec![], vec![delay()], vec![abort(StatusCode::BAD_GATEWAY)]] {
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

#[test]
fn services_and_futures_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let mut faulty = layer(vec![delay()]).layer(Permits::new(0, true).0);
    is_send(&faulty);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    faulty.inner.held = true;
    let future = faulty.call(Request::new(()));
    is_send(&future);
    drop(future);
}
