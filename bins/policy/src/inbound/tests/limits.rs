use super::*;

fn limit(name: &str, made: u8, spec: &str) -> String {
    format!(
        "{{apiVersion: policy.linkerd.io/v1alpha1, kind: HTTPLocalRateLimitPolicy, \
         metadata: {{name: {name}, namespace: ns, creationTimestamp: '2020-01-0{made}T00:00:00Z'}}, \
         spec: {{targetRef: {{group: policy.linkerd.io, kind: Server, name: web-http}}, {spec}}}}}"
    )
}

#[test]
fn a_limit_has_a_total_one_for_each_identity_and_overrides() {
    let spec = "total: {requestsPerSecond: 100}, identity: {requestsPerSecond: 20}, \
        overrides: [{requestsPerSecond: 50, clientRefs: [{kind: ServiceAccount, name: web}, {kind: ServiceAccount, name: bot, namespace: far}]}]";
    let policy = policy(&[POD, SERVER, &limit("it", 1, spec)], 8080);
    let limits = policy.rate_limit().unwrap();
    let meta = limits.meta.as_ref().unwrap();
    assert_eq!((meta.group(), meta.kind(), meta.name()), ("policy.linkerd.io", "HTTPLocalRateLimitPolicy", "it"));
    assert_eq!((limits.total.unwrap().0.get(), limits.identity.unwrap().0.get()), (100, 20));
    let [special] = &limits.overrides[..] else { panic!() };
    let clients: Vec<_> = special.clients.iter().map(ToString::to_string).collect();
    let id = |account: &str| format!("{account}.serviceaccount.identity.linkerd.td.local");
    assert_eq!((special.limit.0.get(), clients), (50, vec![id("bot.far"), id("web.ns")]));
}

#[test]
fn protocols_without_http_have_no_limit() {
    for (protocol, expected) in [("unknown", true), ("HTTP/1", true), ("HTTP/2", true), ("gRPC", false), ("opaque", false), ("TLS", false)]
    {
        let server = SERVER.replace("port: 8080", &format!("port: 8080, proxyProtocol: {protocol}"));
        let policy = policy(&[POD, &server, &limit("it", 1, "total: {requestsPerSecond: 1}")], 8080);
        assert_eq!(policy.rate_limit().is_some(), expected, "{protocol}");
    }
}

#[test]
fn of_several_limits_the_oldest_counts() {
    let all = [limit("a", 2, "total: {requestsPerSecond: 2}"), limit("z", 1, "total: {requestsPerSecond: 1}")].join("\n---\n");
    let policy = policy(&[POD, SERVER, &all], 8080);
    assert_eq!(policy.rate_limit().unwrap().total.unwrap().0.get(), 1);
    assert!(super::policy(&[POD, &all], 8080).rate_limit().is_none(), "without the Server there is nothing to limit");
}

#[test]
fn a_limit_counts_once_its_status_says_so_where_statuses_are_written() {
    let plain = limit("it", 1, "total: {requestsPerSecond: 1}");
    let told = |status: &str| {
        plain.trim_end_matches('}').to_owned() + &format!("}}}}, status: {{conditions: [{{type: Accepted, status: '{status}'}}]}}}}")
    };
    for (text, expected) in [(plain.clone(), false), (told("True"), true), (told("False"), false)] {
        let world = World::new(&[POD, SERVER, &text].join("\n---\n")).written();
        let policy = world.inbound(&Workload::pod("ns", "web-1"), 8080).unwrap();
        assert_eq!(policy.rate_limit().is_some(), expected, "{text}");
    }
}
