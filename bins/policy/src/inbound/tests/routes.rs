use meshkit_policy::{
    http::{Filter, Match},
    inbound::Protocol,
};

use super::*;

const GATEWAY: &str = "gateway.networking.k8s.io/v1";
const POLICY: &str = "policy.linkerd.io/v1beta3";

fn route(version: &str, kind: &str, name: &str, made: u8, rules: &str) -> String {
    format!(
        "{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}, namespace: ns, creationTimestamp: '2020-01-0{made}T00:00:00Z'}}, \
         spec: {{parentRefs: [{{group: policy.linkerd.io, kind: Server, name: web-http}}], rules: {rules}}}}}"
    )
}

fn http(name: &str) -> String {
    route(POLICY, "HTTPRoute", name, 1, &format!("[{{matches: [{{path: {{value: /{name}}}}}]}}]"))
}

fn allow(group: &str, kind: &str, name: &str) -> String {
    format!(
        "{{apiVersion: policy.linkerd.io/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: to-{name}, namespace: ns}}, \
         spec: {{targetRef: {{group: {group}, kind: {kind}, name: {name}}}, requiredAuthenticationRefs: [{{kind: ServiceAccount, name: web}}]}}}}"
    )
}

#[test]
fn a_route_takes_the_place_of_the_default_and_of_probes() {
    let probed = format!("{}\n    livenessProbe: {{httpGet: {{path: /live, port: http}}}}\n", POD.trim_end());
    let open = SERVER.replace("port: 8080", "port: 8080, accessPolicy: all-unauthenticated");
    let policy = policy(&[&probed, &open, &http("api")], 8080);
    assert_eq!(route_names(&policy), ["HTTPRoute/api"]);
    assert!(permit(&policy, None, "GET", "/api/1").is_some(), "whom the Server admits is admitted on every route");
    let request = Request::get("/live").body(()).unwrap().into_parts().0;
    assert!(policy.route(&request).is_none(), "probes need a route of their own now");
}

#[test]
fn routes_are_told_the_oldest_first_and_then_by_name() {
    let rules = "[{}]";
    let all = [
        route(POLICY, "HTTPRoute", "b", 2, rules),
        route(GATEWAY, "HTTPRoute", "a", 3, rules),
        route(GATEWAY, "HTTPRoute", "c", 2, rules),
        route(POLICY, "HTTPRoute", "z", 1, rules),
    ];
    let policy = policy(&[POD, SERVER, &all.join("\n---\n")], 8080);
    assert_eq!(route_names(&policy), ["HTTPRoute/z", "HTTPRoute/b", "HTTPRoute/c", "HTTPRoute/a"]);
    let Protocol::Detect { routes, .. } = &policy.protocol else { panic!() };
    let groups: Vec<_> = routes.iter().map(|route| route.meta.group().to_owned()).collect();
    assert_eq!(groups, ["policy.linkerd.io", "policy.linkerd.io", "gateway.networking.k8s.io", "gateway.networking.k8s.io"]);
}

#[test]
fn a_policy_for_a_route_is_for_that_route_only() {
    let routes = [http("api"), http("admin")].join("\n---\n");
    for (group, expected) in [("policy.linkerd.io", Some("authorizationpolicy/to-api")), ("gateway.networking.k8s.io", None)] {
        let policy = policy(&[POD, SERVER, &routes, &allow(group, "HTTPRoute", "api")], 8080);
        assert_eq!(permit(&policy, Some("web.ns"), "GET", "/api").as_deref(), expected, "{group}");
        assert_eq!(permit(&policy, Some("web.ns"), "GET", "/admin"), None);
        assert_eq!(permit(&policy, Some("bot.ns"), "GET", "/api"), None);
        assert!(policy.authorizations.is_empty());
    }
}

#[test]
fn a_grpc_server_has_grpc_routes_and_the_others_http_routes() {
    let grpc = route(GATEWAY, "GRPCRoute", "vote", 1, "[{matches: [{method: {service: v1.Voting, method: Vote}}]}]");
    let speaking = |protocol: &str| SERVER.replace("port: 8080", &format!("port: 8080, proxyProtocol: {protocol}"));
    let policy = |protocol: &str| {
        policy(&[POD, &speaking(protocol), &grpc, &http("api"), &allow("gateway.networking.k8s.io", "GRPCRoute", "vote")], 8080)
    };
    for (protocol, expected) in [
        ("unknown", &["HTTPRoute/api"][..]),
        ("HTTP/1", &["HTTPRoute/api"]),
        ("HTTP/2", &["HTTPRoute/api"]),
        ("gRPC", &["GRPCRoute/vote"]),
        ("opaque", &[]),
        ("TLS", &[]),
    ] {
        assert_eq!(route_names(&policy(protocol)), expected, "{protocol}");
    }
    assert!(permit(&policy("gRPC"), Some("web.ns"), "POST", "/v1.Voting/Vote").is_some());
    assert!(permit(&policy("gRPC"), Some("bot.ns"), "POST", "/v1.Voting/Vote").is_none());
    assert!(permit(&policy("gRPC"), Some("web.ns"), "POST", "/v1.Voting/Count").is_none());
}

#[test]
fn a_route_with_one_malformed_server_is_no_route() {
    let parents = |text: &str| http("api").replace("{group: policy.linkerd.io, kind: Server, name: web-http}", text);
    let good = "{group: policy.linkerd.io, kind: Server, name: web-http}";
    let table = [
        (good.to_owned(), "HTTPRoute/api"),
        (format!("{good}, {{group: core, kind: Service, name: web, namespace: far, port: 80}}"), "HTTPRoute/api"),
        ("{group: policy.linkerd.io, kind: Server, name: web-http, port: 8080}".to_owned(), "default/default"),
        ("{group: policy.linkerd.io, kind: Server, name: web-http, sectionName: x}".to_owned(), "default/default"),
        ("{group: policy.linkerd.io, kind: Server, name: web-http, namespace: far}".to_owned(), "default/default"),
        (format!("{good}, {{group: policy.linkerd.io, kind: Server, name: other, port: 1}}"), "default/default"),
        (format!("{good}, {good}"), "HTTPRoute/api"),
    ];
    for (text, expected) in table {
        assert_eq!(route_names(&policy(&[POD, SERVER, &parents(&text)], 8080)), [expected], "{text}");
    }
}

#[test]
fn a_route_counts_once_its_status_says_so_where_statuses_are_written() {
    let told = |controller: &str, status: &str, server: &str| {
        let parent = format!("{{group: policy.linkerd.io, kind: Server, name: {server}}}");
        let condition = format!("{{type: Accepted, status: '{status}', reason: Accepted}}");
        let status = format!("status: {{parents: [{{parentRef: {parent}, controllerName: {controller}, conditions: [{condition}]}}]}}");
        format!("{}, {status}}}", http("api").strip_suffix('}').unwrap())
    };
    let ours = "linkerd.io/policy-controller";
    let table = [
        (http("api"), "default/default"),
        (told(ours, "True", "web-http"), "HTTPRoute/api"),
        (told(ours, "False", "web-http"), "default/default"),
        (told("example.com/other", "True", "web-http"), "default/default"),
        (told(ours, "True", "other"), "default/default"),
    ];
    for (text, expected) in table {
        let world = World::new(&[POD, SERVER, &text].join("\n---\n")).written();
        assert_eq!(route_names(&world.inbound(&Workload::pod("ns", "web-1"), 8080).unwrap()), [expected], "{text}");
    }
}

#[test]
fn matches_and_filters_are_those_of_the_route() {
    let rules = "[{matches: [{path: {type: Exact, value: /a}, method: GET, headers: [{name: x-a, value: b}], queryParams: [{name: q, value: 'v+', type: RegularExpression}]}, {}], \
        filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-s, value: '1'}], add: [{name: x-a, value: '2'}], remove: [x-r]}}, \
        {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}, {type: RequestRedirect, requestRedirect: {scheme: https, port: 443, statusCode: 301}}]}]";
    let policy = policy(&[POD, SERVER, &route(POLICY, "HTTPRoute", "it", 1, rules)], 8080);
    let Protocol::Detect { routes, .. } = &policy.protocol else { panic!() };
    let rule = &routes[0].rules[0];
    let matched = |method: &str, uri: &str, header: &str| {
        let request = Request::builder().method(method).uri(uri).header("x-a", header).body(()).unwrap().into_parts().0;
        meshkit_policy::route::Match::matches(&rule.matches[0], &request).is_some()
    };
    assert!(matched("GET", "/a?q=vvv", "b"));
    for (method, uri, header) in [("PUT", "/a?q=v", "b"), ("GET", "/a/b?q=v", "b"), ("GET", "/a?q=w", "b"), ("GET", "/a?q=v", "c")] {
        assert!(!matched(method, uri, header), "{method} {uri} {header}");
    }
    assert_eq!(rule.matches[1], Match::prefix("/"), "an absent path is everything below /");
    assert!(matches!(&rule.policy.filters[..], [Filter::RequestHeaders(modifier), Filter::Redirect(redirect)]
        if modifier.set.len() == 1 && modifier.add.len() == 1 && modifier.remove.len() == 1 && redirect.port == Some(443)));
}

#[test]
fn a_route_with_a_filter_that_nobody_has_is_no_route() {
    let rewriting = route(GATEWAY, "HTTPRoute", "it", 1, "[{filters: [{type: URLRewrite, urlRewrite: {hostname: x}}]}]");
    assert_eq!(route_names(&policy(&[POD, SERVER, &rewriting], 8080)), ["default/default"]);
    let both = [rewriting, http("api")].join("\n---\n");
    assert_eq!(route_names(&policy(&[POD, SERVER, &both], 8080)), ["HTTPRoute/api"]);
}
