//! What the words cost that a request meets: names, outcomes, errors, chance.
#![allow(clippy::unwrap_used)] // Helpers of benchmarks may panic like tests.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use meshkit_core::{Authority, Backoff, Cause, Dice, Error, Identity, Outcome, Ratio, grpc};

fn names(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.bench_function("authority", |b| b.iter(|| black_box("voting-svc.emojivoto.svc.cluster.local:8080").parse::<Authority>()));
    group.bench_function("identity", |b| {
        b.iter(|| black_box("voting.emojivoto.serviceaccount.identity.linkerd.cluster.local").parse::<Identity>());
    });
    group.finish();
}

fn outcomes(c: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(grpc::GRPC_STATUS, HeaderValue::from_static("14"));
    let mut group = c.benchmark_group("outcome");
    group.bench_function("http", |b| b.iter(|| Outcome::of_head(black_box(StatusCode::OK), &HeaderMap::new())));
    group.bench_function("grpc", |b| b.iter(|| Outcome::of_head(black_box(StatusCode::OK), &headers)));
    group.finish();
}

fn errors(c: &mut Criterion) {
    let mut group = c.benchmark_group("error");
    group.bench_function("made", |b| b.iter(|| Error::new(black_box(Cause::FailFast)).within("backend")));
    group.bench_function("answered", |b| b.iter(|| black_box(&Cause::ConnectTimeout(Duration::from_secs(1))).answer()));
    group.finish();
}

fn chance(c: &mut Criterion) {
    let (dice, share) = (Dice::new(1), Ratio::new(0.3).unwrap());
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), 0.5).unwrap();
    c.bench_function("dice", |b| b.iter(|| dice.hit(black_box(share))));
    c.bench_function("backoff", |b| b.iter(|| backoff.delay(black_box(3), &dice)));
}

criterion_group!(benches, names, outcomes, errors, chance);
criterion_main!(benches);
