use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Empty, Full};
use meshkit_core::{Backoff, Endpoint};
use tokio::time::{Instant, advance};

use super::{Body, Http, Penalty, Track};
use crate::{
    accrual::{self, Breakers},
    pool::{Estimate, Member},
};

const DEFAULT: Duration = Duration::from_millis(30);
const WINDOW: Duration = Duration::from_secs(10);

fn member(penalty: Option<Penalty>) -> Arc<Member> {
    let now = Instant::now();
    let addr = ([10, 0, 0, 1], 80).into();
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.0).unwrap();
    let breaker = Breakers::new(accrual::Config::consecutive(1, backoff), 0).of(addr, now);
    let estimate = Arc::new(Estimate::new(DEFAULT, WINDOW, now));
    Arc::new(Member { endpoint: Arc::new(Endpoint::new(addr)), estimate, breaker: Some(breaker), penalty })
}

impl Member {
    fn secs(&self) -> f64 {
        self.estimate.ewma().at(Instant::now())
    }

    fn is_closed(&self) -> bool {
        self.breaker.as_ref().unwrap().is_closed()
    }

    fn load_of_one(&self) -> f64 {
        self.estimate.load(1.0, Instant::now())
    }
}

fn send(member: &Arc<Member>) -> super::Pending {
    let now = Instant::now();
    let accrual::Admission::Admitted(pass) = member.breaker.as_ref().unwrap().admit(now) else { panic!("refused") };
    member.begin(Some(pass), now)
}

/// Yields what it was given, and ends.
struct Frames(VecDeque<Result<Frame<Bytes>, &'static str>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = &'static str;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn frames(frames: impl IntoIterator<Item = Result<Frame<Bytes>, &'static str>>) -> Frames {
    Frames(frames.into_iter().collect())
}

fn data() -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(b"data")))
}

fn trailers(code: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::trailers([("grpc-status".parse().unwrap(), code.parse().unwrap())].into_iter().collect::<HeaderMap>()))
}

fn grpc(body: Frames) -> Response<Frames> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

async fn read<B: http_body::Body + Unpin>(body: &mut Body<B>) -> bool {
    body.frame().await.is_some_and(|frame| frame.is_ok())
}

#[tokio::test(start_paused = true)]
async fn the_latency_is_that_of_the_first_frame_and_the_request_is_pending_until_the_last() {
    let member = member(None);
    let response = Response::new(frames([data(), data()]));
    let tracked = send(&member);
    advance(Duration::from_secs(1)).await;
    let mut body = Http::default().track(response, tracked).into_body();
    advance(Duration::from_secs(1)).await;
    assert!(read(&mut body).await);
    assert!((member.secs() - 2.0).abs() < 1e-6, "{}", member.secs());
    assert!((member.load_of_one() - 4.0).abs() < 1e-6, "still pending");
    assert!(read(&mut body).await && !read(&mut body).await);
    assert!((member.load_of_one() - 2.0).abs() < 1e-6);
    assert!(member.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_ends_with_the_head() {
    let member = member(None);
    let tracked = send(&member);
    advance(Duration::from_secs(1)).await;
    let response = Http::default().track(Response::new(Empty::<Bytes>::new()), tracked);
    assert!((member.load_of_one() - 1.0).abs() < 1e-6);
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn the_size_and_the_end_are_those_of_the_body_beneath() {
    let member = member(None);
    let body = Http::default().track(Response::new(Full::new(Bytes::from_static(b"four"))), send(&member)).into_body();
    assert_eq!(body.size_hint().exact(), Some(4));
    assert!(!body.is_end_stream());
    assert_eq!(body.collect().await.unwrap().to_bytes(), "four");
}

#[tokio::test(start_paused = true)]
async fn a_fast_failure_does_not_make_an_endpoint_look_fast() {
    let member = member(None);
    let before = member.secs();
    let response = Response::builder().status(500).body(Empty::<Bytes>::new()).unwrap();
    drop(Http::default().track(response, send(&member)));
    assert_eq!(member.secs(), before);
    assert!(!member.is_closed());
}

#[tokio::test(start_paused = true)]
async fn trailers_decide_a_grpc_response() {
    for (code, closed) in [("0", true), ("5", true), ("14", false), ("13", false)] {
        let member = member(None);
        let mut body = Http::default().track(grpc(frames([data(), trailers(code)])), send(&member)).into_body();
        assert!(read(&mut body).await);
        assert!(member.is_closed());
        let frame = body.frame().await.unwrap().unwrap();
        assert!(frame.is_trailers());
        assert_eq!(member.is_closed(), closed, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_failure() {
    let member = member(None);
    let mut body = Http::default().track(Response::new(frames([data(), Err("broken")])), send(&member)).into_body();
    assert!(read(&mut body).await && !read(&mut body).await);
    assert!(!member.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_request_counts_for_the_time_it_took() {
    let member = member(None);
    let tracked = send(&member);
    advance(Duration::from_secs(7)).await;
    drop(tracked);
    assert!((member.load_of_one() - 7.0).abs() < 1e-6);
    assert!(member.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_early_is_judged_by_its_head() {
    let member = member(None);
    // Open the breaker, and let a probe go.
    send(&member).fail(Instant::now());
    advance(Duration::from_secs(1)).await;
    let response = Http::default().track(Response::new(frames([data(), data()])), send(&member));
    assert!(!member.is_closed());
    drop(response);
    assert!(member.is_closed());
}

#[tokio::test(start_paused = true)]
async fn failures_cost_their_penalty_or_what_they_ask_for_up_to_the_limit() {
    let penalty = Penalty::default().rtt(Duration::from_secs(5)).max_retry_after(Duration::from_secs(60));
    let cost = |status: u16, headers: &[(&str, &str)]| {
        let member = member(Some(penalty));
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let track = Http::default()
            .dates(Arc::new(SystemTime::UNIX_EPOCH), |date| (date == "in 20 s").then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(20)));
        drop(track.track(response.body(Empty::<Bytes>::new()).unwrap(), send(&member)));
        member.secs().round() as u64
    };
    let grpc = ("content-type", "application/grpc");
    assert_eq!(cost(200, &[("retry-after", "50")]), 0);
    assert_eq!(cost(404, &[]), 0);
    for status in [429, 500, 503] {
        assert_eq!(cost(status, &[]), 5, "{status}");
    }
    assert_eq!(cost(503, &[("retry-after", "50")]), 50);
    assert_eq!(cost(503, &[("retry-after", "90")]), 60);
    assert_eq!(cost(503, &[("retry-after", "in 20 s")]), 20);
    assert_eq!(cost(503, &[("retry-after", "nonsense")]), 5);
    for code in ["2", "4", "8", "13", "14", "15"] {
        assert_eq!(cost(200, &[grpc, ("grpc-status", code)]), 5, "{code}");
    }
    assert_eq!(cost(200, &[grpc, ("grpc-status", "8"), ("grpc-retry-pushback-ms", "9000")]), 9);
    for code in ["0", "5", "7"] {
        assert_eq!(cost(200, &[grpc, ("grpc-status", code)]), 0, "{code}");
    }
}
