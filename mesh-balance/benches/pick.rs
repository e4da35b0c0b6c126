//! The cost of a pick among 10 and 100 endpoints, of the estimate, and of a whole balanced call.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use meshkit_balance::{Balance, Config, PeakEwma, p2c, updates};
use meshkit_core::{Dice, Endpoint};
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

criterion_group!(benches, pick, ewma);
criterion_main!(benches);
