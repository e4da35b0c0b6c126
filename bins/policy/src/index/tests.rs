use std::io;

use meshkit_manifest::{Event, Key, Kind};

use super::*;
use crate::fixture::{mesh, objects, target};

/// A cluster that a test changes.
struct Source(watch::Sender<Arc<Cluster>>);

impl Source {
    fn new(text: &str) -> (Self, Index) {
        Self::with(text, Settings::default())
    }

    fn with(text: &str, settings: Settings) -> (Self, Index) {
        let source = Self(watch::Sender::new(Arc::default()));
        source.apply(text);
        let index = Index::new(source.0.subscribe(), mesh(), settings);
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

fn pod(name: &str, labels: &str) -> String {
    format!(
        "\n---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: ns, labels: {{{labels}}}}}, \
         spec: {{containers: [{{name: web, ports: [{{containerPort: 8080}}]}}]}}}}"
    )
}

fn server(namespace: &str, access: &str) -> String {
    format!(
        "\n---\n{{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {{name: web-http, namespace: {namespace}}}, \
         spec: {{podSelector: {{matchLabels: {{app: web}}}}, port: 8080, accessPolicy: {access}}}}}"
    )
}

fn service(name: &str, annotations: &str) -> String {
    format!(
        "\n---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: ns, annotations: {{{annotations}}}}}, \
         spec: {{clusterIP: 10.96.0.7, ports: [{{port: 80}}]}}}}"
    )
}

fn route(namespace: &str, name: &str) -> String {
    format!(
        "\n---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{parentRefs: [{{group: core, kind: Service, name: web, namespace: ns, port: 80}}], rules: [{{}}]}}}}"
    )
}

const NAME: &str = "web.ns.svc.cluster.local:80";

fn web(name: &str) -> Workload {
    Workload::pod("ns", name)
}

fn watch_target(index: &Index, namespace: &str, text: &str) -> Watcher<outbound::Policy> {
    index.outbound(&Workload::pod(namespace, "client"), &target(text)).unwrap()
}

fn routes(watcher: &mut Watcher<outbound::Policy>) -> Vec<String> {
    watcher.seen().protocol.http1().unwrap().iter().map(|route| route.meta.name().to_owned()).collect()
}

#[tokio::test]
async fn an_answer_is_worked_out_once_for_all_who_ask_about_the_same() {
    let pods: String = (0..50).map(|n| pod(&format!("web-{n}"), "app: web")).collect();
    let (source, index) = Source::new(&(pods + &server("ns", "deny")));
    let mut all: Vec<_> = (0..200).map(|n| index.inbound(&web(&format!("web-{}", n % 50)), 8080).unwrap()).collect();
    let counts = index.counts();
    assert_eq!((counts.watchers, counts.questions, counts.answers, counts.worked_out), (200, 50, 1, 1));
    for access in ["audit", "all-unauthenticated"] {
        source.apply(&server("ns", access));
        let answer = all[0].next().await.unwrap();
        assert_eq!(answer.authorizations[0].meta.name(), access);
        assert!(all[1..].iter_mut().all(|watcher| Arc::ptr_eq(&answer, &watcher.seen())));
    }
    assert_eq!(index.counts().worked_out, 3);
}

#[tokio::test]
async fn a_change_works_out_only_what_looks_at_it_and_wakes_only_whom_it_concerns() {
    let other = service("other", "").replace("10.96.0.7", "10.96.0.8");
    let (source, index) = Source::new(&(service("web", "") + &other + &pod("web-1", "app: web") + &server("ns", "deny")));
    let mut watchers = [watch_target(&index, "client", NAME), watch_target(&index, "client", "10.96.0.8:80")];
    let mut inbound = index.inbound(&web("web-1"), 8080).unwrap();
    let worked_out = || index.counts().worked_out;
    assert_eq!(worked_out(), 3);

    // What no policy looks at, and what stands in other namespaces, costs nothing.
    source
        .apply("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: ns}, endpoints: [], ports: []}");
    source.apply(&pod("web-1", "app: web").replace("spec:", "status: {phase: Running}, spec:"));
    source.apply(&server("elsewhere", "audit"));
    source.apply(&route("client", "consumer").replace("name: web", "name: nothing").replace("namespace: ns", "namespace: elsewhere"));
    assert_eq!(worked_out(), 3);

    // A Server is no matter of outbound policies, nor a Service of inbound ones.
    source.apply(&server("ns", "audit"));
    assert_eq!(worked_out(), 4);
    assert!(inbound.has_news() && watchers.iter().all(|watcher| !watcher.has_news()));
    drop(inbound.seen());
    source.apply(&service("web", "timeout.linkerd.io/idle: 1s"));
    assert_eq!(worked_out(), 6, "both Services of the namespace are looked at");
    assert!(watchers[0].has_news() && !watchers[1].has_news() && !inbound.has_news(), "an equal answer wakes nobody");

    // The same object once more is a change that changes no answer.
    drop(watchers[0].seen());
    source.apply(&service("web", "timeout.linkerd.io/idle: 1s"));
    assert!(worked_out() == 8 && watchers.iter_mut().all(|watcher| !watcher.has_news()));
}

#[tokio::test]
async fn an_answer_goes_with_its_last_watcher() {
    let (source, index) = Source::new(&(service("web", "") + &pod("web-1", "app: web")));
    let (by_name, by_address) = (watch_target(&index, "client", NAME), watch_target(&index, "client", "10.96.0.7:80"));
    let port = index.inbound(&web("web-1"), 8080).unwrap();
    let answer = Arc::downgrade(&watch_target(&index, "client", NAME).seen());
    let seen = || (index.counts().watchers, index.counts().questions, index.counts().answers);
    assert_eq!(seen(), (3, 3, 2), "a name and its address have one answer");
    drop(by_name);
    assert_eq!(seen(), (2, 2, 2));
    assert!(answer.upgrade().is_some());
    drop(by_address);
    assert_eq!(seen(), (1, 1, 1));
    assert!(answer.upgrade().is_none());
    let worked_out = index.counts().worked_out;
    source.apply(&service("web", "timeout.linkerd.io/idle: 1s"));
    assert_eq!(index.counts().worked_out, worked_out, "nobody waits for it");
    drop(port);
    assert_eq!(seen(), (0, 0, 0));
}

#[tokio::test]
async fn a_question_may_come_to_be_about_something_else() {
    let (source, index) = Source::new(&(service("web", "") + &pod("web-1", "app: other") + &server("ns", "audit")));
    let mut port = index.inbound(&web("web-1"), 8080).unwrap();
    assert_eq!(port.seen().server.name(), "all-unauthenticated");
    source.apply(&pod("web-1", "app: web"));
    assert_eq!(port.next().await.unwrap().server.name(), "web-http");
    source.delete(Kind::Server, "web-http");
    assert_eq!(port.next().await.unwrap().server.name(), "all-unauthenticated");

    let mut policy = watch_target(&index, "client", "10.96.0.7:80");
    assert_eq!(policy.seen().parent.name(), "web");
    source.delete(Kind::Service, "web");
    source.apply(&service("heir", ""));
    let parent = loop {
        let parent = policy.next().await.unwrap().parent.name().to_owned();
        if parent != "web" {
            break parent;
        }
    };
    assert_eq!(parent, "heir", "it has the address now");

    let mut out = watch_target(&index, "client", "192.0.2.1:443");
    assert_eq!(out.seen().parent.name(), "egress-fallback");
    source.apply("{apiVersion: policy.linkerd.io/v1alpha1, kind: EgressNetwork, metadata: {name: out, namespace: client}, spec: {trafficPolicy: Deny}}");
    assert_eq!(out.next().await.unwrap().parent.kind(), "EgressNetwork");
    let key = Key { kind: Kind::EgressNetwork, namespace: "client".to_owned(), name: "out".to_owned() };
    source.change(Event::Deleted(key));
    assert_eq!(out.next().await.unwrap().parent.name(), "egress-fallback");
    assert_eq!(index.counts().answers, 3);
}

#[tokio::test]
async fn routes_of_other_namespaces_come_and_go_for_their_clients() {
    let (source, index) = Source::new(&service("web", ""));
    let (mut team, mut client) = (watch_target(&index, "team", NAME), watch_target(&index, "client", NAME));
    assert!(Arc::ptr_eq(&team.seen(), &client.seen()));
    source.apply(&route("team", "consumer"));
    assert!(team.next().await.is_some() && routes(&mut team) == ["consumer"]);
    source.apply(&route("ns", "producer"));
    assert!(team.next().await.is_some() && routes(&mut team) == ["consumer", "producer"]);
    assert_eq!(routes(&mut client), ["producer"]);
    source.change(Event::Deleted(Key { kind: Kind::HTTPRoute, namespace: "team".to_owned(), name: "consumer".to_owned() }));
    assert!(team.next().await.is_some() && routes(&mut team) == ["producer"]);
    assert!(!client.has_news() && Arc::ptr_eq(&team.seen(), &client.seen()));
}

#[tokio::test]
async fn what_goes_away_keeps_its_last_answer_and_is_unknown_to_who_comes_later() {
    let (source, index) = Source::new(&(pod("web-1", "app: web") + &server("ns", "audit")));
    let mut port = index.inbound(&web("web-1"), 8080).unwrap();
    let before = port.seen();
    source.delete(Kind::Pod, "web-1");
    assert_eq!(index.inbound(&web("web-1"), 8080).unwrap_err().code(), Code::NOT_FOUND);
    assert!(!port.has_news() && Arc::ptr_eq(&before, &port.seen()));
    source.apply(&server("ns", "deny"));
    assert!(index.counts().watchers == 1 && !port.has_news(), "it keeps its last answer");
    source.apply(&pod("web-1", "app: web"));
    assert!(port.next().await.unwrap().authorizations.is_empty(), "and follows again when it is back");
}

#[tokio::test]
async fn a_slow_watcher_finds_the_newest_answer_and_no_queue() {
    let (source, index) = Source::new(&(pod("web-1", "app: web") + &server("ns", "deny")));
    let (mut slow, mut quick) = (index.inbound(&web("web-1"), 8080).unwrap(), index.inbound(&web("web-1"), 8080).unwrap());
    for access in ["audit", "all-authenticated", "cluster-authenticated"] {
        source.apply(&server("ns", access));
        quick.next().await.unwrap();
    }
    assert_eq!(slow.next().await.unwrap().authorizations[0].meta.name(), "cluster-authenticated");
    assert!(!slow.has_news());
}

#[tokio::test]
async fn there_are_so_many_watchers_and_no_more() {
    let (_source, index) = Source::with(&service("web", ""), Settings::default().max_watchers(2));
    let (first, second) = (watch_target(&index, "client", NAME), watch_target(&index, "client", NAME));
    let ask = || index.outbound_faults(&Workload::pod("ns", "client"), &target(NAME));
    let refused = ask().unwrap_err();
    assert!(refused.code() == Code::RESOURCE_EXHAUSTED && refused.to_string().contains("max_watchers"), "{refused}");
    assert_eq!((index.counts().watchers, index.counts().refused), (2, 1));
    drop(first);
    let third = ask().unwrap();
    assert!(ask().is_err());
    drop((second, third));
    assert_eq!(index.counts().watchers, 0);
    assert!(index.outbound(&Workload::pod("ns", "client"), &target("example.com")).is_err());
    assert_eq!(index.counts().watchers, 0, "whoever is told that there is no such thing waits for nothing");
}

#[tokio::test]
async fn planned_trouble_is_told_as_it_changes() {
    let (source, index) = Source::new(&(service("web", "") + &pod("web-1", "app: web") + &server("ns", "deny")));
    let mut out = index.outbound_faults(&Workload::pod("client", "c"), &target(NAME)).unwrap();
    let mut within = index.inbound_faults(&web("web-1"), 8080).unwrap();
    assert!(out.seen().is_empty() && within.seen().is_empty());
    source.apply(&service("web", "fault.mesh/delay: 5ms"));
    assert!(!out.next().await.unwrap().is_empty());
    assert!(!within.has_news());
    source.apply(&server("ns", "deny").replace("namespace: ns", "namespace: ns, annotations: {fault.mesh/abort: '503'}"));
    assert!(!within.next().await.unwrap().is_empty());
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
async fn what_has_no_effect_is_said_once() {
    let log = Log::default();
    let writer = log.clone();
    let _told = tracing::subscriber::set_default(tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish());
    let lines = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let (source, index) = Source::new(&service("web", "timeout.linkerd.io/request: soon"));
    let watchers = (watch_target(&index, "client", NAME), watch_target(&index, "client", "10.96.0.7:80"));
    source.apply(&service("web", "timeout.linkerd.io/request: soon, timeout.linkerd.io/idle: 1s"));
    assert_eq!(index.counts().watchers, 2);
    let told = lines();
    let [line] = &told[..] else { panic!("{told:#?}") };
    for part in ["WARN", "object=Service ns/web", "timeout.linkerd.io/request", "soon"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    source.apply(&service("web", "timeout.linkerd.io/request: later"));
    assert_eq!(index.counts().watchers, 2);
    assert!(lines().len() == 2 && lines()[1].contains("later"), "something else is said: {:#?}", lines());
    drop(watchers);
}

#[tokio::test]
async fn everything_ends_with_the_cluster() {
    let (source, index) = Source::new(&(pod("web-1", "app: web") + &server("ns", "deny")));
    let mut port = index.inbound(&web("web-1"), 8080).unwrap();
    source.apply(&server("ns", "audit"));
    drop(source);
    assert!(port.next().await.is_some(), "the last change is told");
    assert!(port.next().await.is_none());
    let mut late = index.inbound(&web("web-1"), 8080).unwrap();
    assert_eq!(late.seen().authorizations.len(), 1);
    assert!(late.next().await.is_none());
}

#[tokio::test]
async fn a_dropped_index_goes_with_its_last_watcher_and_leaves_no_task_behind() {
    let (source, index) = Source::new(&(pod("web-1", "app: web") + &server("ns", "deny")));
    let mut port = index.inbound(&web("web-1"), 8080).unwrap();
    drop(index);
    source.apply(&server("ns", "audit"));
    assert!(port.next().await.is_some(), "a connection may outlive the server that took it");
    drop(port);
    tokio::task::yield_now().await;
    assert_eq!(source.0.receiver_count(), 0, "nobody follows the cluster");
}
