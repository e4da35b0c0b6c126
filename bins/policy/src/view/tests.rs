use meshkit_manifest::{Event, Key, Kind};

use super::*;
use crate::fixture::{cluster, objects};

const CLUSTER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: pods}, spec: {containers: []}, status: {phase: Pending}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: named}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: services}, spec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}}
---
{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: web, namespace: servers}, spec: {podSelector: {}, port: 80}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: web, namespace: routes}, spec: {parentRefs: [{group: core, kind: Service, name: web, namespace: services, port: 80}], rules: [{backendRefs: [{name: web, namespace: elsewhere, port: 80}]}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: slices}, endpoints: [], ports: []}
";

fn changed(change: impl FnOnce(&mut Cluster)) -> [Vec<String>; 3] {
    let before = cluster(objects(CLUSTER));
    let mut after = Cluster::clone(&before);
    change(&mut after);
    let Changes { inbound, outbound, workloads } = Changes::between(&before, &after);
    [inbound, outbound, workloads].map(|set| set.into_iter().collect())
}

fn apply(text: &str) -> [Vec<String>; 3] {
    changed(|cluster| objects(text).into_iter().for_each(|object| cluster.apply(Event::Applied(object), |_| true)))
}

fn namespaces(inbound: &[&str], outbound: &[&str], workloads: &[&str]) -> [Vec<String>; 3] {
    [inbound, outbound, workloads].map(|all| all.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_change_is_told_by_its_namespace() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: pods}, spec: {containers: []}, status: {phase: Running}}";
    assert_eq!(apply(pod), namespaces(&[], &[], &[]), "a phase says nothing of policies");
    let labelled = pod.replace("namespace: pods", "namespace: pods, labels: {app: web}");
    assert_eq!(apply(&labelled), namespaces(&[], &[], &["pods"]));
    assert_eq!(apply(&pod.replace("web-1", "web-0")), namespaces(&[], &[], &["pods"]), "a new one");
    let noted = "{apiVersion: v1, kind: Namespace, metadata: {name: named, annotations: {a: b}}}";
    assert_eq!(apply(noted), namespaces(&[], &[], &["named"]));
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: slices}, endpoints: [{addresses: [10.0.0.1]}], ports: []}";
    assert_eq!(apply(slice), namespaces(&[], &[], &[]));
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: services}, spec: {ports: [{port: 81}]}}";
    assert_eq!(apply(service), namespaces(&[], &["services"], &[]));
    let delete = |kind, namespace: &str| {
        let key = Key { kind, namespace: namespace.to_owned(), name: "web".to_owned() };
        changed(|cluster| cluster.apply(Event::Deleted(key), |_| true))
    };
    assert_eq!(delete(Kind::HTTPRoute, "routes"), namespaces(&["routes"], &["routes"], &[]));
    assert_eq!(delete(Kind::Server, "servers"), namespaces(&["servers"], &[], &[]));
    let all = namespaces(&["routes", "servers"], &["routes", "services"], &["named", "pods"]);
    assert_eq!(changed(|cluster| cluster.apply(Event::Reset(Vec::new()), |_| true)), all);
    assert_eq!(changed(|_| ()), namespaces(&[], &[], &[]));
}

#[test]
fn the_scope_of_a_destination_is_where_its_routes_and_their_backends_are() {
    let view = View::new(cluster(objects(CLUSTER)));
    let parent = Parent { kind: ParentKind::Service, namespace: "services".to_owned(), name: "web".to_owned() };
    let scope: Vec<_> = view.outbound_scope(&parent).into_iter().collect();
    assert_eq!(scope, ["elsewhere", "routes", "services"]);
    let other = Parent { kind: ParentKind::EgressNetwork, ..parent };
    assert_eq!(view.outbound_scope(&other).len(), 1, "another kind of the same name");
}

#[test]
fn the_scope_of_a_port_is_where_its_policies_look() {
    let text = "{apiVersion: policy.linkerd.io/v1alpha1, kind: AuthorizationPolicy, metadata: {name: it, namespace: ns}, \
        spec: {targetRef: {kind: Namespace, name: ns}, requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: a, namespace: far}]}}";
    let view = View::new(cluster(objects(text)));
    assert_eq!(view.inbound_scope("ns").into_iter().collect::<Vec<_>>(), ["far", "ns"]);
    assert_eq!(view.inbound_scope("far").into_iter().collect::<Vec<_>>(), ["far"]);
}

#[test]
fn services_are_found_by_each_of_their_addresses() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: both, namespace: ns}, spec: {clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7, 'fd00::7'], ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless, namespace: ns}, spec: {clusterIP: None, ports: [{port: 80}]}}";
    let view = View::new(cluster(objects(text)));
    let at = |ip: &str| view.service_at(ip.parse().unwrap()).map(|service| service.metadata.name.clone());
    assert_eq!([at("10.96.0.7"), at("fd00::7"), at("10.96.0.8")], [Some("both".to_owned()), Some("both".to_owned()), None]);
}
