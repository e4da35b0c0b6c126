use std::{
    collections::VecDeque,
    error::Error as _,
    future::Future,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty};
use meshkit_core::{Cause, Error};
use tokio::time::{Sleep, sleep};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A body that waits before each of its frames and before its end.
#[derive(Debug, Default)]
struct Slow {
    waits: VecDeque<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Slow {
    fn new<const N: usize>(secs: [f64; N]) -> Self {
        Self { waits: secs.map(Duration::from_secs_f64).into(), sleep: None }
    }
}

impl Body for Slow {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(wait) = self.waits.front().copied() else { return Poll::Ready(None) };
        ready!(self.sleep.get_or_insert_with(|| Box::pin(sleep(wait))).as_mut().poll(cx));
        self.sleep = None;
        self.waits.pop_front();
        let frame = if self.waits.is_empty() { None } else { Some(Ok(Frame::data(Bytes::from_static(b"x")))) };
        Poll::Ready(frame)
    }
}

/// Sends a request with this body to a server that reads all of it, thinks, and answers with that body. Tells how it ended, and when.
async fn exchange(timeouts: Timeouts, request: Slow, think: f64, response: Slow) -> (Result<usize, Error>, Duration) {
    let response = Mutex::new(Some(response));
    let server = service_fn(|request: Request<RequestBody<Slow>>| {
        let response = response.lock().unwrap().take().unwrap();
        async move {
            request.into_body().collect().await?;
            sleep(Duration::from_secs_f64(think)).await;
            Ok::<_, Error>(Response::new(response))
        }
    });
    let begun = Instant::now();
    let answer = async {
        let response = TimeoutLayer::new(timeouts).layer(server).oneshot(Request::new(request)).await?;
        Ok(response.into_body().collect().await?.to_bytes().len())
    };
    (answer.await, begun.elapsed())
}

fn limit(secs: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(secs))
}

fn message(answer: (Result<usize, Error>, Duration)) -> (String, f64) {
    (answer.0.unwrap_err().to_string(), answer.1.as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn without_limits_everything_takes_as_long_as_it_takes() {
    let (answer, took) = exchange(Timeouts::default(), Slow::new([1e3, 1e3]), 1e3, Slow::new([1e3, 1e3, 1e3])).await;
    assert_eq!((answer.unwrap(), took.as_secs()), (2, 6_000));
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_request_ends_its_body_its_wait_and_its_response() {
    let timeouts = Timeouts { request: limit(3.0), ..Timeouts::default() };
    let late = |phase: &str| (format!("{phase}: request timeout: 3s"), 3.0);
    let (head, stream) = ("timed out waiting for response headers", "timed out processing response stream");
    assert_eq!(message(exchange(timeouts, Slow::new([9.0, 0.0]), 0.0, Slow::default()).await), late(head));
    assert_eq!(message(exchange(timeouts, Slow::default(), 9.0, Slow::default()).await), late(head));
    assert_eq!(message(exchange(timeouts, Slow::new([1.0, 0.5]), 1.0, Slow::new([9.0])).await), late(stream));
    assert_eq!(message(exchange(timeouts, Slow::default(), 0.0, Slow::new([0.25; 20])).await), late(stream));
    assert_eq!(exchange(timeouts, Slow::new([1.0]), 1.0, Slow::new([0.5, 0.5])).await.0.unwrap(), 1, "in time is in time");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_response_starts_when_the_request_is_sent() {
    let timeouts = Timeouts { response: limit(2.0), ..Timeouts::default() };
    let (answer, took) = exchange(timeouts, Slow::new([50.0, 50.0]), 1.0, Slow::new([0.5, 0.25])).await;
    assert_eq!((answer.unwrap(), took), (1, Duration::from_secs_f64(101.75)), "a long request is its sender's affair");
    let late = message(exchange(timeouts, Slow::new([5.0]), 9.0, Slow::default()).await);
    assert_eq!(late, ("timed out waiting for response headers: response stream timeout: 2s".to_owned(), 7.0));
    let late = message(exchange(timeouts, Slow::new([5.0]), 1.0, Slow::new([0.5, 9.0])).await);
    assert_eq!(late, ("timed out processing response stream: response stream timeout: 2s".to_owned(), 7.0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_last_as_long_as_something_moves_either_way() {
    let timeouts = Timeouts { idle: limit(2.0), ..Timeouts::default() };
    let (answer, took) = exchange(timeouts, Slow::new([1.5; 10]), 1.5, Slow::new([1.5; 10])).await;
    assert_eq!((answer.unwrap(), took), (9, Duration::from_secs_f64(31.5)));
    let head = |secs| ("timed out waiting for response headers: idle timeout: 2s".to_owned(), secs);
    assert_eq!(message(exchange(timeouts, Slow::new([1.0, 9.0]), 0.0, Slow::default()).await), head(3.0));
    assert_eq!(message(exchange(timeouts, Slow::new([1.0, 1.0]), 9.0, Slow::default()).await), head(4.0));
    let late = message(exchange(timeouts, Slow::new([1.0]), 1.0, Slow::new([1.0, 9.0])).await);
    assert_eq!(late, ("timed out processing response stream: idle timeout: 2s".to_owned(), 5.0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_still_moves_keeps_an_early_response_alive() {
    // The server answers at once, and reads on in a task of its own.
    let server = service_fn(async |request: Request<RequestBody<Slow>>| {
        tokio::spawn(request.into_body().collect());
        Ok::<_, Error>(Response::new(Slow::new([9.0])))
    });
    let layer = TimeoutLayer::new(Timeouts { idle: limit(2.0), ..Timeouts::default() });
    let begun = Instant::now();
    let response = layer.layer(server).oneshot(Request::new(Slow::new([1.5; 4]))).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!((error.cause(), begun.elapsed()), (&Cause::IdleTimeout(2 * SECOND), 8 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn what_a_request_carries_replaces_what_the_layer_was_given() {
    let hanging = service_fn(async |_: Request<RequestBody<Empty<Bytes>>>| {
        sleep(60 * SECOND).await;
        Ok::<_, Error>(Response::new(Empty::<Bytes>::new()))
    });
    let layer = TimeoutLayer::new(Timeouts { request: limit(30.0), ..Timeouts::default() });
    let send = async |limits: Option<Limits>| {
        let mut request = Request::new(Empty::new());
        if let Some(limits) = limits {
            request.extensions_mut().insert(limits);
        }
        let begun = Instant::now();
        (layer.layer(hanging).oneshot(request).await.map(drop).map_err(|e| e.cause().clone()), begun.elapsed().as_secs())
    };
    assert_eq!(send(None).await, (Err(Cause::RequestTimeout(30 * SECOND)), 30));
    let headers = Limits { headers: limit(4.0), ..Limits::default() };
    assert_eq!(send(Some(headers)).await, (Err(Cause::HeadersTimeout(4 * SECOND)), 4));
    assert_eq!(send(Some(Limits::default())).await, (Ok(()), 60), "no limits are an answer, too");
    let passed = Limit::after(Instant::now(), SECOND);
    sleep(5 * SECOND).await;
    assert_eq!(send(Some(Limits { request: passed, ..Limits::default() })).await, (Err(Cause::RequestTimeout(SECOND)), 0));
}

#[tokio::test(start_paused = true)]
async fn the_limit_on_the_head_does_not_touch_the_body() {
    let server = service_fn(async |_: Request<RequestBody<Empty<Bytes>>>| Ok::<_, Error>(Response::new(Slow::new([50.0, 50.0]))));
    let mut request = Request::new(Empty::new());
    request.extensions_mut().insert(Limits { headers: limit(1.0), ..Limits::default() });
    let response = TimeoutLayer::default().layer(server).oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_body_ends_after_it_has_failed_and_can_be_moved_between_frames() {
    let server = service_fn(async |_: Request<RequestBody<Empty<Bytes>>>| Ok::<_, Error>(Response::new(Slow::new([1.0, 9.0, 9.0]))));
    let layer = TimeoutLayer::new(Timeouts { idle: limit(2.0), ..Timeouts::default() });
    let mut body = layer.layer(server).oneshot(Request::new(Empty::new())).await.unwrap().into_body();
    assert!(tokio::time::timeout(SECOND / 2, body.frame()).await.is_err(), "it has been waited for");
    let mut moved = Box::new(body);
    assert!(moved.frame().await.unwrap().is_ok());
    let error = moved.frame().await.unwrap().unwrap_err();
    assert!(error.source().is_none());
    assert_eq!(error.cause(), &Cause::IdleTimeout(2 * SECOND));
    assert!(moved.is_end_stream());
    assert!(moved.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_length_and_trailers_pass_through() {
    let server = service_fn(async |request: Request<RequestBody<http_body_util::Full<Bytes>>>| {
        assert_eq!(request.body().size_hint().exact(), Some(5));
        let body =
            request.into_body().with_trailers(async { Some(Ok(HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]))) });
        Ok::<_, Error>(Response::new(body))
    });
    let layer = TimeoutLayer::new(Timeouts { request: limit(1.0), response: limit(1.0), idle: limit(1.0) });
    let request = Request::new(http_body_util::Full::new(Bytes::from_static(b"hello")));
    let body = layer.layer(server).oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["etag"], "x");
    assert_eq!(body.to_bytes(), "hello");
}

#[test]
fn an_exchange_in_flight_is_small() {
    // The inner future, the limits, and a timer.
    assert!(size_of::<ResponseFuture<u64>>() <= 320, "{}", size_of::<ResponseFuture<u64>>());
    assert!(size_of::<ResponseBody<u64>>() <= 192, "{}", size_of::<ResponseBody<u64>>());
}
