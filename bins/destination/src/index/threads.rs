//! Sources and clients of several threads at once: nobody waits for ever, and everybody ends with the truth.

use std::sync::atomic::AtomicU64;

use meshkit_manifest::{Event, Object};
use meshkit_wire::destination::Resolve as _;

use super::*;
use crate::{
    Service,
    fixture::{mesh, objects},
};

const SERVICES: usize = 8;
const ROUNDS: u8 = 100;

/// Hears everything, and counts it.
#[derive(Debug, Default)]
struct Counts {
    endpoints: AtomicU64,
    profiles: AtomicU64,
    refused: AtomicU64,
}

impl Observe for Counts {
    fn endpoints(&self, _: &Name, _: &str, _: &Endpoints) {
        self.endpoints.fetch_add(1, Ordering::Relaxed);
    }

    fn profile(&self, _: &Target, _: &str) {
        self.profiles.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self, setting: &'static str) {
        assert_eq!(setting, "max_streams");
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

fn service(number: usize, opaque: u8) -> Object {
    let text = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web-{number}, namespace: ns, annotations: {{config.linkerd.io/opaque-ports: '{opaque}'}}}}, spec: {{ports: [{{port: 80}}]}}}}"
    );
    objects(&text).remove(0)
}

fn slice(number: usize, host: u8) -> Object {
    let text = format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-{number}, namespace: ns, labels: {{kubernetes.io/service-name: web-{number}}}}}
ports: [{{port: 8080}}]
endpoints: [{{addresses: [10.0.{number}.{host}]}}]
"
    );
    objects(&text).remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_ends_with_the_truth() {
    let counts = Arc::new(Counts::default());
    let server = Service::fed(mesh(), Settings::default()).observe(Arc::clone(&counts) as _);
    let path = |number: usize| format!("web-{number}.ns.svc.cluster.local:80");
    let apply = |object| server.apply(Event::Applied(object), |_| true);
    (0..SERVICES).flat_map(|number| [service(number, 0), slice(number, 0)]).for_each(apply);
    let name = |number| match Target::parse(&path(number), "cluster.local") {
        Ok(Target::Name(name)) => name,
        other => panic!("{other:?}"),
    };
    let mut tasks = Vec::new();
    for number in 0..SERVICES {
        let (source, client) = (server.clone(), server.clone());
        tasks.push(tokio::spawn(async move {
            for round in 1..=ROUNDS {
                source.apply(Event::Applied(slice(number, round)), |_| true);
                source.apply(Event::Applied(service(number, round)), |_| true);
                tokio::task::yield_now().await;
            }
        }));
        let passing = path((number + 1) % SERVICES);
        tasks.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let context = format!(r#"{{"nodeName": "node-{round}"}}"#);
                drop((client.endpoint_messages(&passing, &context).unwrap(), client.profile_messages(&passing, &context).unwrap()));
                tokio::task::yield_now().await;
            }
        }));
        let (index, name) = (server.index().clone(), name(number));
        tasks.push(tokio::spawn(async move {
            let mut endpoints = index.endpoints(&name, &Context::default()).unwrap();
            let mut profile = index.profile(&Target::Name(Name { port: 80, ..name.clone() }), &Context::default()).unwrap();
            let last = format!("10.0.{number}.{ROUNDS}:8080").parse().unwrap();
            while endpoints.borrow_and_update().set.get(last).is_none() {
                endpoints.changed().await.unwrap();
            }
            // Round 80 made the port opaque, and the next one clear again.
            while profile.borrow_and_update().opaque {
                profile.changed().await.unwrap();
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(std::time::Duration::from_secs(60), task).await.expect("nobody waits for ever").unwrap();
    }
    assert!(counts.endpoints.load(Ordering::Relaxed) > 0 && counts.refused.load(Ordering::Relaxed) == 0);
}

#[tokio::test]
async fn an_observer_hears_of_each_answer_and_refusal() {
    let counts = Arc::new(Counts::default());
    let settings = Settings { max_streams: 2, ..Settings::default() };
    let server = Service::fed(mesh(), settings).observe(Arc::clone(&counts) as _);
    let apply = |object| server.apply(Event::Applied(object), |_| true);
    [service(0, 0), slice(0, 0)].into_iter().for_each(apply);
    let path = "web-0.ns.svc.cluster.local:80";
    let streams = (server.endpoint_messages(path, "").unwrap(), server.profile_messages(path, "").unwrap());
    assert!(server.endpoint_messages(path, "").is_err());
    for (object, told) in [(slice(0, 1), (1, 0)), (service(0, 80), (1, 1)), (slice(0, 1), (1, 1)), (slice(0, 2), (2, 1))] {
        apply(object);
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        let heard = (counts.endpoints.load(Ordering::Relaxed), counts.profiles.load(Ordering::Relaxed));
        assert_eq!((heard, counts.refused.load(Ordering::Relaxed)), (told, 1));
    }
    drop(streams);
}
