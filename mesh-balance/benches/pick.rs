//! The cost of a pick among 10 and 100 endpoints, of the estimate, and of a whole balanced call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use meshkit_balance::{
    Balance, Config, Distribute, PeakEwma, Reconnect,
    distribute::{Backend, Strategy},
    p2c, updates,
};
use meshkit_core::{Backoff, Dice, Endpoint};
use tokio::time::Instant;
use tower_service::Service;

#[derive(Clone)]
struct Instantly;

impl Service<()> for Instantly {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for count in [10u16, 100] {
        let (dice, loads) = (Dice::new(1), (0..count).map(f64::from).collect::<Vec<_>>());
        group.bench_function(BenchmarkId::new("p2c", count), |b| b.iter(|| p2c::pick(black_box(&loads), &dice)));

        // As a pool picks: two draws, and the estimates of these two as they stand now.
        let start = Instant::now();
        let estimate = |n| PeakEwma::new(Duration::from_millis(n), Duration::from_secs(10), start);
        let estimates: Vec<_> = (1..=u64::from(count)).map(estimate).collect();
        let now = start + Duration::from_millis(5);
        let load = |i: usize| estimates[i].load(3, 1.0, black_box(now));
        group.bench_function(BenchmarkId::new("ewma", count), |b| b.iter(|| p2c::pick_by(estimates.len(), &dice, load)));
        let sums: Vec<u64> = (1..=u64::from(count)).collect();
        group.bench_function(BenchmarkId::new("ewma, weighted", count), |b| b.iter(|| p2c::pick_weighted(black_box(&sums), &dice, load)));

        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
        let (mut balance, driver) = Balance::connect(Config::default(), |_| Instantly);
        runtime.block_on(async {
            tokio::spawn(driver.run(updates::fixed((1..=count).map(|port| Endpoint::new(([10, 0, 0, 1], port).into())))));
            while balance.endpoints().ready < usize::from(count) {
                tokio::task::yield_now().await;
            }
        });
        group.bench_function(BenchmarkId::new("call", count), |b| {
            b.iter_custom(|times| {
                runtime.block_on(async {
                    let start = Instant::now();
                    for _ in 0..times {
                        balance.call(()).await.expect("an endpoint is ready");
                    }
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

fn ewma(c: &mut Criterion) {
    let start = Instant::now();
    let mut ewma = PeakEwma::new(Duration::from_millis(30), Duration::from_secs(10), start);
    c.bench_function("ewma/load", |b| b.iter(|| black_box(&ewma).load(3, 1.0, start + Duration::from_millis(5))));
    let mut now = start;
    c.bench_function("ewma/record", |b| {
        b.iter(|| {
            now += Duration::from_millis(1);
            ewma.record(black_box(Duration::from_millis(7)), now);
        });
    });
}

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

/// Requests until the end of their bodies: without anything, over a connection that is kept, and balanced over ten endpoints.
fn http(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
    let mut group = c.benchmark_group("http");
    let mut cx = Context::from_waker(Waker::noop());
    group.bench_function("alone", |b| b.iter(|| drive(&mut Hello, &mut cx)));
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.0).expect("a backoff");
    let mut reconnect = Reconnect::new(Connects, (), backoff, Dice::new(1));
    let _entered = runtime.enter();
    group.bench_function("reconnect", |b| b.iter(|| drive(&mut reconnect, &mut cx)));
    let (mut balance, driver) = Balance::new(Config::default(), |_| Hello);
    runtime.block_on(async {
        tokio::spawn(driver.run(updates::fixed((1..=10).map(|port| Endpoint::new(([10, 0, 0, 1], port).into())))));
        while balance.endpoints().ready < 10 {
            tokio::task::yield_now().await;
        }
    });
    group.bench_function("balance", |b| b.iter(|| drive(&mut balance, &mut cx)));
    group.finish();
}

/// One request from readiness to the last frame of its response, all of which is there at once.
fn drive<S, B>(service: &mut S, cx: &mut Context<'_>) -> bool
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body + Unpin,
{
    let ready = service.poll_ready(cx).is_ready();
    let Poll::Ready(Ok(response)) = pin!(service.call(Request::new(()))).as_mut().poll(cx) else { return false };
    let mut body = response.into_body();
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(cx) {
        black_box(frame.is_ok());
    }
    ready
}

fn distribute(c: &mut Criterion) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut group = c.benchmark_group("distribute");
    for (name, strategy) in [("first", Strategy::First), ("weighted", Strategy::Weighted)] {
        let backends = (1..=3).map(|weight| Backend::new(weight, weight, Instantly)).collect();
        let mut distribute = Distribute::new(strategy, backends, Dice::new(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                let ready = distribute.poll_ready(&mut cx).is_ready();
                (ready, pin!(distribute.call(())).as_mut().poll(&mut cx).is_ready())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pick, ewma, distribute, http);
criterion_main!(benches);
