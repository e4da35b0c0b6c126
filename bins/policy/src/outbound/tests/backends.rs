use meshkit_policy::{grpc, http::Filter};

use super::*;

fn ruled(kind: &'static str, rules: &'static str) -> String {
    Text { kind, rules, ..ROUTE }.yaml()
}

fn path(name: &str) -> String {
    format!("{name}.svc.cluster.local:80")
}

#[test]
fn backends_have_weights_and_those_that_cannot_be_used_fail_their_share() {
    const RULES: &str = "{backendRefs: [
        {name: web, port: 80, weight: 70}, {name: web-v2, port: 80}, {name: web, namespace: far, port: 80, weight: 0},
        {name: gone, port: 80, weight: 9}, {group: example.com, kind: Bucket, name: b, weight: 8},
        {group: policy.linkerd.io, kind: EgressNetwork, name: out, port: 80, weight: 7}]}";
    let fails = |message: &str| ("nowhere".to_owned(), Some(format!("500 {message}")));
    let expected = [
        ((path("web.ns"), None), 70),
        ((path("web-v2.ns"), None), 1),
        ((path("web.far"), None), 0),
        (fails("Service not found gone"), 9),
        (fails("unsupported backend type example.com Bucket"), 8),
        (fails("EgressNetwork not found out"), 7),
    ];
    for kind in ["HTTPRoute", "PolicyHTTPRoute"] {
        let policy = policy(&ruled(kind, RULES), WEB);
        let expected: Vec<_> = expected.iter().cloned().map(|((place, fault), weight)| (place, weight, fault)).collect();
        assert_eq!(backends(&http_rules(&policy)[0].distribution), expected);
        let metas: Vec<_> = http_rules(&policy)[0].distribution.backends().map(|(it, _)| it.backend.meta.to_string()).collect();
        assert_eq!(metas, ["Service/web", "Service/web-v2", "Service/web", "Service/gone", "default/invalid", "EgressNetwork/out"]);
    }
    for kind in ["TLSRoute", "TCPRoute"] {
        let policy = policy(&ruled(kind, RULES), WEB);
        let distribution = match &policy.protocol {
            Protocol::Tls(routes) => &routes[0].policy.distribution,
            _ => &opaque(&policy).policy.distribution,
        };
        let plain = |fault: Option<String>| fault.map(|fault| fault.trim_start_matches("500 ").to_owned());
        let expected: Vec<_> = expected.iter().cloned().map(|((place, fault), weight)| (place, weight, plain(fault))).collect();
        assert_eq!(connection_backends(distribution), expected, "{kind}");
    }
    let Protocol::Grpc(routes) = policy(&ruled("GRPCRoute", RULES), WEB).protocol else { panic!() };
    let fault = |filter: &grpc::Filter| match filter {
        grpc::Filter::Fail(failure) => Some((failure.response, failure.message.to_string())),
        _ => None,
    };
    let faults: Vec<_> =
        routes[0].rules[0].policy.distribution.backends().filter_map(|(it, _)| it.filters.iter().find_map(fault)).collect();
    assert_eq!(faults.len(), 3);
    assert_eq!(faults[0], (Code::UNKNOWN, "Service not found gone".to_owned()));
}

#[test]
fn a_service_needs_a_port() {
    let policy = policy(&ruled("PolicyHTTPRoute", "{backendRefs: [{name: web}]}"), WEB);
    let fault = "500 missing port for backend Service web".to_owned();
    assert_eq!(backends(&http_rules(&policy)[0].distribution), [("nowhere".to_owned(), 1, Some(fault))]);
}

#[test]
fn a_rule_without_backends_goes_to_its_parent() {
    let policy = policy(&ruled("HTTPRoute", "{}"), WEB);
    assert!(matches!(http_rules(&policy)[0].distribution, Distribution::First(_)));
    assert_eq!(backends(&http_rules(&policy)[0].distribution), [(path("web.ns"), 1, None)]);
    let none = super::policy(&Text { rules: "", ..ROUTE }.yaml(), WEB);
    assert_eq!((shape(&none).1, http_rules(&none).len()), (vec!["it".to_owned()], 0), "a route without rules describes no request");
}

#[test]
fn a_backend_without_a_namespace_stands_in_its_parents() {
    let to_web = "{group: core, kind: Service, name: web, namespace: ns, port: 80}";
    let consumer = Text { namespace: "team", parents: to_web, rules: "{backendRefs: [{name: web-v2, port: 80}]}", ..ROUTE }.yaml();
    let policy = policy_for("team", &consumer, WEB).unwrap();
    assert_eq!(backends(&http_rules(&policy)[0].distribution), [(path("web-v2.ns"), 1, None)]);
}

#[test]
fn a_backend_of_another_namespace_needs_no_grant() {
    let policy = policy(&ruled("HTTPRoute", "{backendRefs: [{name: web, namespace: far, port: 80}]}"), WEB);
    assert_eq!(backends(&http_rules(&policy)[0].distribution), [(path("web.far"), 1, None)]);
}

#[test]
fn a_backend_has_filters_of_its_own() {
    let modifier = "{backendRefs: [{name: web, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}]}, {name: web-v2, port: 80}]}";
    let own = policy(&ruled("HTTPRoute", modifier), WEB);
    let filters: Vec<_> = http_rules(&own)[0].distribution.backends().map(|(it, _)| it.filters.to_vec()).collect();
    assert!(matches!(&filters[..], [one, none] if matches!(&one[..], [Filter::RequestHeaders(_)]) && none.is_empty()));

    let unsupported = "{backendRefs: [{name: web, port: 80, weight: 3, filters: [{type: URLRewrite, urlRewrite: {hostname: x}}]}, {name: web-v2, port: 80}]}";
    let fault = Some("500 unsupported backend filter: URLRewrite".to_owned());
    let other = policy(&ruled("HTTPRoute", unsupported), WEB);
    assert_eq!(backends(&http_rules(&other)[0].distribution), [("nowhere".to_owned(), 3, fault), (path("web-v2.ns"), 1, None)]);
}

#[test]
fn a_service_may_be_the_backend_of_a_port_it_does_not_declare() {
    let policy = policy(&ruled("HTTPRoute", "{backendRefs: [{name: web-v2, port: 81}]}"), WEB);
    assert_eq!(backends(&http_rules(&policy)[0].distribution), [("web-v2.ns.svc.cluster.local:81".to_owned(), 1, None)]);
}
