//! What happens to a request.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use meshkit_core::{Cause, Dice, Error, Identity, grpc::Code};
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use super::{Body, PAUSE, abort, ask, counts, delay, layer, rate, send};
use crate::{Abort, Counts, Delay, Fault, FaultLayer, Faults, Kind, Peers};

#[tokio::test(start_paused = true)]
async fn a_sampled_request_waits_the_whole_pause_and_no_more() {
    let layer = layer(vec![delay()]);
    let begun = Instant::now();
    assert!(ask(&layer).await.is_ok());
    assert_eq!(begun.elapsed(), PAUSE);
    assert_eq!(counts(&layer), [1, 0, 0, 0]);
}

// With the clock running: one that is stopped has no parts of a millisecond to round up.
#[tokio::test]
async fn a_wait_of_no_time_takes_none() {
    let layer = layer(vec![Fault::new(Kind::Delay(Delay::Fixed(Duration::ZERO)))]);
    assert!(ask(&layer).now_or_never().is_some_and(|response| response.is_ok()));
    assert_eq!(counts(&layer), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_may_wait_twice_and_fail() {
    let layer = layer(vec![delay(), Fault::new(Kind::Abort(Abort::Code(Code::UNAVAILABLE))), delay()]);
    let begun = Instant::now();
    assert_eq!(ask(&layer).await.unwrap_err().cause(), &Cause::InjectedCode(Code::UNAVAILABLE));
    assert_eq!(begun.elapsed(), 2 * PAUSE);
    assert_eq!(counts(&layer), [1, 1, 0, 0]);
}

#[tokio::test]
async fn a_reset_goes_before_an_abort_and_neither_is_sent() {
    let calls = AtomicUsize::new(0);
    let layer = layer(vec![rate(1), abort(StatusCode::IM_A_TEAPOT), Fault::new(Kind::Reset)]);
    let service = layer.layer(service_fn(async |_: Request<()>| {
        calls.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Response::new(Body::default()))
    }));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().cause(), &Cause::InjectedReset);
    assert_eq!((calls.into_inner(), counts(&layer)), (0, [0, 0, 1, 0]));
}

#[tokio::test]
async fn the_first_abort_counts() {
    let layer = layer(vec![abort(StatusCode::IM_A_TEAPOT), abort(StatusCode::BAD_GATEWAY)]);
    assert_eq!(ask(&layer).await.unwrap_err().cause(), &Cause::InjectedStatus(StatusCode::IM_A_TEAPOT));
    assert_eq!(counts(&layer), [0, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_slowest_rate_counts() {
    let layer = layer(vec![rate(100), rate(5), rate(7)]);
    let begun = Instant::now();
    let body = ask(&layer).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "0123456789");
    assert!((begun.elapsed().as_secs_f64() - 2.0).abs() < 0.02);
    assert_eq!(counts(&layer), [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_response_that_never_came_was_not_slowed_down() {
    let layer = layer(vec![rate(1)]);
    let service = layer.layer(service_fn(async |_: Request<()>| Err::<Response<Body>, _>(Error::new(Cause::Io))));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().cause(), &Cause::Io);
    assert_eq!(counts(&layer), [0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_while_it_waits_has_not_seen_the_failure() {
    let layer = layer(vec![delay(), abort(StatusCode::BAD_GATEWAY)]);
    assert!(tokio::time::timeout(PAUSE / 2, ask(&layer)).await.is_err());
    assert_eq!(counts(&layer), [1, 0, 0, 0]);
}

#[tokio::test]
async fn only_the_peers_that_are_meant_are_troubled() {
    let layer = layer(vec![abort(StatusCode::BAD_GATEWAY).from("emojivoto/web".parse::<Peers>().unwrap())]);
    let identity = |name: &str| -> Identity { format!("{name}.emojivoto.serviceaccount.identity.linkerd.cluster.local").parse().unwrap() };
    let from = |name: &str| {
        let mut request = Request::new(());
        request.extensions_mut().insert(identity(name));
        request
    };
    assert!(send(&layer, from("web")).await.is_err());
    assert!(send(&layer, from("voting")).await.is_ok());
    assert!(ask(&layer).await.is_ok());
    let blind = layer.clone().caller(|_| None);
    assert!(send(&blind, from("web")).await.is_ok());
    let outbound = layer.clone().sole_caller(identity("web"));
    assert!(send(&outbound, Request::new(())).await.is_err());
    let outbound = layer.sole_caller(identity("voting"));
    assert!(send(&outbound, from("web")).await.is_ok());
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
    let counts = Counts::default();
    let layer = layer(vec![abort(StatusCode::BAD_GATEWAY)]).observe(counts.clone());
    assert!(send(&layer, Request::new(())).await.is_err());
    assert_eq!(counts.aborted(), 1);
}
