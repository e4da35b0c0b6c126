use meshkit_policy::{DefaultPolicy, Meta, inbound::Protocol, net::Network};

use super::*;

fn annotated(annotations: &str) -> String {
    POD.replace("labels:", &format!("annotations: {{{annotations}}}, labels:"))
}

fn anybody(policy: &Policy) -> Vec<bool> {
    let clients = [(Some("web.ns"), "10.1.2.3"), (None, "10.1.2.3"), (Some("web.ns"), "192.0.2.1"), (None, "192.0.2.1")];
    let request = Request::get("/").body(()).unwrap().into_parts().0;
    let found = policy.route(&request).unwrap();
    clients.iter().map(|(account, ip)| policy.authorize_request(&client(*account, ip), &found).is_ok()).collect()
}

#[test]
fn each_default_policy_admits_whom_its_name_says() {
    let table = [
        ("all-unauthenticated", [true, true, true, true]),
        ("all-authenticated", [true, false, true, false]),
        ("cluster-unauthenticated", [true, true, false, false]),
        ("cluster-authenticated", [true, false, false, false]),
        ("deny", [false, false, false, false]),
        ("audit", [true, true, true, true]),
    ];
    for (name, expected) in table {
        let policy = policy(&[&annotated(&format!("config.linkerd.io/default-inbound-policy: {name}"))], 8080);
        assert_eq!(anybody(&policy), expected, "{name}");
        assert_eq!((policy.server.group(), policy.server.kind(), policy.server.name()), ("", "default", name));
        assert!(policy.authorizations.iter().all(|it| it.meta == Meta::builtin(name)));
        assert!(matches!(policy.protocol, Protocol::Detect { timeout, .. } if timeout.as_secs() == 10), "{name}");
    }
}

#[test]
fn a_pods_annotation_comes_before_its_namespaces_and_that_before_the_setting() {
    let namespace = |policy: &str| {
        format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: ns, annotations: {{config.linkerd.io/default-inbound-policy: {policy}}}}}}}"
        )
    };
    let pod = |policy: &str| annotated(&format!("config.linkerd.io/default-inbound-policy: {policy}"));
    let table = [
        (POD.to_owned(), None, "all-unauthenticated"),
        (POD.to_owned(), Some("deny"), "deny"),
        (pod("audit"), Some("deny"), "audit"),
        (pod("everybody"), Some("deny"), "all-unauthenticated"),
        (POD.to_owned(), Some("nobody"), "all-unauthenticated"),
    ];
    for (pod, of_namespace, expected) in table {
        let namespace = of_namespace.map(namespace).unwrap_or_default();
        assert_eq!(policy(&[&pod, &namespace], 8080).server.name(), expected, "{of_namespace:?} {pod}");
    }
    let mut world = World::new(POD);
    world.mesh.default_policy = DefaultPolicy::ClusterAuthenticated;
    assert_eq!(world.inbound(&Workload::pod("ns", "web-1"), 8080).unwrap().server.name(), "cluster-authenticated");
}

#[test]
fn some_ports_want_an_identity_whatever_the_default() {
    let table = [
        ("all-unauthenticated", "all-authenticated"),
        ("cluster-unauthenticated", "cluster-authenticated"),
        ("all-authenticated", "all-authenticated"),
        ("deny", "deny"),
        ("audit", "audit"),
    ];
    for (default, expected) in table {
        let pod = annotated(&format!(
            "config.linkerd.io/default-inbound-policy: {default}, config.linkerd.io/proxy-require-identity-inbound-ports: '8080,9000-9002'"
        ));
        assert_eq!(policy(&[&pod], 8080).server.name(), expected);
        assert_eq!(policy(&[&pod], 9001).server.name(), expected);
        assert_eq!(policy(&[&pod], 8081).server.name(), default, "another port");
    }
    let strict = annotated("config.linkerd.io/proxy-require-identity-inbound-ports: '8080'");
    let open = SERVER.replace("port: 8080", "port: 8080, accessPolicy: all-unauthenticated");
    assert!(permit(&policy(&[&strict, &open], 8080), None, "GET", "/").is_some(), "a Server decides for itself");
}

#[test]
fn opaque_ports_are_those_of_the_annotation() {
    let pod = annotated("config.linkerd.io/opaque-ports: '3306,7000-7002,db'");
    for (port, expected) in [(3306, true), (7001, true), (8080, false), (25, false)] {
        assert_eq!(policy(&[&pod], port).protocol == Protocol::Opaque, expected, "{port}");
    }
    assert!(matches!(policy(&[POD], 3306).protocol, Protocol::Detect { .. }), "the injector has written the built-in list down already");
    let named = SERVER.replace("8080", "3306");
    assert!(matches!(policy(&[&pod, &named], 3306).protocol, Protocol::Detect { .. }), "a Server says what it speaks");
}

#[test]
fn the_kubelet_may_probe_what_the_pod_declares_for_the_port() {
    let probed = "
    readinessProbe: {httpGet: {path: '/ready?full=1', port: http}}
    livenessProbe: {httpGet: {port: 8080}}
    startupProbe: {httpGet: {path: /started, port: admin}}
";
    let pod = format!("{}{probed}", annotated("config.linkerd.io/default-inbound-policy: deny").trim_end());
    let table = [
        (8080, "GET", "/ready", true),
        (8080, "GET", "/ready?full=1", true),
        (8080, "GET", "/", true),
        (8080, "GET", "/ready/more", false),
        (8080, "GET", "/started", false),
        (8080, "POST", "/ready", false),
        (8081, "GET", "/started", true),
        (8081, "GET", "/ready", false),
    ];
    for (port, method, path, expected) in table {
        let permit = permit(&policy(&[&pod], port), None, method, path);
        assert_eq!(permit.as_deref(), expected.then_some("default/probe"), "{method} {path} on {port}");
    }
    assert_eq!(route_names(&policy(&[&pod], 8080)), ["default/default", "default/probe"]);
    assert_eq!(route_names(&policy(&[&pod], 8082)), ["default/default"]);
    assert_eq!(route_names(&policy(&[&pod, SERVER], 8080)), ["default/default", "default/probe"], "with a Server, too");
    let grpc = SERVER.replace("port: 8080", "port: 8080, proxyProtocol: gRPC");
    assert_eq!(route_names(&policy(&[&pod, &grpc], 8080)), ["default/default"]);
}

#[test]
fn probes_come_from_the_probe_networks() {
    let pod = format!("{}\n    livenessProbe: {{httpGet: {{path: /live, port: http}}}}\n", POD.trim_end());
    let mut world = World::new(&format!("{pod}---\n{SERVER}"));
    world.mesh.probe_networks = vec!["10.9.0.0/16".parse().unwrap()];
    let policy = world.inbound(&Workload::pod("ns", "web-1"), 8080).unwrap();
    let Protocol::Detect { routes, .. } = &policy.protocol else { panic!() };
    let kubelet = &routes[1].rules[0].policy.authorizations[0];
    assert_eq!(kubelet.networks, [Network::from("10.9.0.0/16".parse::<ipnet::IpNet>().unwrap())]);
    assert_eq!(permit(&policy, None, "GET", "/live"), None, "10.1.2.3 is no kubelet");
}

#[test]
fn a_workload_that_is_not_there_is_an_unknown_server() {
    let refused = World::new(POD).model().port(&Workload::pod("ns", "nobody"), 80).unwrap_err();
    assert_eq!((refused.code(), refused.to_string().contains("unknown server")), (Code::NOT_FOUND, true));
    assert_eq!(World::new(POD).inbound(&Workload::pod("far", "web-1"), 80), Err(Code::NOT_FOUND));
}
