//! Limits in time, over real connections. No time is asserted: a limit is either reached or it is not.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, channel::Channel};
use meshkit_core::Cause;
use meshkit_retry::{HeadTimeoutLayer, TimeoutLayer, Timeouts};
use tower::{Layer, ServiceExt};

use crate::net::{Http, client, get, post, serve, status};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(600);

fn timeouts(request: Duration, response: Duration, idle: Duration) -> TimeoutLayer {
    TimeoutLayer::new(Timeouts { request: Some(request), response: Some(response), idle: Some(idle) })
}

#[tokio::test]
async fn a_stream_in_which_nothing_moves_is_broken_off() {
    for http in [Http::One, Http::Two] {
        let (mut sender, body) = Channel::<Bytes, std::convert::Infallible>::new(1);
        sender.send_data(Bytes::from_static(b"hello")).await.unwrap();
        let body = Mutex::new(Some(body));
        let (addr, _) = serve(http, move |_| Some(Response::new(body.lock().unwrap().take()?.boxed_unsync()))).await;
        let layer = timeouts(LONG, LONG, SHORT);
        let mut body = layer.layer(client(http, [addr])).oneshot(get()).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
        assert_eq!(body.frame().await.unwrap().unwrap_err().cause(), &Cause::IdleTimeout(SHORT));
        assert!(body.frame().await.is_none());
        drop(sender);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_by_whichever_limit_comes_first() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    for (layer, expected) in [
        (timeouts(SHORT, LONG, LONG), Cause::RequestTimeout(SHORT)),
        (timeouts(LONG, SHORT, LONG), Cause::ResponseTimeout(SHORT)),
        (timeouts(LONG, LONG, SHORT), Cause::IdleTimeout(SHORT)),
    ] {
        let error = layer.layer(client(Http::One, [silent])).oneshot(post("x")).await.unwrap_err();
        assert_eq!(error.cause(), &expected);
        assert!(error.to_string().starts_with("timed out waiting for response headers: "), "{error}");
    }
    let error = HeadTimeoutLayer::new(Some(SHORT)).layer(client(Http::One, [silent])).oneshot(get()).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::ProfileTimeout(SHORT));
}

#[tokio::test]
async fn limits_that_are_not_reached_change_nothing() {
    for http in [Http::One, Http::Two] {
        let (addr, seen) = serve(http, |_| Some(status(200, vec![7; 100_000]))).await;
        let service = HeadTimeoutLayer::new(Some(LONG)).layer(timeouts(LONG, LONG, LONG).layer(client(http, [addr])));
        let response = service.oneshot(post(vec![1; 100_000])).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), vec![7; 100_000]);
        assert_eq!(seen.bodies(), [vec![1; 100_000]]);
    }
}
