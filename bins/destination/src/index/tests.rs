use std::io;

use meshkit_core::{Update, grpc::Code};
use meshkit_manifest::{Event, Key, Kind, Object};
use meshkit_wire::destination;
use serde_json::json;

use super::*;
use crate::fixture::{mesh, objects, unchecked};

const PATH: &str = "web.ns.svc.cluster.local:80";

/// A cluster that a test changes.
struct Source(watch::Sender<Arc<Cluster>>);

impl Source {
    fn new(text: &str) -> (Self, Index) {
        let source = Self(watch::Sender::new(Arc::default()));
        source.apply(text);
        let index = Index::new(source.0.subscribe(), mesh(), Settings::default());
        (source, index)
    }

    fn change(&self, event: Event) {
        self.0.send_modify(|cluster| Arc::make_mut(cluster).apply(event, |_| true));
    }

    fn apply(&self, text: &str) {
        objects(text).into_iter().for_each(|object| self.change(Event::Applied(object)));
    }

    fn delete(&self, kind: Kind, name: &str) {
        self.change(Event::Deleted(Key { kind, namespace: "ns".to_owned(), name: name.to_owned() }));
    }
}

/// A Service with so many endpoints.
fn web(count: u8) -> String {
    let endpoints: Vec<_> = (0..count).map(|host| format!("{{addresses: [10.0.0.{host}], zone: east}}")).collect();
    format!(
        "
{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: ns}}, spec: {{clusterIP: 10.96.0.7, ports: [{{name: http, port: 80}}]}}}}
---
{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: web-1, namespace: ns, labels: {{kubernetes.io/service-name: web}}}}, ports: [{{name: http, port: 8080}}], endpoints: [{}]}}
",
        endpoints.join(", ")
    )
}

fn node(name: &str, zone: &str) -> String {
    format!("{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: {zone}}}}}}}")
}

fn routed(name: &str) -> Object {
    profile(json!({"routes": [{"name": name, "condition": {"method": "GET"}}]}))
}

fn profile(spec: serde_json::Value) -> Object {
    let metadata = json!({"name": "web.ns.svc.cluster.local", "namespace": "ns"});
    unchecked(json!({"apiVersion": "linkerd.io/v1alpha2", "kind": "ServiceProfile", "metadata": metadata, "spec": spec}))
}

fn watch(index: &Index, node: &str) -> Receiver<Endpoints> {
    let Target::Name(name) = Target::parse(PATH, "cluster.local").unwrap() else { panic!() };
    index.endpoints(&name, &Context { node_name: node.to_owned(), ..Context::default() }).unwrap()
}

fn watch_profile(index: &Index, path: &str, ns: &str) -> Receiver<Described> {
    let client = Context { ns: ns.to_owned(), ..Context::default() };
    index.profile(&Target::parse(path, "cluster.local").unwrap(), &client).unwrap()
}

fn routes(answers: &mut Receiver<Described>) -> Vec<String> {
    answers.borrow_and_update().routes.iter().map(|route| route.labels["route"].clone()).collect()
}

#[tokio::test]
async fn all_watchers_of_an_answer_share_it_however_many_they_and_the_endpoints_are() {
    let (source, index) = Source::new(&web(200));
    let mut all: Vec<_> = (0..500).map(|client| watch(&index, &format!("node-{}", client % 5))).collect();
    for count in [200, 201] {
        let answer = Arc::clone(&all[0].borrow_and_update());
        assert_eq!(answer.set.len(), count);
        for watcher in &mut all {
            assert!(Arc::ptr_eq(&answer, &watcher.borrow_and_update()));
        }
        // One holder for each distinct question (here: node), one for the answer itself, one for this test; none for a watcher.
        assert_eq!(Arc::strong_count(&answer), 5 + 1 + 1);
        if count == 200 {
            source.apply(&web(201));
            all[0].changed().await.unwrap();
        } else {
            assert_eq!((answer.number, answer.step.updates().len()), (2, 1), "it is worked out once");
            assert_eq!(answer.step.updates()[0].endpoints().len(), 1, "and so is what has changed");
        }
    }
}

#[tokio::test]
async fn profiles_are_shared_by_all_who_mean_the_same() {
    let (source, index) = Source::new(&web(1));
    source.change(Event::Applied(routed("one")));
    let by_name = watch_profile(&index, PATH, "client");
    let by_address = watch_profile(&index, "10.96.0.7:80", "other");
    assert!(Arc::ptr_eq(&by_name.borrow(), &by_address.borrow()));
    let other_port = watch_profile(&index, "10.96.0.7:81", "client");
    assert!(!Arc::ptr_eq(&by_name.borrow(), &other_port.borrow()));
}

#[tokio::test]
async fn who_is_not_concerned_is_not_woken() {
    let (source, index) = Source::new(&web(2));
    let (endpoints, mut profile) = (watch(&index, ""), watch_profile(&index, PATH, ""));
    source.change(Event::Applied(routed("one")));
    profile.changed().await.unwrap();
    assert!(!endpoints.has_changed().unwrap(), "a profile does not change endpoints");
    source.apply(&web(3));
    let mut endpoints = endpoints;
    endpoints.changed().await.unwrap();
    assert!(!profile.has_changed().unwrap() || routes(&mut profile) == ["one"]);
    profile.mark_unchanged();
    source.apply(&node("node-z", "west"));
    source.apply(&web(4));
    endpoints.changed().await.unwrap();
    assert!(!profile.has_changed().unwrap());
}

#[tokio::test]
async fn a_slow_watcher_goes_from_what_it_knows_to_the_newest_at_once() {
    let (source, index) = Source::new(&web(2));
    let (mut slow, mut quick) = (watch(&index, ""), watch(&index, ""));
    let known = Arc::clone(&slow.borrow_and_update());
    quick.mark_unchanged();
    for count in [3, 4, 1] {
        source.apply(&web(count));
        quick.changed().await.unwrap();
        quick.mark_unchanged();
    }
    let newest = Arc::clone(&slow.borrow_and_update());
    assert!(newest.before.is_some_and(|before| before != known.number), "it missed some");
    assert_eq!(newest.since(&known), known.set.updates_to(&newest.set));
    assert_eq!(newest.since(&known), [Update::Remove(vec!["10.0.0.1:8080".parse().unwrap()])]);
    assert!(!slow.has_changed().unwrap(), "no queue");
}

#[tokio::test]
async fn a_service_may_go_and_come_back() {
    let (source, index) = Source::new(&web(2));
    let mut endpoints = watch(&index, "");
    let mut profiles = watch_profile(&index, PATH, "");
    endpoints.mark_unchanged();
    profiles.mark_unchanged();
    source.delete(Kind::Service, "web");
    endpoints.changed().await.unwrap();
    assert!(endpoints.borrow_and_update().set.is_empty());
    assert!(!profiles.has_changed().unwrap(), "what is gone keeps its profile");
    let Target::Name(name) = Target::parse(PATH, "cluster.local").unwrap() else { panic!() };
    assert_eq!(index.endpoints(&name, &Context::default()).unwrap_err().code(), Code::NOT_FOUND, "whoever comes now finds nothing");
    assert_eq!(index.profile(&Target::Name(name), &Context::default()).unwrap_err().code(), Code::UNKNOWN);
    source.apply(&web(3));
    endpoints.changed().await.unwrap();
    assert_eq!(endpoints.borrow().set.len(), 3);
}

#[tokio::test]
async fn an_answer_follows_the_zone_of_the_clients_node() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: ns}, spec: {containers: []}, status: {podIP: 10.0.0.0, phase: Running}}";
    let placed = web(1).replace("zone: east", "zone: east, targetRef: {kind: Pod, name: web-0}");
    let (source, index) = Source::new(&format!("{placed}---\n{pod}"));
    let mut seen = watch(&index, "node-a");
    let locality = |answer: &Endpoints| answer.set.iter().next().unwrap().labels["zone_locality"].clone();
    assert_eq!(locality(&seen.borrow_and_update()), "unknown");
    for (zone, expected) in [("east", "local"), ("west", "remote")] {
        source.apply(&node("node-a", zone));
        seen.changed().await.unwrap();
        assert_eq!(locality(&seen.borrow_and_update()), expected);
    }
}

#[tokio::test]
async fn a_profile_that_cannot_be_read_changes_nothing() {
    let broken = || Event::Applied(profile(json!({"routes": [{"name": "broken", "condition": {}}]})));
    let (source, index) = Source::new(&web(1));
    source.change(broken());
    let mut answers = watch_profile(&index, PATH, "");
    assert_eq!(routes(&mut answers), <[&str; 0]>::default(), "there is nothing before it, and the Service works without");
    source.change(Event::Applied(routed("good")));
    answers.changed().await.unwrap();
    assert_eq!(routes(&mut answers), ["good"]);
    source.change(broken());
    let mut late = watch_profile(&index, "10.96.0.7:80", "");
    assert_eq!(routes(&mut late), ["good"], "whoever comes later is told the same");
    assert!(!answers.has_changed().unwrap());
    source.change(Event::Applied(routed("better")));
    answers.changed().await.unwrap();
    assert_eq!((routes(&mut answers), routes(&mut late)), (vec!["better".to_owned()], vec!["better".to_owned()]));
    source.delete(Kind::ServiceProfile, "web.ns.svc.cluster.local");
    answers.changed().await.unwrap();
    assert_eq!(routes(&mut answers), <[&str; 0]>::default());
}

/// Log lines, kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_fault_of_a_profile_is_told_once() {
    let log = Log::default();
    let writer = log.clone();
    let _told = tracing::subscriber::set_default(tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish());
    let lines = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let slow = |timeout: &str| profile(json!({"routes": [{"name": "slow", "condition": {"method": "GET"}, "timeout": timeout}]}));
    let (source, index) = Source::new(&web(1));
    source.change(Event::Applied(slow("soon")));
    let (by_name, by_address) = (watch_profile(&index, PATH, ""), watch_profile(&index, "10.96.0.7:80", "client"));
    let mut endpoints = watch(&index, "");
    for count in [2, 3] {
        source.apply(&web(count));
        endpoints.changed().await.unwrap();
    }
    let told = lines();
    let [line] = told.as_slice() else { panic!("{told:#?}") };
    for part in ["WARN", "service=web namespace=ns", "fault=spec.routes[0].timeout: ", "soon", "it is left out"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    source.change(Event::Applied(slow("later")));
    source.apply(&web(4));
    endpoints.changed().await.unwrap();
    assert!(lines().len() == 2 && lines()[1].contains("later"), "another fault is told: {:#?}", lines());
    drop((by_name, by_address));
}

#[tokio::test]
async fn everything_ends_with_the_cluster() {
    let (source, index) = Source::new(&web(1));
    let mut endpoints = watch(&index, "");
    source.apply(&web(2));
    drop(source);
    while endpoints.changed().await.is_ok() {}
    assert_eq!(endpoints.borrow().set.len(), 2, "the last change is told");
    let late = watch(&index, "");
    assert!(late.has_changed().is_err() && late.borrow().set.len() == 2);
}

#[tokio::test]
async fn an_index_that_is_fed_ends_when_it_is_told_to() {
    let index = Index::fed(mesh(), Settings::default());
    let feed = |text: &str| objects(text).into_iter().for_each(|object| index.apply(Event::Applied(object), |_| true));
    feed(&web(1));
    let (mut endpoints, mut profile) = (watch(&index, ""), watch_profile(&index, PATH, ""));
    endpoints.mark_unchanged();
    feed(&web(2));
    endpoints.changed().await.unwrap();
    assert_eq!(endpoints.borrow().set.len(), 2);
    index.end();
    assert!(endpoints.changed().await.is_err() && profile.changed().await.is_err());
    assert!(watch(&index, "").changed().await.is_err(), "nor are there answers for whoever comes later");
}

#[tokio::test]
async fn changes_that_come_together_are_told_together() {
    let index = Index::fed(mesh(), Settings::default());
    let feed = |text: &str| objects(text).into_iter().for_each(|object| index.apply(Event::Applied(object), |_| true));
    feed(&web(1));
    let mut endpoints = watch(&index, "");
    for count in 2..50 {
        feed(&web(count));
    }
    endpoints.mark_unchanged();
    endpoints.changed().await.unwrap();
    let now = endpoints.borrow();
    assert_eq!((now.set.len(), now.number, now.step.updates().len()), (49, 2, 1), "one answer, and one step to it");
}

#[tokio::test]
async fn who_wants_the_same_bytes_gets_the_same() {
    let (source, index) = Source::new(&web(100));
    let mut endpoints = watch(&index, "");
    let first = endpoints.borrow_and_update();
    let (whole, again) = (first.messages(None), first.messages(None));
    assert_eq!(whole.as_ptr(), again.as_ptr(), "they are made once for all who send them");
    // Maps have no order on the wire.
    assert_eq!(whole.len(), destination::updates_to_bytes(&first.from_nothing(), &first.labels).len());
    source.apply(&web(99));
    endpoints.changed().await.unwrap();
    let second = endpoints.borrow();
    assert_eq!(second.messages(Some(&first)).as_ptr(), second.messages(Some(&first)).as_ptr());
    assert_eq!(second.messages(Some(&first)).len(), destination::updates_to_bytes(&second.since(&first), &second.labels).len());
    assert!(second.messages(Some(&second)).is_empty(), "nothing to tell is no message");
    let profile = watch_profile(&index, PATH, "").borrow();
    assert_eq!(profile.message(), destination::profile_to_bytes(&profile));
}

#[tokio::test]
async fn a_dropped_index_leaves_no_task_behind() {
    let (source, index) = Source::new(&web(1));
    let mut endpoints = watch(&index, "");
    drop(index);
    assert!(endpoints.changed().await.is_err());
    tokio::task::yield_now().await;
    assert_eq!(source.0.receiver_count(), 0, "nobody follows the cluster");
}
