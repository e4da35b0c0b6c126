use meshkit_policy::{Meta, inbound::Protocol};

use super::*;

fn server(name: &str, extra: &str, spec: &str) -> String {
    format!("{{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {{name: {name}, namespace: ns{extra}}}, spec: {spec}}}")
}

#[test]
fn a_server_selects_pods_by_labels_and_ports_by_number_or_name() {
    let table = [
        ("{podSelector: {matchLabels: {app: web}}, port: 8080}", 8080, true),
        ("{podSelector: {matchLabels: {app: web}}, port: http}", 8080, true),
        ("{podSelector: {matchLabels: {app: web}}, port: http}", 8081, false),
        ("{podSelector: {matchLabels: {app: web}}, port: 9999}", 9999, true),
        ("{podSelector: {}, port: 8080}", 8080, true),
        ("{podSelector: {matchLabels: {app: other}}, port: 8080}", 8080, false),
        ("{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, api]}]}, port: 8080}", 8080, true),
        ("{externalWorkloadSelector: {matchLabels: {app: web}}, port: 8080}", 8080, false),
    ];
    for (spec, port, expected) in table {
        let policy = policy(&[POD, &server("it", "", spec)], port);
        assert_eq!(policy.server.kind() == "server", expected, "{spec} {port}");
    }
}

#[test]
fn a_name_may_stand_for_several_ports() {
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: ns, labels: {app: web}}
spec:
  initContainers: [{name: side, restartPolicy: Always, ports: [{name: http, containerPort: 7070}]}]
  containers: [{name: a, ports: [{name: http, containerPort: 8080}]}, {name: b, ports: [{name: http, containerPort: 9090}, {name: http, containerPort: 53, protocol: UDP}]}]
";
    let server = server("it", "", "{podSelector: {}, port: http}");
    let selected: Vec<_> = [7070, 8080, 9090, 53, 80].map(|port| policy(&[pod, &server], port).server.kind() == "server").into();
    assert_eq!(selected, [true, true, true, false, false]);
}

#[test]
fn a_server_says_what_its_port_speaks() {
    type Is = fn(&Protocol) -> bool;
    let table: [(&str, Is); 7] = [
        ("", |p| matches!(p, Protocol::Detect { timeout, .. } if timeout.as_secs() == 10)),
        (", proxyProtocol: unknown", |p| matches!(p, Protocol::Detect { .. })),
        (", proxyProtocol: HTTP/1", |p| matches!(p, Protocol::Http1 { .. })),
        (", proxyProtocol: HTTP/2", |p| matches!(p, Protocol::Http2 { .. })),
        (", proxyProtocol: gRPC", |p| matches!(p, Protocol::Grpc { .. })),
        (", proxyProtocol: opaque", |p| matches!(p, Protocol::Opaque)),
        (", proxyProtocol: TLS", |p| matches!(p, Protocol::Tls)),
    ];
    for (extra, expected) in table {
        let protocol = policy(&[POD, &SERVER.replace("port: 8080", &format!("port: 8080{extra}"))], 8080).protocol;
        assert!(expected(&protocol), "{extra}: {protocol:?}");
    }
}

#[test]
fn of_several_servers_the_oldest_counts_and_then_the_first_by_name() {
    let spec = "{podSelector: {}, port: 8080}";
    let made = |at: &str| format!(", creationTimestamp: '{at}'");
    let (old, new) = (made("2020-01-01T00:00:00Z"), made("2021-01-01T00:00:00Z"));
    let table = [
        (vec![server("a", &new, spec), server("z", &old, spec)], "z"),
        (vec![server("b", &old, spec), server("a", &old, spec)], "a"),
        (vec![server("a", "", spec), server("z", &new, spec)], "z"),
        (vec![server("b", "", spec), server("a", "", spec)], "a"),
        (vec![server("a", &old, "{podSelector: {matchLabels: {app: other}}, port: 8080}"), server("b", &new, spec)], "b"),
    ];
    for (servers, expected) in table {
        let text = servers.join("\n---\n");
        assert_eq!(policy(&[POD, &text], 8080).server.name(), expected, "{text}");
    }
}

#[test]
fn a_server_is_named_by_group_kind_and_name() {
    let Meta::Resource(named) = policy(&[POD, SERVER], 8080).server else { panic!() };
    assert_eq!((&*named.group, &*named.kind, &*named.name), ("policy.linkerd.io", "server", "web-http"));
}

#[test]
fn a_server_stands_in_its_pods_namespace() {
    let far = SERVER.replace("namespace: ns", "namespace: far");
    assert_eq!(policy(&[POD, &far], 8080).server.kind(), "default");
}

#[test]
fn workloads_outside_the_cluster_have_servers_of_their_own() {
    let text = "
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm, namespace: ns, labels: {app: vm}, annotations: {config.linkerd.io/default-inbound-policy: audit}}
spec: {meshTLS: {identity: 'spiffe://td/vm', serverName: vm.cluster.local}, ports: [{name: http, port: 80}], workloadIPs: [{ip: 192.0.2.7}]}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: vm-http, namespace: ns}
spec: {externalWorkloadSelector: {matchLabels: {app: vm}}, port: http, accessPolicy: all-authenticated}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: a-pods, namespace: ns}
spec: {podSelector: {}, port: 80}
";
    let world = World::new(text);
    let vm = Workload::external("ns", "vm");
    assert_eq!(world.inbound(&vm, 80).unwrap().server.name(), "vm-http");
    assert_eq!(world.inbound(&vm, 81).unwrap().server.name(), "audit");
    assert_eq!(world.inbound(&Workload::external("ns", "nobody"), 80), Err(Code::NOT_FOUND));
    assert_eq!(world.inbound(&Workload::pod("ns", "vm"), 80), Err(Code::NOT_FOUND), "it is no Pod");
}

#[test]
fn replicas_ask_about_the_same_port() {
    let second = POD.replace("web-1", "web-2").replace("containers:", "nodeName: other\n  containers:");
    let probed = POD
        .replace("web-1", "web-3")
        .replace("containerPort: 3306}]", "containerPort: 3306}]\n    livenessProbe: {httpGet: {path: /live, port: http}}");
    let world = World::new(&[POD, &second, &probed, SERVER].join("---\n"));
    let port = |pod: &str, number| world.model().port(&Workload::pod("ns", pod), number).unwrap();
    assert_eq!(port("web-1", 8080), port("web-2", 8080));
    assert_eq!(port("web-1", 8081), port("web-2", 9999), "two ports without anything special");
    assert_ne!(port("web-1", 8080), port("web-1", 8081));
    assert_ne!(port("web-1", 8080), port("web-3", 8080), "the kubelet asks for something there");
}
