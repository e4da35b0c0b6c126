//! Changes in any order lead to the view that the objects would have from the start.

use std::collections::BTreeSet;

use meshkit_manifest::{Cluster, Event, Key, Kind};

use super::{Changed, View};
use crate::fixture::objects;

const OBJECTS: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: ns, labels: {app: web}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d}]}
spec: {containers: [{name: c, ports: [{containerPort: 8080, hostPort: 9080}]}]}
status: {podIP: 10.0.0.1, hostIP: 172.18.0.2, phase: Running}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: ns, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, namespace: ns, name: web-1}}]
---
{apiVersion: v1, kind: Node, metadata: {name: n, labels: {topology.kubernetes.io/zone: east}}}
---
{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-5d, namespace: ns, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web}]}, spec: {}}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web, namespace: ns}
spec: {podSelector: {}, port: 8080, proxyProtocol: opaque}
---
{apiVersion: linkerd.io/v1alpha2, kind: ServiceProfile, metadata: {name: web.ns.svc.cluster.local, namespace: client}, spec: {}}
---
{apiVersion: workload.linkerd.io/v1beta1, kind: ExternalWorkload, metadata: {name: vm, namespace: ns, labels: {app: web}}, spec: {meshTLS: {identity: a.b, serverName: a.b}, ports: [{port: 8080}], workloadIPs: [{ip: 192.0.2.1}]}}
";

fn view() -> View {
    let mut view = View::default();
    view.apply(Event::Reset(objects(OBJECTS)), |_| true, &mut Changed::default());
    view
}

/// Services and addresses that a change may have given other answers.
fn changed(view: &mut View, event: Event) -> (Vec<String>, Vec<String>) {
    let mut changed = Changed::default();
    view.apply(event, |_| true, &mut changed);
    let services: BTreeSet<_> = changed.services.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    let ips: BTreeSet<_> = changed.ips.iter().map(ToString::to_string).collect();
    (services.into_iter().chain(changed.nodes.iter().map(|node| format!("node {node}"))).collect(), ips.into_iter().collect())
}

fn apply(view: &mut View, text: &str) -> (Vec<String>, Vec<String>) {
    changed(view, Event::Applied(objects(text).remove(0)))
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_change_says_whose_answers_it_may_change() {
    let document = |kind: &str| {
        let heads = [format!("kind: {kind}\nmetadata"), format!("kind: {kind}, metadata")];
        OBJECTS.split("---").find(|text| heads.iter().any(|head| text.contains(head))).unwrap()
    };
    let table = [
        (document("Service").replace("10.96.0.1", "10.96.0.2"), ["ns/web"].as_slice(), ["10.96.0.1", "10.96.0.2"].as_slice()),
        (document("Pod").replace("10.0.0.1", "10.0.0.2"), &["ns/web"], &["10.0.0.1", "10.0.0.2", "172.18.0.2"]),
        (document("EndpointSlice").replace("8080", "8081"), &["ns/web"], &[]),
        (document("Node").replace("east", "west"), &["node n"], &[]),
        (document("ReplicaSet").replace("name: web}]", "name: other}]"), &["ns/web"], &["10.0.0.1", "172.18.0.2"]),
        (document("Server").replace("8080", "80"), &["ns/web"], &["10.0.0.1", "172.18.0.2", "192.0.2.1"]),
        (
            document("ServiceProfile").replace("spec: {}", "spec: {routes: [{name: a, condition: {method: GET}}]}"),
            &["ns/web"],
            &["10.96.0.1"],
        ),
        (document("ExternalWorkload").replace("192.0.2.1", "192.0.2.2"), &["ns/web"], &["192.0.2.1", "192.0.2.2"]),
    ];
    for (text, services, ips) in table {
        let mut view = view();
        assert_eq!(apply(&mut view, &text), (strings(services), strings(ips)), "{text}");
        assert_eq!(apply(&mut view, &text), (vec![], vec![]), "what is so already changes nothing: {text}");
    }
}

#[test]
fn a_change_of_what_no_answer_needs_says_nothing() {
    let mut view = view();
    let pod = OBJECTS.split("---").nth(1).unwrap();
    let table = [
        pod.replace("namespace: ns,", "namespace: ns, resourceVersion: '7', annotations: {other: x},"),
        pod.replace("phase: Running", "phase: Running, conditions: [{type: Ready, status: 'True'}]"),
        OBJECTS.split("---").last().unwrap().replace("namespace: ns,", "namespace: ns, resourceVersion: '7',"),
        "{apiVersion: v1, kind: Node, metadata: {name: other}}".to_owned(),
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: other, namespace: elsewhere}}".to_owned(),
    ];
    for text in table {
        assert_eq!(apply(&mut view, &text), (vec![], vec![]), "{text}");
    }
}

#[test]
fn a_pod_that_is_mentioned_before_it_exists_is_known_when_it_comes() {
    let parts: Vec<_> = OBJECTS.split("---").collect();
    let mut view = View::default();
    apply(&mut view, parts[2]);
    assert_eq!(apply(&mut view, parts[1]), (strings(&["ns/web"]), strings(&["10.0.0.1", "172.18.0.2"])));
    let gone = |kind, name: &str| Event::Deleted(Key { kind, namespace: "ns".to_owned(), name: name.to_owned() });
    assert_eq!(changed(&mut view, gone(Kind::EndpointSlice, "web-a")).0, ["ns/web"]);
    assert_eq!(apply(&mut view, &parts[1].replace("10.0.0.1", "10.0.0.3")).0, <[&str; 0]>::default(), "nobody mentions it");
    changed(&mut view, gone(Kind::Pod, "web-1"));
    assert!(view.pods().named("ns", "web-1").is_none() && view.namespaces.is_empty(), "nothing is left: {view:#?}");
}

#[test]
fn a_reset_leaves_exactly_what_it_names_of_its_source() {
    let mut view = view();
    let pods = |key: &Key| key.kind == Kind::Pod;
    let mut changed = Changed::default();
    view.apply(Event::Reset(vec![]), pods, &mut changed);
    assert!(view.pods().named("ns", "web-1").is_none() && view.service("ns", "web").is_some());
    assert_eq!(changed.services.len(), 1);
    let mut other = OBJECTS.to_owned();
    other = other.replace("name: web-5d, namespace: ns", "name: web-6e, namespace: ns");
    view.apply(Event::Reset(objects(&other)), |_| true, &mut Changed::default());
    assert_eq!(view.maker("ns", ("ReplicaSet", "web-5d")), ("ReplicaSet", "web-5d"));
    assert_eq!(view.maker("ns", ("ReplicaSet", "web-6e")), ("Deployment", "web"));
    view.apply(Event::Reset(vec![]), |_| true, &mut Changed::default());
    assert!(view.namespaces.is_empty() && view.services.is_empty() && view.workloads.is_empty() && view.zones.is_empty(), "{view:#?}");
}

#[test]
fn a_slice_may_change_its_service() {
    let mut view = view();
    let slice = OBJECTS.split("---").nth(2).unwrap();
    let moved = slice.replace("service-name: web", "service-name: other");
    assert_eq!(apply(&mut view, &moved).0, ["ns/other", "ns/web"]);
    assert_eq!((view.slices("ns", "web").len(), view.slices("ns", "other").len()), (0, 1));
    let homeless = slice.replace("labels: {kubernetes.io/service-name: web}", "labels: {}");
    assert_eq!(apply(&mut view, &homeless).0, ["ns/other"]);
    assert_eq!(view.slices("ns", "other").len(), 0);
}

#[test]
fn a_look_at_a_cluster_sees_all_of_it() {
    let mut cluster = Cluster::default();
    cluster.apply(Event::Reset(objects(OBJECTS)), |_| true);
    let view = View::new(&cluster);
    assert!(view.service("ns", "web").is_some() && view.pods().named("ns", "web-1").is_some());
    assert_eq!((view.services_at("10.96.0.1".parse().unwrap()).len(), view.pods().at("10.0.0.1".parse().unwrap()).len()), (1, 1));
    assert_eq!(view.pods().at_host("172.18.0.2:9080".parse().unwrap()).len(), 1);
    assert_eq!((view.workloads_at("192.0.2.1:8080".parse().unwrap()).len(), view.zone("n")), (1, "east"));
}
