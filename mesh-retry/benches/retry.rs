//! What a request costs that is not sent again, and what a retry costs.
#![allow(clippy::unwrap_used)] // Helpers of benchmarks may panic like tests.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{
    HeaderValue, Request, Response, Uri,
    header::{ACCEPT, HOST, USER_AGENT},
};
use http_body_util::Full;
use meshkit_core::Dice;
use meshkit_retry::{Budget, Conditions, HeadTimeoutLayer, Params, Plan, RetryLayer, StatusRanges, TimeoutLayer, Timeouts, budget};
use tokio::time::Instant;
use tower::{Layer, Service};

/// Answers at once; every second time with 503, if it is told so.
#[derive(Clone)]
struct Server<'a>(Option<&'a AtomicBool>);

impl<B> Service<Request<B>> for Server<'_> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let failed = self.0.is_some_and(|failed| !failed.fetch_xor(true, Ordering::Relaxed));
        ready(Ok(Response::builder().status(if failed { 503 } else { 200 }).body(Full::default()).unwrap()))
    }
}

fn request(body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from_static(body.as_bytes())));
    *request.uri_mut() = Uri::from_static("http://web.ns/api/vote");
    for (name, value) in [(HOST, "web.ns"), (USER_AGENT, "curl/8"), (ACCEPT, "*/*")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// A request through a service that answers at once.
fn send<S: Service<Request<Full<Bytes>>>>(service: &mut S, request: Request<Full<Bytes>>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    assert!(black_box(pin!(service.call(request)).as_mut().poll(&mut cx)).is_ready());
}

fn requests(c: &mut Criterion) {
    let params =
        || Params { conditions: Conditions { statuses: StatusRanges::new(vec![500..=599]), ..Conditions::default() }, ..Params::DEFAULT };
    let layer = |plan: Plan| RetryLayer::new(plan, Dice::new(1));
    let endless = || Budget::new(budget::Params::new(Duration::from_secs(10), 1_000.0, 1_000_000).unwrap(), Instant::now());
    let minute = Some(Duration::from_secs(60));
    let timeouts = Timeouts { request: minute, response: minute, idle: minute };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let failed = AtomicBool::new(false);
    let ok = Server(None);

    let mut group = c.benchmark_group("request");
    let mut bench = |name: &str, mut work: Box<dyn FnMut(Request<Full<Bytes>>) + '_>| {
        let body = if name.ends_with("body") { "body" } else { "" };
        group.bench_function(name, |b| b.iter_batched(|| request(body), &mut work, criterion::BatchSize::SmallInput));
    };
    let mut plain = ok.clone();
    bench("no layer", Box::new(move |request| send(&mut plain, request)));
    let mut planless = layer(Plan::new()).layer(ok.clone());
    bench("no retry planned", Box::new(move |request| send(&mut planless, request)));
    let mut unsent = layer(Plan::new()).resend_unsent().layer(ok.clone());
    bench("resent if not sent", Box::new(move |request| send(&mut unsent, request)));
    let mut planned = layer(params().into()).budget(endless()).layer(ok.clone());
    bench("retry planned", Box::new(move |request| send(&mut planned, request)));
    let mut with_body = layer(params().into()).budget(endless()).layer(ok.clone());
    bench("retry planned, body", Box::new(move |request| send(&mut with_body, request)));
    let mut retried = layer(params().into()).budget(endless()).layer(Server(Some(&failed)));
    bench("one retry", Box::new(move |request| send(&mut retried, request)));
    let mut timed = TimeoutLayer::new(timeouts).layer(ok.clone());
    bench("timeouts", Box::new(move |request| send(&mut timed, request)));
    let mut headed = HeadTimeoutLayer::new(minute).layer(ok.clone());
    bench("head timeout", Box::new(move |request| send(&mut headed, request)));
    group.finish();
}

fn budget(c: &mut Criterion) {
    let now = Instant::now();
    let budget = Budget::new(budget::Params::default(), now);
    let mut group = c.benchmark_group("budget");
    group.bench_function("deposit", |b| b.iter(|| budget.deposit(black_box(now))));
    group.bench_function("withdraw", |b| b.iter(|| budget.withdraw(black_box(now))));
    group.finish();
}

criterion_group!(benches, requests, budget);
criterion_main!(benches);
