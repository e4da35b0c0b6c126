//! What a change costs among 1,000 Services of 20 endpoints with their Pods, watched by 100 clients of 50 Services each.
//!
//! | benchmark | what happens |
//! |---|---|
//! | `change/slice` | an endpoint goes from a Service and comes back, and each of its watchers has taken the messages |
//! | `change/pod` | a Pod of a watched Service becomes opaque and clear again, likewise |
//! | `change/nothing` | a Pod is told of in which no answer is interested |
//! | `change/everything` | all objects are read and all watchers answered anew: what a change would cost without an index |
//! | `ask/watched`, `ask/new` | one watcher more, of a question that others have, or of one that nobody has |

#![allow(clippy::unwrap_used)] // What a bench makes itself is sound.

#[path = "../tests/crowd/mod.rs"]
mod crowd;

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use crowd::{Crowd, mesh, path};
use futures_util::StreamExt as _;
use meshkit_destination::{Service, Settings};
use meshkit_manifest::{Event, Object};
use meshkit_wire::destination::{Answers, Resolve as _};
use tokio::runtime::{Builder, Runtime};

const SERVICES: u16 = 1000;
const ENDPOINTS: u16 = 20;
const CLIENTS: u16 = 100;
/// The Service in which something changes.
const CHANGED: u16 = 400;

fn full(crowd: &Crowd) -> Service {
    let service = Service::fed(mesh(), Settings::default());
    for number in 0..SERVICES {
        crowd.service(number, 0).for_each(|event| service.apply(event, |_| true));
    }
    service
}

/// The watchers of the Service that changes, and all others.
fn watch(service: &Service, runtime: &Runtime) -> (Vec<Answers<Bytes>>, Vec<Answers<Bytes>>) {
    let (mut concerned, mut others) = (Vec::new(), Vec::new());
    for client in 0..CLIENTS {
        let context = format!(r#"{{"ns":"crowd","nodeName":"node-{client}"}}"#);
        for number in (0..50).map(|n| (client * 10 + n) % SERVICES) {
            let answers = service.endpoint_messages(&path(number), &context).unwrap();
            if number == CHANGED { &mut concerned } else { &mut others }.push(answers);
        }
    }
    take(runtime, &mut concerned);
    take(runtime, &mut others);
    (concerned, others)
}

/// Each watcher takes what it is told.
fn take(runtime: &Runtime, watchers: &mut [Answers<Bytes>]) {
    runtime.block_on(async {
        for watcher in watchers {
            black_box(watcher.next().await);
        }
    });
}

fn annotated(event: Event, key: &str, value: &str) -> Event {
    let Event::Applied(Object::Pod(mut pod)) = event else { return event };
    Arc::make_mut(&mut pod).metadata.annotations.insert(key.to_owned(), value.to_owned());
    Event::Applied(Object::Pod(pod))
}

fn change(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let crowd = Crowd::new(ENDPOINTS);
    let service = full(&crowd);
    let (mut concerned, others) = watch(&service, &runtime);
    let apply = |event: &Event| service.apply(event.clone(), |_| true);
    let mut group = c.benchmark_group("change");
    let mut told = |name: &str, events: &[Event]| {
        let mut events = events.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                events.next().into_iter().for_each(&apply);
                take(&runtime, &mut concerned);
            });
        });
    };
    told("slice", &[crowd.slice(CHANGED, ENDPOINTS - 1, 0), crowd.slice(CHANGED, ENDPOINTS, 0)]);
    let pod = |ports| annotated(crowd.pod(CHANGED, 3, 0), "config.linkerd.io/opaque-ports", ports);
    told("pod", &[pod("8080"), pod("")]);
    let nothing = annotated(pod(""), "other", "x");
    group.bench_function("nothing", |b| b.iter(|| apply(&nothing)));
    group.sample_size(10);
    let objects: Vec<_> = (0..SERVICES).flat_map(|number| crowd.service(number, 0)).collect();
    group.bench_function("everything", |b| {
        b.iter(|| {
            let service = Service::fed(mesh(), Settings::default());
            objects.iter().for_each(|event| service.apply(event.clone(), |_| true));
            black_box(watch(&service, &runtime));
        });
    });
    group.finish();

    let mut group = c.benchmark_group("ask");
    let mut ask = |name: &str, path: &str| {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut answers = service.endpoint_messages(path, r#"{"ns":"crowd","nodeName":"node-40"}"#).unwrap();
                take(&runtime, std::slice::from_mut(&mut answers));
            });
        });
    };
    ask("watched", &path(CHANGED));
    ask("new", &path(SERVICES - 1));
    group.finish();
    drop(others);
}

criterion_group!(benches, change);
criterion_main!(benches);
