//! What a change of the cluster costs, by the number of endpoints and of watchers.
//!
//! `unrelated` changes a Service of another namespace: no answer is worked out, no watcher woken. `related` changes one endpoint, and every watcher is told.

use std::{fmt::Write as _, hint::black_box, path::Path, sync::Arc};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::StreamExt as _;
use meshkit_destination::{Mesh, Service};
use meshkit_manifest::{Cluster, Event, Manifest};
use meshkit_wire::destination::{Answers, Resolve as _};
use tokio::sync::watch;

/// A Service with so many endpoints, the first of which is ready or not.
fn web(endpoints: usize, first: bool) -> String {
    let mut text = "
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {ports: [{name: http, port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: ns, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}]
endpoints:
"
    .to_owned();
    for host in 0..endpoints {
        let ready = first || host > 0;
        let _ = writeln!(text, "- {{addresses: [10.0.{}.{}], conditions: {{ready: {ready}}}}}", host / 250, host % 250);
    }
    text
}

fn other(label: bool) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: other, namespace: other, labels: {{l: '{label}'}}}}, spec: {{ports: [{{port: 80}}]}}}}"
    )
}

struct World {
    cluster: watch::Sender<Arc<Cluster>>,
    watchers: Vec<Answers<meshkit_core::Update>>,
}

impl World {
    async fn new(endpoints: usize, watchers: usize) -> Self {
        let cluster = watch::Sender::new(Arc::default());
        let mesh = Mesh { namespace: "linkerd".to_owned(), domain: "cluster.local".to_owned(), trust_domain: "td".to_owned() };
        let service = Service::new(cluster.subscribe(), mesh);
        let world = Self { cluster, watchers: Vec::new() };
        world.apply(&objects(&web(endpoints, true)));
        let ask = |_| service.endpoints("web.ns.svc.cluster.local:80", "").expect("the Service is there").0;
        let mut world = Self { watchers: (0..watchers).map(ask).collect(), ..world };
        world.read().await;
        world
    }

    fn apply(&self, events: &[Event]) {
        for event in events {
            self.cluster.send_modify(|cluster| Arc::make_mut(cluster).apply(event.clone(), |_| true));
        }
    }

    /// Each watcher takes one update.
    async fn read(&mut self) {
        for watcher in &mut self.watchers {
            black_box(watcher.next().await);
        }
    }
}

fn objects(text: &str) -> Vec<Event> {
    let manifest = Manifest::parse(Path::new("x.yaml"), text).expect("the manifest is sound");
    manifest.objects.into_iter().map(Event::Applied).collect()
}

fn change(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = c.benchmark_group("change");
    for (endpoints, watchers) in [(10, 1), (10, 1000), (1000, 1), (1000, 1000)] {
        let id = |what| BenchmarkId::new(what, format!("{endpoints} endpoints, {watchers} watchers"));
        let mut world = runtime.block_on(World::new(endpoints, watchers));
        let (gone, back) = (objects(&web(endpoints, false)), objects(&web(endpoints, true)));
        group.bench_function(id("related"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    for events in [&gone, &back] {
                        world.apply(events);
                        world.read().await;
                    }
                });
            });
        });
        let (one, two) = (objects(&other(true)), objects(&other(false)));
        group.bench_function(id("unrelated"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    for events in [&one, &two] {
                        world.apply(events);
                        tokio::task::yield_now().await;
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, change);
criterion_main!(benches);
