use meshkit_core::{Endpoint, ProtocolHint, grpc::Code};
use meshkit_wire::profile::Profile;

use super::{WEB, with};
use crate::fixture::World;

fn endpoint(world: &World, path: &str) -> Endpoint {
    let profile = world.profile(path, "");
    assert_eq!((profile.name.as_ref(), profile.parent.as_ref(), profile.object.as_ref()), (None, None, None), "{path} is no Service");
    assert!(profile.budget.is_some());
    profile.endpoint.unwrap()
}

#[test]
fn a_service_is_found_by_name_and_by_address() {
    let world = World::new(WEB);
    let by_name = world.profile("web-svc.ns.svc.cluster.local:80", "");
    assert_eq!(by_name, world.profile("10.96.0.7:80", ""));
    assert_eq!(by_name.name.as_deref(), Some("web-svc.ns.svc.cluster.local"));
    let parent = by_name.parent.unwrap();
    let meshkit_policy::Meta::Resource(parent) = parent else { panic!("{parent:?}") };
    assert_eq!((parent.group.as_str(), parent.kind.as_str(), parent.name.as_str()), ("core", "Service", "web-svc"));
    assert_eq!((parent.namespace.as_str(), parent.port.unwrap().get()), ("ns", 80));
    assert_eq!((by_name.object, by_name.endpoint, by_name.routes.len()), (None, None, 0));
}

#[test]
fn names_without_a_profile_have_the_code_of_the_api() {
    let world = World::new(&with(
        "
{apiVersion: v1, kind: Service, metadata: {name: out, namespace: ns}, spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: twin, namespace: ns}, spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: twin, namespace: other}, spec: {clusterIPs: [10.96.0.9, 'fd00::9'], ports: [{port: 80}]}}
",
    ));
    let code = |path: &str| world.reading(path, "").unwrap_err();
    assert_eq!(code("nothing.ns.svc.cluster.local"), Code::UNKNOWN, "other than for endpoints");
    assert_eq!(code("out.ns.svc.cluster.local"), Code::INVALID_ARGUMENT);
    assert_eq!(code("web.example.com"), Code::INVALID_ARGUMENT);
    assert_eq!(code("10.96.0.9:80"), Code::FAILED_PRECONDITION, "two Services have the address");
    assert_eq!(world.profile("[fd00::9]:80", "").name.as_deref(), Some("twin.other.svc.cluster.local"));
    for undeclared in ["10.96.0.7:81", "web-svc.ns.svc.cluster.local:81", "out.ns.svc.cluster.local:81"] {
        assert_eq!(world.profile(undeclared, ""), Profile::default(), "{undeclared}");
    }
}

#[test]
fn an_address_is_a_running_pod_or_a_stranger() {
    let world = World::new(&with(
        "
{apiVersion: v1, kind: Pod, metadata: {name: done, namespace: ns}, spec: {containers: []}, status: {podIP: 10.0.0.1, phase: Succeeded}}
---
{apiVersion: v1, kind: Pod, metadata: {name: early, namespace: ns, labels: {linkerd.io/control-plane-ns: linkerd}}, spec: {containers: []}, status: {podIP: 10.0.0.8, phase: Pending}}
---
{apiVersion: v1, kind: Pod, metadata: {name: twin-1, namespace: ns}, spec: {containers: []}, status: {podIP: 10.0.0.9, phase: Running}}
---
{apiVersion: v1, kind: Pod, metadata: {name: twin-2, namespace: ns}, spec: {containers: []}, status: {podIPs: [{ip: 10.0.0.9}], phase: Running}}
",
    ));
    let pod = endpoint(&world, "10.0.0.1:8080");
    assert_eq!(pod.tls.unwrap().identity.as_str(), "web.ns.serviceaccount.identity.linkerd.td.local");
    assert_eq!((pod.labels["namespace"].as_str(), pod.labels["deployment"].as_str()), ("ns", "web"));
    for stranger in ["10.0.0.8:80", "192.0.2.1:443", "[2001:db8::1]:443"] {
        let stranger = endpoint(&world, stranger);
        assert!(stranger.tls.is_none() && stranger.labels.is_empty() && stranger.protocol == ProtocolHint::Unknown, "{stranger:?}");
    }
    assert_eq!(world.reading("10.0.0.9:80", "").unwrap_err(), Code::FAILED_PRECONDITION);
}

#[test]
fn a_pod_on_the_network_of_its_node_has_only_its_ports() {
    let world = World::new(
        "
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: ns, labels: {linkerd.io/control-plane-ns: linkerd}}
spec: {hostNetwork: true, containers: [{name: agent, ports: [{containerPort: 9100}]}]}
status: {podIP: 172.18.0.2, hostIP: 172.18.0.2, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: ns}
spec: {hostNetwork: true, containers: [{name: other, ports: [{containerPort: 9200}]}]}
status: {podIP: 172.18.0.2, hostIP: 172.18.0.2, phase: Running}
",
    );
    assert_eq!(endpoint(&world, "172.18.0.2:9100").labels["pod"], "agent");
    assert_eq!(endpoint(&world, "172.18.0.2:9200").labels["pod"], "other");
    assert!(endpoint(&world, "172.18.0.2:22").labels.is_empty());
}

#[test]
fn a_pod_is_found_by_its_name_below_a_service_ready_or_not() {
    let stateful = "
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: ns}, spec: {clusterIP: None, ports: [{name: pg, port: 5432, targetPort: 15432}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: ns, labels: {linkerd.io/control-plane-ns: linkerd}, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: db}]}
spec: {containers: []}
status: {podIP: 10.0.1.1, phase: Running}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: ns, labels: {kubernetes.io/service-name: db}}
ports: [{name: pg, port: 15432}]
endpoints:
- {addresses: [10.0.1.1], conditions: {ready: false}, hostname: db-0, targetRef: {kind: Pod, name: db-0}}
- {addresses: [10.0.1.2], hostname: db-1}
";
    let world = World::new(stateful);
    let db = endpoint(&world, "db-0.db.ns.svc.cluster.local:5432");
    assert_eq!(db.addr, "10.0.1.1:5432".parse().unwrap(), "the port is the Pod's own");
    assert_eq!((db.labels["statefulset"].as_str(), db.protocol), ("db", ProtocolHint::Opaque));
    assert!(world.profile("db-0.db.ns.svc.cluster.local:5432", "").opaque);
    for missing in ["db-1.db.ns.svc.cluster.local", "db-2.db.ns.svc.cluster.local", "db-0.nothing.ns.svc.cluster.local"] {
        assert_eq!(world.reading(missing, "").unwrap_err(), Code::NOT_FOUND, "{missing}");
    }
    assert!(!world.profile("db.ns.svc.cluster.local:5432", "").name.unwrap().is_empty(), "a headless Service has a profile by name");
}

#[test]
fn annotations_of_services_say_what_is_opaque() {
    let opaque = |annotations: &str, path: &str| {
        World::new(&WEB.replacen("name: web-svc, namespace: ns", &format!("name: web-svc, namespace: ns, annotations: {annotations}"), 1))
            .profile(path, "")
            .opaque
    };
    let list = |ports: &str| format!("{{config.linkerd.io/opaque-ports: '{ports}'}}");
    let table = [
        ("{}", false, true),
        ("{other: x}", false, true),
        (&list("80"), true, false),
        (&list("http, 5000-6000"), true, true),
        (&list(""), false, false),
    ];
    for (annotations, http, db) in table {
        assert_eq!((opaque(annotations, "10.96.0.7:80"), opaque(annotations, "10.96.0.7:5432")), (http, db), "{annotations}");
    }
    let world = World::new(WEB);
    assert!(world.profile("10.0.0.2:3306", "").opaque && world.profile("192.0.2.1:3306", "").opaque, "default opaque ports");
    assert!(!world.profile("10.0.0.2:80", "").opaque && !world.profile("192.0.2.1:80", "").opaque);
}

#[test]
fn a_port_on_the_node_leads_to_its_pod() {
    let pod = |name: &str, host_port: u16, more: &str| {
        format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: '{name}', namespace: ns, labels: {{linkerd.io/control-plane-ns: linkerd}}}}
spec: {{containers: [{{name: c, ports: [{{containerPort: 8080, hostPort: {host_port}}}, {{containerPort: 53, hostPort: 53, protocol: UDP}}]}}]}}
status: {{podIP: 10.0.0.{name}, hostIP: 172.18.0.2, phase: Running{more}}}
"
        )
    };
    let world = World::new(&format!("{}---{}---{}", pod("5", 9080, ""), pod("6", 9081, ""), pod("7", 9081, "")));
    let seen = endpoint(&world, "172.18.0.2:9080");
    assert_eq!(
        (seen.addr.to_string().as_str(), seen.labels["pod"].as_str()),
        ("172.18.0.2:9080", "5"),
        "the address stays as it was asked for"
    );
    assert!(seen.tls.is_some());
    assert_eq!(world.reading("172.18.0.2:9081", "").unwrap_err(), Code::FAILED_PRECONDITION);
    for stranger in ["172.18.0.2:8080", "172.18.0.2:53", "172.18.0.3:9080"] {
        assert!(endpoint(&world, stranger).labels.is_empty(), "{stranger}");
    }
    let over = World::new(&pod("5", 9080, "").replace("Running", "Succeeded"));
    assert!(endpoint(&over, "172.18.0.2:9080").labels.is_empty());
}

#[test]
fn a_pod_that_leaves_keeps_its_address_until_another_has_it() {
    let pod = |name: &str, deleted: &str| {
        format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: ns{deleted}}}
spec: {{containers: []}}
status: {{podIP: 10.0.0.5, phase: Running}}
"
        )
    };
    let leaving = pod("old", ", deletionTimestamp: '2026-01-01T00:00:00Z'");
    assert_eq!(endpoint(&World::new(&leaving), "10.0.0.5:80").labels["pod"], "old", "its connections are still to be drained");
    assert_eq!(endpoint(&World::new(&format!("{leaving}---{}", pod("new", ""))), "10.0.0.5:80").labels["pod"], "new");
}
