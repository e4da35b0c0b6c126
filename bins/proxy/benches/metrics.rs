//! What is counted of one request, through the handles that its connection, route and endpoint have: without the request, without a socket.
#![allow(clippy::unwrap_used)] // Helpers of benches are no part of the program.

#[path = "../tests/support/counted.rs"]
mod counted;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::time::Instant;

use self::counted::{Body, Handles, sized};

fn request(c: &mut Criterion) {
    let handles = Handles::new();
    let mut group = c.benchmark_group("metrics of a request");
    for (name, body) in [("", Body::None), (", with bodies", Body::Sized)] {
        group.bench_function(format!("inbound{name}"), |b| b.iter(|| handles.inbound(body)));
        group.bench_function(format!("outbound{name}"), |b| b.iter(|| handles.outbound(body)));
        // What it takes to make and to read such a request and response without anybody who counts.
        group.bench_function(format!("nothing counted{name}"), |b| b.iter(|| sized(body)));
    }
    group.bench_function("one reading of the clock", |b| b.iter(Instant::now));
    group.finish();
}

criterion_group!(benches, request);
criterion_main!(benches);
