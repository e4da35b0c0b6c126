//! What a decision costs: authorization, and a route among a hundred.
#![allow(clippy::unwrap_used)] // Helpers of benchmarks may panic like tests.

use std::{hint::black_box, num::NonZeroU32, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use meshkit_policy::{
    Client, DefaultPolicy, Meta, TlsState,
    http::Match,
    rate_limit::{Limit, Limiter, RateLimit},
    route::{HostMatch, Route, Rule, find},
};
use tokio::time::Instant;

fn authorize(c: &mut Criterion) {
    let policy = DefaultPolicy::AllAuthenticated.policy(&[], Duration::from_secs(10));
    let request = Request::get("http://web.emojivoto/api/vote?choice=:joy:").body(()).unwrap().into_parts().0;
    let identity = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    let client = Client { ip: [10, 0, 0, 7].into(), tls: TlsState::Terminated { client_id: Some(identity) } };
    c.bench_function("route and authorize", |b| {
        b.iter(|| {
            let found = policy.route(black_box(&request)).unwrap();
            policy.authorize_request(black_box(&client), &found).is_ok()
        });
    });
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
    let limits = RateLimit { meta: None, total: limit, identity: limit, overrides: Vec::new() };
    let (limiter, id) = (Limiter::new(limits, Instant::now()), "web.emojivoto".parse().unwrap());
    c.bench_function("count against a limit", |b| b.iter(|| limiter.check(Some(&id), Instant::now()).is_ok()));
}

criterion_group!(benches, authorize, route, limit);
criterion_main!(benches);
