use meshkit_policy::{route::HostMatch, tls::SniMatch};

use super::*;

#[test]
fn what_a_port_says_it_speaks_comes_before_the_kinds_of_its_routes() {
    let http = Text { name: "http", ..ROUTE };
    let grpc = Text { kind: "GRPCRoute", name: "grpc", ..ROUTE };
    let tls = Text { kind: "TLSRoute", name: "tls", ..ROUTE };
    let tcp = Text { kind: "TCPRoute", name: "tcp", ..ROUTE };
    let speaking = |protocol: &str| format!(", appProtocol: {protocol}");
    type Shape<'a> = (&'a str, &'a [&'a str]);
    let table: &[(&str, &[&Text], Shape<'_>)] = &[
        ("", &[], ("detect", &["http"])),
        ("", &[&http], ("detect", &["http"])),
        ("", &[&grpc], ("grpc", &["grpc"])),
        ("", &[&tls], ("tls", &["tls"])),
        ("", &[&tcp], ("opaque", &["tcp"])),
        ("http", &[], ("http1", &["http"])),
        ("http", &[&http], ("http1", &["http"])),
        ("http", &[&tcp], ("http1", &["http"])),
        ("kubernetes.io/h2c", &[], ("http2", &["http"])),
        ("kubernetes.io/h2c", &[&http], ("http2", &["http"])),
        ("kubernetes.io/h2c", &[&grpc], ("grpc", &["grpc"])),
        ("linkerd.io/tcp", &[], ("opaque", &["opaq"])),
        ("linkerd.io/opaque", &[&http], ("opaque", &["opaq"])),
        ("linkerd.io/tcp", &[&tcp], ("opaque", &["tcp"])),
        ("mysql", &[], ("opaque", &["opaq"])),
        ("https", &[&http], ("opaque", &["opaq"])),
    ];
    for (said, routes, (protocol, names)) in table {
        let port = if said.is_empty() { String::new() } else { speaking(said) };
        let services = SERVICES.replace("{name: http, port: 80}", &format!("{{name: http, port: 80{port}}}"));
        let routes: String = routes.iter().map(|route| route.yaml()).collect();
        let policy = World::new(&format!("{services}{routes}")).outbound("client", WEB).unwrap();
        assert_eq!(shape(&policy), (*protocol, names.iter().map(|name| (*name).to_owned()).collect()), "{said} {routes}");
    }
}

#[test]
fn a_detected_port_has_a_way_for_bytes_that_are_not_http() {
    let policy = policy(&ROUTE.yaml(), WEB);
    let Protocol::Detect { timeout, .. } = &policy.protocol else { panic!() };
    assert_eq!((timeout.as_secs(), opaque(&policy).meta.clone()), (10, Meta::builtin("opaq")));
    assert_eq!(connection_backends(&opaque(&policy).policy.distribution), [("web.ns.svc.cluster.local:80".to_owned(), 1, None)]);
}

#[test]
fn opaque_ports_are_annotated_or_well_known() {
    let annotated = |ports: &str| {
        SERVICES.replacen("namespace: ns}", &format!("namespace: ns, annotations: {{config.linkerd.io/opaque-ports: '{ports}'}}}}"), 1)
    };
    let table = [
        (SERVICES.to_owned(), "10.96.0.7:5432", "opaque"),
        (SERVICES.to_owned(), "10.96.0.7:80", "detect"),
        (annotated("80"), "10.96.0.7:80", "opaque"),
        (annotated("70-90"), "10.96.0.7:80", "opaque"),
        (annotated("80"), "10.96.0.7:5432", "detect"),
        (annotated(""), "10.96.0.7:5432", "detect"),
        (annotated("8080"), "10.96.0.7:8080", "http2"),
    ];
    for (services, target, expected) in table {
        assert_eq!(shape(&World::new(&services).outbound("client", target).unwrap()).0, expected, "{target} {services}");
    }
    let tcp = Text { kind: "TCPRoute", name: "tcp", ..ROUTE }.yaml();
    assert_eq!(shape(&World::new(&(annotated("80") + &tcp)).outbound("client", WEB).unwrap()), ("opaque", vec!["tcp".to_owned()]));
}

#[test]
fn a_producers_routes_are_for_all_and_a_consumers_for_its_own_clients() {
    let to_web = "{group: core, kind: Service, name: web, namespace: ns, port: 80}";
    let producer = Text { name: "producer", made: 2, ..ROUTE }.yaml();
    let consumer = Text { name: "consumer", namespace: "team", parents: to_web, ..ROUTE }.yaml();
    let both = producer.clone() + &consumer;
    let table = [
        ("client", &both, vec!["producer"]),
        ("ns", &both, vec!["producer"]),
        ("team", &both, vec!["consumer", "producer"]),
        ("team", &consumer, vec!["consumer"]),
        ("client", &consumer, vec!["http"]),
    ];
    for (client, objects, expected) in table {
        assert_eq!(shape(&policy_for(client, objects, WEB).unwrap()).1, expected, "{client}");
    }
}

#[test]
fn routes_are_told_the_oldest_first_and_then_by_name() {
    let all = [("b", 2), ("c", 1), ("a", 2)].map(|(name, made)| Text { name, made, ..ROUTE }.yaml()).concat();
    let policy_kind = Text { kind: "PolicyHTTPRoute", name: "aa", made: 2, ..ROUTE }.yaml();
    let timeless = Text { name: "a0", ..ROUTE }.yaml().replace(", creationTimestamp: '2020-01-01T00:00:00Z'", "");
    assert_eq!(shape(&policy(&(all + &policy_kind + &timeless), WEB)).1, ["c", "a", "aa", "b", "a0"]);
}

#[test]
fn a_route_is_at_the_ports_that_its_references_name() {
    let any = "{group: core, kind: Service, name: web}";
    let table = [
        (ROUTE.parents, WEB, true),
        (ROUTE.parents, "10.96.0.7:8080", false),
        (any, WEB, true),
        (any, "10.96.0.7:8080", true),
        ("{group: '', kind: Service, name: web, port: 8080}, {group: core, kind: Service, name: web, port: 80}", WEB, true),
        ("{group: core, kind: Service, name: web}, {group: core, kind: Service, name: web, port: 80}", WEB, true),
        ("{group: core, kind: Service, name: web-v2, port: 80}", WEB, false),
        ("{group: core, kind: Service, name: web, namespace: far, port: 80}", WEB, false),
        ("{kind: Gateway, name: web}", WEB, false),
        ("{group: policy.linkerd.io, kind: Server, name: web}", WEB, false),
    ];
    for (parents, target, expected) in table {
        let names = shape(&policy(&Text { parents, ..ROUTE }.yaml(), target)).1;
        assert_eq!(names, [if expected { "it" } else { "http" }], "{parents} {target}");
    }
}

#[test]
fn routes_of_a_lower_kind_at_the_same_parent_are_in_conflict() {
    let of = |kind| Text { kind, name: "it", ..ROUTE }.yaml();
    assert_eq!(shape(&policy(&(of("TCPRoute") + &of("TLSRoute")), WEB)).0, "tls");
    assert_eq!(shape(&policy(&(of("TLSRoute") + &of("PolicyHTTPRoute")), WEB)).0, "detect");
    assert_eq!(shape(&policy(&(of("HTTPRoute") + &of("GRPCRoute")), WEB)).0, "grpc");
}

#[test]
fn a_route_counts_once_its_status_says_so_where_statuses_are_written() {
    let told = |status: &str, port: u16| {
        let text = ROUTE.yaml();
        let parent = format!("{{group: core, kind: Service, name: web, port: {port}}}");
        let condition = format!("{{type: Accepted, status: '{status}'}}");
        let status = format!(
            "status: {{parents: [{{parentRef: {parent}, controllerName: linkerd.io/policy-controller, conditions: [{condition}]}}]}}"
        );
        format!("{}, {status}}}", text.strip_suffix('}').unwrap())
    };
    for (route, expected) in [(ROUTE.yaml(), "http"), (told("True", 80), "it"), (told("False", 80), "http"), (told("True", 8080), "http")] {
        let world = World::new(&format!("{SERVICES}{route}")).written();
        assert_eq!(shape(&world.outbound("client", WEB).unwrap()).1, [expected], "{route}");
    }
}

#[test]
fn a_route_with_a_filter_that_nobody_has_is_no_route() {
    for filter in [
        "{type: URLRewrite, urlRewrite: {hostname: x}}",
        "{type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}}}",
        "{type: ExtensionRef, extensionRef: {group: g, kind: k, name: n}}",
    ] {
        let rules: &'static str = Box::leak(format!("{{filters: [{filter}]}}").into_boxed_str());
        assert_eq!(shape(&policy(&Text { rules, ..ROUTE }.yaml(), WEB)).1, ["http"], "{filter}");
    }
    let grpc =
        Text { kind: "GRPCRoute", rules: "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x]}}]}", ..ROUTE };
    assert_eq!(shape(&policy(&grpc.yaml(), WEB)).0, "detect", "nor does it decide what the port speaks");
}

#[test]
fn only_the_oldest_tcp_route_counts() {
    let of = |name, made| Text { kind: "TCPRoute", name, made, ..ROUTE }.yaml();
    assert_eq!(shape(&policy(&(of("a", 2) + &of("b", 1)), WEB)), ("opaque", vec!["b".to_owned()]));
}

#[test]
fn names_of_hosts_may_begin_with_a_wildcard() {
    let named = |kind| Text { kind, ..ROUTE }.yaml().replace("spec: {", "spec: {hostnames: [a.example.com, '*.example.org'], ");
    let Protocol::Detect { http1, .. } = policy(&named("HTTPRoute"), WEB).protocol else { panic!() };
    assert_eq!(http1[0].hosts, [HostMatch::Exact("a.example.com".to_owned()), HostMatch::Suffix("example.org".to_owned())]);
    let Protocol::Grpc(grpc) = policy(&named("GRPCRoute"), WEB).protocol else { panic!() };
    assert_eq!(grpc[0].hosts, http1[0].hosts);
    let Protocol::Tls(tls) = policy(&named("TLSRoute"), WEB).protocol else { panic!() };
    assert_eq!(tls[0].names, [SniMatch::Exact("a.example.com".to_owned()), SniMatch::Suffix("example.org".to_owned())]);
}

#[test]
fn a_route_is_named_by_group_kind_namespace_and_name() {
    for (kind, group) in [("HTTPRoute", "gateway.networking.k8s.io"), ("PolicyHTTPRoute", "policy.linkerd.io")] {
        let Protocol::Detect { http1, .. } = policy(&Text { kind, ..ROUTE }.yaml(), WEB).protocol else { panic!() };
        let meta = &http1[0].meta;
        assert_eq!((meta.group(), meta.kind(), meta.namespace(), meta.name()), (group, "HTTPRoute", "ns", "it"));
    }
}
