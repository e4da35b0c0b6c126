use meshkit_policy::{grpc, http::Filter, tls};

use super::*;

fn network(namespace: &str, name: &str, extra: &str) -> String {
    format!(
        "\n---\n{{apiVersion: policy.linkerd.io/v1alpha1, kind: EgressNetwork, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{extra}}}}}"
    )
}

fn parent(objects: &str, target: &str) -> String {
    policy_for("client", objects, target).map_or_else(|code| code.name().to_owned(), |policy| policy.parent.to_string())
}

const ALLOW: &str = "trafficPolicy: Allow";
const DENY: &str = "trafficPolicy: Deny";
const OUT: &str = "192.0.2.1:443";

#[test]
fn an_address_belongs_to_the_network_with_the_smallest_block() {
    let whole = network("client", "whole", ALLOW);
    let some = |name: &str, cidr: &str| network("client", name, &format!("{ALLOW}, networks: [{{cidr: {cidr}}}]"));
    let table = [
        (String::new(), OUT, "default/egress-fallback"),
        (whole.clone(), OUT, "EgressNetwork/whole"),
        (whole.clone(), "[2001:db8::1]:443", "EgressNetwork/whole"),
        (whole.clone(), "10.1.2.3:443", "NOT_FOUND"),
        (whole.clone(), WEB, "Service/web"),
        (whole.clone() + &some("half", "128.0.0.0/1"), OUT, "EgressNetwork/half"),
        (some("a", "192.0.2.0/24") + &some("b", "192.0.0.0/16"), OUT, "EgressNetwork/a"),
        (some("b", "192.0.2.0/24") + &some("a", "192.0.2.0/24"), OUT, "EgressNetwork/a"),
        (some("other", "198.51.100.0/24"), OUT, "default/egress-fallback"),
        (
            network("client", "but", &format!("{ALLOW}, networks: [{{cidr: 192.0.2.0/24, except: [192.0.2.1]}}]")),
            OUT,
            "default/egress-fallback",
        ),
        // It has a part of the cluster, and is not accepted.
        (some("overlapping", "10.1.0.0/16"), "10.1.2.3:443", "NOT_FOUND"),
        (network("client", "all", &format!("{ALLOW}, networks: [{{cidr: 0.0.0.0/0}}]")), OUT, "default/egress-fallback"),
    ];
    for (networks, target, expected) in table {
        assert_eq!(parent(&networks, target), expected, "{target} {networks}");
    }
}

#[test]
fn networks_of_the_clients_namespace_hide_the_common_ones() {
    let common = network("linkerd-egress", "common", ALLOW);
    let own = network("client", "own", &format!("{ALLOW}, networks: [{{cidr: 198.51.100.0/24}}]"));
    let strange = network("other", "strange", DENY);
    assert_eq!(parent(&(common.clone() + &strange), OUT), "EgressNetwork/common");
    assert_eq!(parent(&(common.clone() + &own), OUT), "default/egress-fallback", "even where none of them has the address");
    assert_eq!(parent(&(common + &own), "198.51.100.7:80"), "EgressNetwork/own");
    assert_eq!(parent(&strange, OUT), "default/egress-fallback");
}

#[test]
fn of_equal_networks_the_oldest_counts() {
    let aged = |name: &str, year: u16| {
        network("client", name, ALLOW)
            .replace("namespace: client", &format!("namespace: client, creationTimestamp: '{year}-01-01T00:00:00Z'"))
    };
    assert_eq!(parent(&(aged("a", 2021) + &aged("z", 2020)), OUT), "EgressNetwork/z");
}

fn route(kind: &'static str, rules: &'static str) -> String {
    Text { kind, namespace: "client", parents: "{group: policy.linkerd.io, kind: EgressNetwork, name: out, port: 443}", rules, ..ROUTE }
        .yaml()
}

#[test]
fn what_no_route_describes_is_allowed_or_denied() {
    for (traffic, allowed) in [(ALLOW, true), (DENY, false)] {
        let suffix = if allowed { "allow" } else { "deny" };
        let policy = |routes: &str| policy(&(network("client", "out", traffic) + routes), OUT);
        let there = vec![(OUT.to_owned(), 1, None::<String>)];

        let plain = policy("");
        assert_eq!(shape(&plain), ("detect", vec![format!("http-egress-{suffix}")]));
        assert_eq!(
            (plain.parent.group(), plain.parent.kind(), plain.parent.port().map(u16::from)),
            ("policy.linkerd.io", "EgressNetwork", Some(443))
        );
        let rule = http_rules(&plain)[0];
        assert_eq!(backends(&rule.distribution), there);
        let refusals: Vec<_> = rule
            .filters
            .iter()
            .map(|filter| match filter {
                Filter::Fail(failure) => (failure.response.as_u16(), failure.message.to_string()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(refusals, if allowed { vec![] } else { vec![(403, "traffic not allowed".to_owned())] });
        assert_eq!(opaque(&plain).meta, Meta::builtin(&format!("tcp-egress-{suffix}")));
        assert_eq!(opaque(&plain).policy.filters[..] == [tls::Filter::Forbidden], !allowed);

        assert_eq!(shape(&policy(&route("HTTPRoute", "{}"))), ("detect", vec!["it".to_owned(), format!("http-egress-{suffix}")]));
        let grpc = policy(&route("GRPCRoute", "{}"));
        assert_eq!(shape(&grpc), ("grpc", vec!["it".to_owned(), format!("grpc-egress-{suffix}")]));
        let Protocol::Grpc(routes) = &grpc.protocol else { panic!() };
        let codes: Vec<_> = routes[1].rules[0]
            .policy
            .filters
            .iter()
            .map(|filter| match filter {
                grpc::Filter::Fail(failure) => failure.response,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(codes, if allowed { vec![] } else { vec![Code::PERMISSION_DENIED] });
        let tls = policy(&route("TLSRoute", "{}"));
        assert_eq!(shape(&tls), ("tls", vec!["it".to_owned(), format!("tls-egress-{suffix}")]));
        let Protocol::Tls(routes) = &tls.protocol else { panic!() };
        assert_eq!(routes[1].policy.filters[..] == [tls::Filter::Forbidden], !allowed);
        assert_eq!(shape(&policy(&route("TCPRoute", "{}"))), ("opaque", vec!["it".to_owned()]), "one route is all there may be");
    }
}

#[test]
fn a_route_leads_to_the_address_that_was_asked_for_or_back_into_the_cluster() {
    const RULES: &str = "{backendRefs: [{group: policy.linkerd.io, kind: EgressNetwork, name: out, port: 443}, \
        {group: policy.linkerd.io, kind: EgressNetwork, name: other, port: 443}, {group: policy.linkerd.io, kind: EgressNetwork, name: gone}, \
        {name: web, namespace: ns, port: 80}]}, {}";
    let networks = network("client", "out", DENY)
        + &network("far", "other", DENY)
        + &network("client", "other", &format!("{DENY}, networks: [{{cidr: 198.51.100.0/24}}]"));
    let policy = policy(&(networks + &route("HTTPRoute", RULES)), OUT);
    let fails = |message: &str| ("nowhere".to_owned(), 1, Some(format!("500 {message}")));
    let expected = [
        (OUT.to_owned(), 1, None),
        fails("Route with EgressNetwork backend needs to have the same EgressNetwork as a parent"),
        fails("EgressNetwork not found gone"),
        ("web.ns.svc.cluster.local:80".to_owned(), 1, None),
    ];
    assert_eq!(backends(&http_rules(&policy)[0].distribution), expected);
    assert_eq!(backends(&http_rules(&policy)[1].distribution), [(OUT.to_owned(), 1, None)], "no backend is the address itself");
    let (it, _) = http_rules(&policy)[0].distribution.backends().next().unwrap();
    assert_eq!((it.backend.meta.kind(), it.backend.meta.namespace(), it.backend.meta.name()), ("EgressNetwork", "client", "out"));

    let of_service =
        Text { rules: "{backendRefs: [{group: policy.linkerd.io, kind: EgressNetwork, name: out, port: 443}]}", ..ROUTE }.yaml();
    let policy = super::policy(&(network("ns", "out", ALLOW) + &of_service), WEB);
    assert_eq!(backends(&http_rules(&policy)[0].distribution), [fails("EgressNetwork backends attach to EgressNetwork parents only")]);
}

#[test]
fn a_network_has_timeouts_retries_and_a_circuit_but_no_penalties() {
    let annotations = "timeout.linkerd.io/request: 4s, retry.linkerd.io/http: 5xx, balancer.linkerd.io/failure-accrual: consecutive, \
        balancer.alpha.linkerd.io/penalize-failures: 'true'";
    let annotated =
        network("client", "out", ALLOW).replace("namespace: client", &format!("namespace: client, annotations: {{{annotations}}}"));
    for routes in [String::new(), route("HTTPRoute", "{backendRefs: [{name: web, namespace: ns, port: 80}]}")] {
        let policy = policy(&(annotated.clone() + &routes), OUT);
        for rule in http_rules(&policy) {
            assert_eq!(rule.timeouts.request.unwrap().as_secs(), 4);
            assert_eq!(rule.retry.as_ref().unwrap().max_retries, 1);
            for (it, _) in rule.distribution.backends() {
                assert!(it.backend.accrual.is_some());
                assert!(!matches!(it.backend.dispatch, Dispatch::Balance { load, .. } if load.penalty.is_some()));
            }
        }
    }
}

#[test]
fn well_known_ports_are_opaque_outside_too() {
    let out = network("client", "out", ALLOW);
    assert_eq!(shape(&policy(&out, "192.0.2.1:3306")), ("opaque", vec!["tcp-egress-allow".to_owned()]));
}

#[test]
fn no_name_leads_to_a_network() {
    let out = network("client", "out", ALLOW);
    assert_eq!(parent(&out, "out.client.svc.cluster.local:443"), "Service/out");
}
