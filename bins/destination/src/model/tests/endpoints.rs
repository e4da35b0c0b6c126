use meshkit_core::{Endpoint, ProtocolHint, endpoint::Locality, grpc::Code};

use super::{WEB, with};
use crate::{
    fixture::World,
    ports::Ports,
    settings::{Families, Transport, Upgrade, ZoneWeights},
    target::{Name, Target},
};

const PATH: &str = "web-svc.ns.svc.cluster.local:80";

fn label<'a>(endpoint: &'a Endpoint, key: &str) -> Option<&'a str> {
    endpoint.labels.get(key).map(String::as_str)
}

fn tagged(endpoint: &Endpoint) -> Option<u16> {
    endpoint.tagged_port.map(std::num::NonZeroU16::get)
}

#[test]
fn ready_endpoints_are_told_with_who_they_are() {
    let all = World::new(WEB).endpoints(PATH, "").unwrap();
    let [meshed, plain] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(meshed.addr, "10.0.0.1:8080".parse().unwrap());
    let tls = meshed.tls.as_ref().unwrap();
    assert_eq!(tls.identity.as_str(), "web.ns.serviceaccount.identity.linkerd.td.local");
    assert_eq!(&*tls.server_name, tls.identity.as_str());
    assert_eq!((meshed.protocol, tagged(meshed), meshed.weight), (ProtocolHint::Http2, Some(4143), 10_000));
    let expected = [
        ("control_plane_ns", "linkerd"),
        ("deployment", "web"),
        ("pod", "web-1"),
        ("pod_template_hash", "5d"),
        ("serviceaccount", "web"),
        ("zone", "east"),
        ("zone_locality", "unknown"),
    ];
    assert!(meshed.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{:?}", meshed.labels);
    assert_eq!((plain.tls.as_ref(), plain.protocol, plain.tagged_port), (None, ProtocolHint::Unknown, None));
    assert_eq!(label(plain, "serviceaccount"), Some("default"));
}

#[test]
fn names_that_cannot_be_resolved_have_the_code_of_the_api() {
    let world = World::new(&with(
        "
{apiVersion: v1, kind: Service, metadata: {name: out, namespace: ns}, spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: far, namespace: ns, labels: {multicluster.linkerd.io/remote-discovery: moon, multicluster.linkerd.io/remote-service: web}}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: half, namespace: ns, labels: {multicluster.linkerd.io/remote-discovery: moon}}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: idle, namespace: ns}, spec: {ports: [{port: 80}]}}
",
    ));
    let resolve = |service: &str| world.endpoints(&format!("{service}.ns.svc.cluster.local"), "").map(|all| all.len());
    assert_eq!(resolve("nothing"), Err(Code::NOT_FOUND));
    assert_eq!(resolve("out"), Err(Code::INVALID_ARGUMENT));
    assert_eq!(resolve("far"), Err(Code::NOT_FOUND), "the other cluster is not known");
    assert_eq!(resolve("half"), Err(Code::FAILED_PRECONDITION));
    assert_eq!(resolve("idle"), Ok(0), "a Service without endpoints is there");
}

#[test]
fn the_name_of_the_port_leads_to_its_number() {
    let world = World::new(WEB);
    assert_eq!(world.addrs("web-svc.ns.svc.cluster.local:5432", ""), <[&str; 0]>::default(), "the slice does not have the port");
    let undeclared = world.addrs("web-svc.ns.svc.cluster.local:9090", "");
    assert_eq!(undeclared, ["10.0.0.1:9090", "10.0.0.2:9090"], "a port that is not declared is the endpoints' own");
    let dns = "
{apiVersion: v1, kind: Service, metadata: {name: dns, namespace: ns}, spec: {ports: [{name: udp, port: 53, protocol: UDP}, {name: tcp, port: 53}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns-1, namespace: ns, ownerReferences: [{apiVersion: v1, kind: Service, name: dns}]}
ports: [{name: udp, port: 1053, protocol: UDP}, {name: tcp, port: 1054}]
endpoints: [{addresses: [10.0.0.9]}]
";
    assert_eq!(World::new(dns).addrs("dns.ns.svc.cluster.local:53", ""), ["10.0.0.9:1054"]);
}

#[test]
fn an_endpoint_may_be_named() {
    let world = World::new(WEB);
    assert_eq!(world.addrs("web-1.web-svc.ns.svc.cluster.local:80", ""), ["10.0.0.1:8080"]);
    assert_eq!(world.addrs("web-9.web-svc.ns.svc.cluster.local:80", ""), <[&str; 0]>::default());
    assert_eq!(world.endpoints("web-1.nothing.ns.svc.cluster.local:80", ""), Err(Code::NOT_FOUND));
}

#[test]
fn zones_are_told_and_local_endpoints_may_weigh_more() {
    let mut world = World::new(WEB);
    let seen = |world: &World, node| {
        let all = world.endpoints(PATH, node).unwrap();
        all.iter().map(|e| (e.locality, label(e, "zone_locality").unwrap().to_owned(), e.weight)).collect::<Vec<_>>()
    };
    let entry = |locality, name: &str, weight| (locality, name.to_owned(), weight);
    let (local, remote) = (entry(Locality::Local, "local", 10_000), entry(Locality::Remote, "remote", 10_000));
    assert_eq!(seen(&world, "node-a"), [local.clone(), remote.clone()]);
    assert_eq!(seen(&world, "node-b"), [remote.clone(), local]);
    assert!(seen(&world, "node-c").iter().all(|(locality, ..)| *locality == Locality::Unknown), "the node has no zone");
    world.settings.zone_weights = ZoneWeights::PreferLocal;
    assert_eq!(seen(&world, "node-a"), [entry(Locality::Local, "local", 100_000), remote]);
}

#[test]
fn hints_count_if_all_endpoints_have_them_and_one_is_for_the_zone() {
    let hinted = |second: &str| {
        let hint = |zone: &str| format!("zone: {zone}, hints: {{forZones: [{{name: {zone}}}]}},");
        World::new(&WEB.replace("zone: east,", &hint("east")).replace("zone: west,", second))
    };
    let all = ["10.0.0.1:8080", "10.0.0.2:8080"];
    let world = hinted("hints: {forZones: [{name: west}, {name: south}]},");
    assert_eq!(world.addrs(PATH, "node-a"), all[..1]);
    assert_eq!(world.addrs(PATH, "node-b"), all[1..]);
    assert_eq!(world.addrs(PATH, "node-c"), all, "the client's zone is not known");
    assert_eq!(world.addrs(PATH, ""), all);
    assert_eq!(hinted("zone: west,").addrs(PATH, "node-a"), all, "one has no hint");
    assert_eq!(hinted("hints: {forZones: [{name: east}]},").addrs(PATH, "node-b"), all, "none is for the zone");
}

#[test]
fn local_traffic_stays_on_its_node() {
    let world = World::new(&WEB.replace("clusterIP: 10.96.0.7,", "clusterIP: 10.96.0.7, internalTrafficPolicy: Local,"));
    assert_eq!(world.addrs(PATH, "node-a"), ["10.0.0.1:8080"]);
    for elsewhere in ["node-c", ""] {
        assert_eq!(world.addrs(PATH, elsewhere), <[&str; 0]>::default());
    }
    let both = WEB
        .replace("clusterIP: 10.96.0.7,", "clusterIP: 10.96.0.7, internalTrafficPolicy: Local,")
        .replace("nodeName: node-b", "nodeName: node-a")
        .replace("zone: east,", "zone: east, hints: {forZones: [{name: east}]},")
        .replace("zone: west,", "zone: west, hints: {forZones: [{name: west}]},");
    assert_eq!(World::new(&both).addrs(PATH, "node-a").len(), 2, "on one node, hints do not count");
}

#[test]
fn a_service_may_be_made_up_of_others() {
    let union = |annotations: &str| {
        World::new(&with(&format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: union, namespace: ns, annotations: {{{annotations}}}}}
spec: {{ports: [{{name: http, port: 80}}]}}
"
        )))
    };
    let path = "union.ns.svc.cluster.local:80";
    let (local, remote) = ("multicluster.linkerd.io/local-discovery: web-svc", "multicluster.linkerd.io/remote-discovery: web@moon");
    for annotations in [local, &format!("{local}, {remote}")] {
        assert_eq!(union(annotations).addrs(path, ""), ["10.0.0.1:8080", "10.0.0.2:8080"], "{annotations}");
    }
    for annotations in [remote, "multicluster.linkerd.io/local-discovery: nothing"] {
        assert_eq!(union(annotations).addrs(path, ""), <[&str; 0]>::default(), "members that are not known have no endpoints");
    }
}

#[test]
fn a_server_may_select_one_pod_of_a_stateful_set() {
    let pod = |number: u8| {
        format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: db-{number}, namespace: ns, labels: {{app: db, linkerd.io/control-plane-ns: linkerd, apps.kubernetes.io/pod-index: '{number}'}}}}
spec: {{containers: []}}
status: {{podIP: 10.0.1.{number}, phase: Running}}
"
        )
    };
    let world = World::new(&format!(
        "
{{apiVersion: v1, kind: Service, metadata: {{name: db, namespace: ns}}, spec: {{clusterIP: None, ports: [{{port: 80}}]}}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: db-1, namespace: ns, labels: {{kubernetes.io/service-name: db}}}}
ports: [{{port: 80}}]
endpoints: [{{addresses: [10.0.1.0], targetRef: {{kind: Pod, name: db-0}}}}, {{addresses: [10.0.1.1], targetRef: {{kind: Pod, name: db-1}}}}]
---{}---{}---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: one, namespace: ns}}
spec: {{podSelector: {{matchLabels: {{apps.kubernetes.io/pod-index: '1'}}}}, port: 80, proxyProtocol: opaque}}
",
        pod(0),
        pod(1)
    ));
    let hints: Vec<_> = world.endpoints("db.ns.svc.cluster.local:80", "").unwrap().iter().map(|e| e.protocol).collect();
    assert_eq!(hints, [ProtocolHint::Http2, ProtocolHint::Opaque]);
}

#[test]
fn of_two_families_the_newer_is_told_if_there_are_two() {
    let six = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-svc-6, namespace: ns, labels: {kubernetes.io/service-name: web-svc}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ['fd00::1'], targetRef: {kind: Pod, namespace: ns, name: web-1}}]
";
    let mut world = World::new(&with(six));
    assert_eq!(world.addrs(PATH, ""), ["10.0.0.2:8080", "[fd00::1]:8080"]);
    world.settings.families = Families::V4;
    assert_eq!(world.addrs(PATH, ""), ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn one_reason_to_be_opaque_is_enough() {
    let hint = |world: &World| world.endpoints(PATH, "").unwrap()[0].protocol;
    let annotated = |ports: &str| {
        WEB.replace(
            "name: web-1, namespace: ns, labels",
            &format!("name: web-1, namespace: ns, annotations: {{config.linkerd.io/opaque-ports: '{ports}'}}, labels"),
        )
    };
    for (ports, opaque) in [("8080", true), ("8000-9000", true), ("http", true), ("80", false), ("", false)] {
        assert_eq!(hint(&World::new(&annotated(ports))) == ProtocolHint::Opaque, opaque, "{ports:?}");
    }
    let server = |port: &str, protocol: &str| {
        format!(
            "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: web, namespace: ns}}
spec: {{podSelector: {{matchLabels: {{app: web}}}}, port: {port}, proxyProtocol: {protocol}}}
"
        )
    };
    for (port, opaque) in [("8080", true), ("http", true), ("8081", false), ("grpc", false)] {
        assert_eq!(hint(&World::new(&with(&server(port, "opaque")))) == ProtocolHint::Opaque, opaque, "{port}");
    }
    let both = format!("{}---{}", annotated("8080"), server("8080", "HTTP/2"));
    assert_eq!(hint(&World::new(&both)), ProtocolHint::Opaque, "a Server does not undo an annotation");
    let mut world = World::new(WEB);
    world.settings.default_opaque = Ports::parse("8080", []);
    assert_eq!(hint(&world), ProtocolHint::Opaque);
}

#[test]
fn the_proxy_of_a_pod_decides_what_is_told_of_it() {
    let first = |text: &str| World::new(text).endpoints(PATH, "").unwrap()[0].clone();
    let skipped = first(&WEB.replace(
        "name: web-1, namespace: ns, labels",
        "name: web-1, namespace: ns, annotations: {config.linkerd.io/skip-inbound-ports: '8000-8080'}, labels",
    ));
    assert_eq!((skipped.tls, skipped.protocol, skipped.tagged_port), (None, ProtocolHint::Unknown, None));
    let foreign = first(&WEB.replace("control-plane-ns: linkerd", "control-plane-ns: other"));
    assert_eq!((foreign.tls.as_ref(), foreign.protocol, tagged(&foreign)), (None, ProtocolHint::Http2, Some(4143)));
    let proxy = "initContainers: [{name: linkerd-proxy, env: [{name: LINKERD2_PROXY_INBOUND_LISTEN_ADDR, value: '[::]:5143'}, {name: LINKERD2_PROXY_ADMIN_LISTEN_ADDR, value: '0.0.0.0:8080'}]}], containers: [";
    let own = first(&WEB.replacen("containers: [", proxy, 1));
    assert_eq!((own.protocol, tagged(&own)), (ProtocolHint::Http2, None), "the proxy's own port takes no header");
    let elsewhere = first(&WEB.replacen("containers: [", &proxy.replace("8080", "4191"), 1));
    assert_eq!(tagged(&elsewhere), Some(5143));
}

#[test]
fn settings_turn_off_upgrades_and_headers() {
    let mut world = World::new(WEB);
    (world.settings.upgrade, world.settings.transport) = (Upgrade::Off, Transport::Transparent);
    let meshed = world.endpoints(PATH, "").unwrap()[0].clone();
    assert_eq!((meshed.protocol, tagged(&meshed)), (ProtocolHint::Unknown, None));
    world.settings.default_opaque = Ports::parse("8080", []);
    let opaque = world.endpoints(PATH, "").unwrap()[0].clone();
    assert_eq!((opaque.protocol, tagged(&opaque)), (ProtocolHint::Opaque, Some(4143)), "opaque bytes always need one");
    world.mesh.trust_domain.clear();
    assert_eq!(world.endpoints(PATH, "").unwrap()[0].tls, None, "without a trust domain there are no identities");
}

#[test]
fn a_gateway_stands_for_a_service_of_another_cluster() {
    let world = World::new(
        "
apiVersion: v1
kind: Service
metadata: {name: web-moon, namespace: ns, labels: {mirror.linkerd.io/cluster-name: moon}, annotations: {mirror.linkerd.io/remote-svc-fq-name: web.far.svc.moon.local}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-moon-1, namespace: ns, labels: {kubernetes.io/service-name: web-moon}, annotations: {mirror.linkerd.io/remote-svc-fq-name: web.far.svc.moon.local, mirror.linkerd.io/remote-gateway-identity: gw.moon.local}}
ports: [{name: http, port: 4143}]
endpoints: [{addresses: [192.0.2.1]}]
",
    );
    let all = world.endpoints("web-moon.ns.svc.cluster.local:80", "").unwrap();
    assert_eq!(all[0].addr, "192.0.2.1:4143".parse().unwrap());
    assert_eq!(all[0].authority_override.as_ref().unwrap().to_string(), "web.far.svc.moon.local:80");
    assert_eq!(all[0].tls.as_ref().unwrap().identity.as_str(), "gw.moon.local");
    assert_eq!(all[0].protocol, ProtocolHint::Http2);
    let Target::Name(name) = Target::parse("web-moon.ns.svc.cluster.local", "cluster.local").unwrap() else { panic!() };
    let labels = world.model().set_labels(&name);
    let expected = [
        ("namespace", "ns"),
        ("service", "web-moon"),
        ("target_cluster", "moon"),
        ("target_service", "web"),
        ("target_service_namespace", "far"),
    ];
    assert!(labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{labels:?}");
    let plain = Name { service: "none".to_owned(), ..name };
    assert_eq!(world.model().set_labels(&plain).len(), 2);
}
