//! What a decision costs: authorization, and a route among a hundred.
#![allow(clippy::unwrap_used)] // Helpers of benchmarks may panic like tests.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue, Request, Response};
use meshkit_policy::{
    Authorization, Client, DefaultPolicy, FilterLayer, Meta, PolicyLayer, TlsState,
    http::{Filter, HeaderModifier, Match},
    inbound::Policy,
    ipnet::IpNet,
    rate_limit::{Limit, Limiter, RateLimit},
    route::{HostMatch, Route, Rule, find},
};
use tokio::{sync::watch, time::Instant};
use tower::{Layer, Service};

fn client() -> Client {
    let identity = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    Client { ip: [10, 0, 0, 7].into(), tls: TlsState::Terminated { client_id: Some(identity) } }
}

fn authorize(c: &mut Criterion) {
    let policy = DefaultPolicy::AllAuthenticated.policy(&[], Duration::from_secs(10));
    let request = Request::get("http://web.emojivoto/api/vote?choice=:joy:").body(()).unwrap().into_parts().0;
    let client = client();
    let found = policy.route(&request).unwrap();
    let mut group = c.benchmark_group("authorize");
    group.bench_function("default", |b| b.iter(|| policy.authorize_request(black_box(&client), &found).is_ok()));
    // As many objects as a busy port has: the last one permits.
    let permit = |n: u32| {
        let names = (0..4).map(|i| format!("client-{n}-{i}.emojivoto.serviceaccount.identity.linkerd.cluster.local").parse().unwrap());
        Authorization::new(Meta::builtin("other")).networks(["10.0.0.0/8".parse::<IpNet>().unwrap()]).identities(names)
    };
    let last = Authorization::new(Meta::builtin("last")).identities(client.tls.client_id().cloned());
    let authorizations = (0..7).map(permit).chain([last]).collect();
    let policy = Policy { authorizations, ..DefaultPolicy::Deny.policy(&[], Duration::ZERO) };
    assert!(policy.authorize_tcp(&client).is_ok());
    group.bench_function("the last of 8", |b| b.iter(|| policy.authorize_tcp(black_box(&client)).is_ok()));
    let stranger = Client { tls: TlsState::NoTls, ..client };
    group.bench_function("none of 8", |b| b.iter(|| policy.authorize_tcp(black_box(&stranger)).is_err()));
    group.finish();
}

/// Answers at once.
#[derive(Clone)]
struct Hello;

impl Service<Request<()>> for Hello {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

/// A request through a service that answers at once.
fn send<S: Service<Request<()>>>(service: &mut S, request: Request<()>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    assert!(black_box(pin!(service.call(request)).as_mut().poll(&mut cx)).is_ready());
}

fn layers(c: &mut Criterion) {
    let request = || Request::get("http://web.emojivoto/api/vote?choice=:joy:").header("x-user", "bot").body(()).unwrap();
    let mut group = c.benchmark_group("layer");
    group.bench_function("none", |b| b.iter_batched(request, |request| send(&mut Hello, request), BatchSize::SmallInput));
    let policy = DefaultPolicy::AllAuthenticated.policy(&[], Duration::from_secs(10));
    let (_updates, policy) = watch::channel(Arc::new(policy));
    let mut service = PolicyLayer::new(policy, client()).layer(Hello);
    group.bench_function("policy", |b| b.iter_batched(request, |request| send(&mut service, request), BatchSize::SmallInput));
    let headers =
        HeaderModifier { set: vec![(HeaderName::from_static("x-user"), HeaderValue::from_static("someone"))], ..HeaderModifier::default() };
    let filters = vec![Filter::RequestHeaders(headers.clone()), Filter::ResponseHeaders(headers)];
    let mut service = FilterLayer::new(filters, vec![Match::prefix("/api")]).layer(Hello);
    group.bench_function("filters", |b| b.iter_batched(request, |request| send(&mut service, request), BatchSize::SmallInput));
    group.finish();
}

fn route(c: &mut Criterion) {
    let route = |n: u32| Route {
        meta: Meta::builtin("route"),
        hosts: vec![HostMatch::Suffix("emojivoto".to_owned())],
        rules: vec![Rule { matches: vec![Match::prefix(&format!("/api/{n}"))], policy: n }],
    };
    let routes: Arc<[_]> = (0..100).map(route).collect();
    let request = Request::get("http://web.emojivoto/api/99/vote").body(()).unwrap().into_parts().0;
    c.bench_function("route among 100", |b| b.iter(|| find(&routes, black_box(&request)).map(|found| found.rule.policy)));
}

fn limit(c: &mut Criterion) {
    let limit = Some(Limit(NonZeroU32::MAX));
    let limits = RateLimit { total: limit, identity: limit, ..RateLimit::default() };
    let (limiter, id) = (Limiter::new(limits, Instant::now()), "web.emojivoto".parse().unwrap());
    c.bench_function("count against a limit", |b| b.iter(|| limiter.check(Some(&id), Instant::now()).is_ok()));
}

criterion_group!(benches, authorize, route, limit, layers);
criterion_main!(benches);
