//! What a change costs in a cluster of 1,000 Services with 100 routes, by what changes and by how many watch.
//!
//! `unrelated` changes endpoints, which no policy looks at. `related` changes a Service of the namespace that everybody watches: each
//! distinct answer there is worked out anew, and those whose answer differs are told. `look` is the pass over all objects alone.

use std::{fmt::Write as _, hint::black_box, path::Path, sync::Arc};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use meshkit_manifest::{Cluster, Event, Manifest};
use meshkit_policy::DefaultPolicy;
use meshkit_policy_controller::{Index, Mesh, Settings, Workload, index::Watcher, view::View};
use meshkit_wire::outbound::{Policy, Target};
use tokio::sync::watch;

const SERVICES: usize = 1_000;
const ROUTES: usize = 100;
/// Ten namespaces with a tenth of everything.
const NAMESPACES: usize = 10;

fn service(nth: usize, timeout: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: s{nth}, namespace: n{}, annotations: {{timeout.linkerd.io/request: {timeout}}}}}, \
         spec: {{clusterIP: 10.{}.{}.1, ports: [{{port: 80}}]}}}}\n---\n",
        nth % NAMESPACES,
        nth / 250,
        nth % 250
    )
}

fn everything() -> String {
    let mut text: String = (0..SERVICES).map(|nth| service(nth, "1s")).collect();
    for nth in 0..ROUTES {
        let _ = write!(
            text,
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r{nth}, namespace: n{}}}, spec: {{parentRefs: \
             [{{group: core, kind: Service, name: s{nth}, port: 80}}], rules: [{{matches: [{{path: {{value: /a}}}}], \
             backendRefs: [{{name: s{nth}, port: 80, weight: 9}}, {{name: s{}, port: 80}}]}}]}}}}\n---\n",
            nth % NAMESPACES,
            nth + NAMESPACES
        );
    }
    text + &slice(1)
}

fn slice(host: u8) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: s0-1, namespace: n0}}, ports: [{{port: 80}}], \
         endpoints: [{{addresses: [10.9.9.{host}]}}]}}\n"
    )
}

fn objects(text: &str) -> Vec<Event> {
    let manifest = Manifest::parse(Path::new("x.yaml"), text).expect("the manifest is sound");
    manifest.objects.into_iter().map(Event::Applied).collect()
}

struct World {
    cluster: watch::Sender<Arc<Cluster>>,
    index: Index,
    watchers: Vec<Watcher<Policy>>,
}

impl World {
    /// So many watchers, each of another Service of one namespace as long as there are some, and then of the same ones again.
    fn new(watchers: usize) -> Self {
        let cluster = watch::Sender::new(Arc::default());
        let mesh = Mesh {
            namespace: "linkerd".to_owned(),
            domain: "cluster.local".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            networks: vec!["10.0.0.0/8".parse().expect("it is a network")],
            probe_networks: Vec::new(),
            default_policy: DefaultPolicy::AllUnauthenticated,
        };
        let index = Index::new(cluster.subscribe(), mesh, Settings::default());
        let mut world = Self { cluster, index, watchers: Vec::new() };
        world.apply(&objects(&everything()));
        let ask = |nth: usize| {
            let name = format!("s{}.n0.svc.cluster.local:80", nth * NAMESPACES % SERVICES);
            world.index.outbound(&Workload::pod("client", "c"), &Target::Authority(name)).expect("a name is always answered")
        };
        world.watchers = (0..watchers).map(ask).collect();
        world
    }

    fn apply(&self, events: &[Event]) {
        for event in events {
            self.cluster.send_modify(|cluster| Arc::make_mut(cluster).apply(event.clone(), |_| true));
        }
    }

    /// The change is worked out, and each watcher takes what it is told.
    fn settle(&mut self) {
        black_box(self.index.counts());
        for watcher in &mut self.watchers {
            black_box(watcher.seen());
        }
    }
}

fn change(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _inside = runtime.enter();
    let mut group = c.benchmark_group("change");
    for watchers in [1, 100, 10_000] {
        let mut world = World::new(watchers);
        let cases = [("unrelated", [slice(2), slice(1)]), ("related", [service(0, "2s"), service(0, "1s")])];
        for (what, texts) in cases {
            let events = texts.map(|text| objects(&text));
            group.bench_function(BenchmarkId::new(what, watchers), |b| {
                b.iter(|| {
                    for events in &events {
                        world.apply(events);
                        world.settle();
                    }
                });
            });
        }
    }
    let mut all = Cluster::default();
    objects(&everything()).into_iter().for_each(|event| all.apply(event, |_| true));
    let all = Arc::new(all);
    group.bench_function("look", |b| b.iter(|| black_box(View::new(Arc::clone(&all)))));
    group.finish();
}

criterion_group!(benches, change);
criterion_main!(benches);
