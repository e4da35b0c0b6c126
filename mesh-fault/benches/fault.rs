//! What planned trouble costs the requests that it does not hit, and those that it does.
#![allow(clippy::unwrap_used)] // Helpers of benchmarks may panic like tests.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use meshkit_core::{Dice, Identity, Ratio};
use meshkit_fault::{Abort, Delay, Fault, FaultLayer, Faults, Kind, Rate};
use tower::{Layer, Service};

/// Answers at once.
#[derive(Clone)]
struct Hello;

impl<B> Service<Request<B>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    }
}

fn request() -> Request<()> {
    let mut request = Request::new(());
    let identity: Identity = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    request.extensions_mut().insert(identity);
    request
}

/// A request through a service that answers at once.
fn send<S: Service<Request<()>>>(service: &mut S, request: Request<()>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    assert!(black_box(pin!(service.call(request)).as_mut().poll(&mut cx)).is_ready());
}

fn requests(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let never = |kind| Fault::new(kind).share(Ratio::ZERO);
    let abort = Kind::Abort(Abort::Status(StatusCode::SERVICE_UNAVAILABLE));
    let delay = Kind::Delay(Delay::Exponential { mean: Duration::from_millis(300) });
    let rate = Kind::Throttle(Rate::new(64 << 10).unwrap());
    let layer = |faults: Vec<Fault>| FaultLayer::new(faults, Dice::new(1)).layer(Hello);

    let mut group = c.benchmark_group("request");
    group.bench_function("no layer", |b| b.iter_batched(request, |request| send(&mut Hello, request), BatchSize::SmallInput));
    for (name, faults) in [
        ("no faults", Vec::new()),
        ("one fault that does not hit", vec![never(abort)]),
        ("one fault for somebody else", vec![Fault::new(abort).from("emojivoto/voting".parse().unwrap())]),
        ("four faults that do not hit", [abort, delay, rate, Kind::Reset].map(never).into()),
        ("aborted", vec![Fault::new(abort)]),
        ("throttled", vec![Fault::new(rate)]),
    ] {
        let mut service = layer(faults);
        group.bench_function(name, |b| b.iter_batched(request, |request| send(&mut service, request), BatchSize::SmallInput));
    }
    group.finish();
}

fn text(c: &mut Criterion) {
    let annotations = [
        ("fault.mesh/abort", "grpc:unavailable 10%"),
        ("fault.mesh/delay", "normal(300ms,50ms) 25%"),
        ("fault.mesh/throttle", "64KiB/s"),
        ("fault.mesh/reset", "5%"),
        ("fault.mesh/from", "emojivoto/web,*.emojivoto.serviceaccount.identity.linkerd.cluster.local"),
    ];
    let lookup = |name: &str| annotations.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    c.bench_function("annotations", |b| b.iter(|| black_box(Faults::from_annotations(lookup).unwrap())));
}

criterion_group!(benches, requests, text);
criterion_main!(benches);
