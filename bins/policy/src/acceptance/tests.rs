use meshkit_manifest::Object;

use super::*;
use crate::fixture::World;

const CLUSTER: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless, namespace: ns}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias, namespace: ns}, spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}}
---
{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: web-http, namespace: ns}, spec: {podSelector: {}, port: 80}}
---
{apiVersion: policy.linkerd.io/v1alpha1, kind: EgressNetwork, metadata: {name: out, namespace: ns}, spec: {trafficPolicy: Allow}}
---
{apiVersion: policy.linkerd.io/v1alpha1, kind: EgressNetwork, metadata: {name: within, namespace: ns}, spec: {trafficPolicy: Allow, networks: [{cidr: 10.0.0.0/16}]}}
";

/// The type of a condition, its reason and its message.
type Said = (&'static str, &'static str, &'static str);

const SERVICE: &str = "{group: core, kind: Service, name: web, port: 80}";
const SERVER: &str = "{group: policy.linkerd.io, kind: Server, name: web-http}";
const EGRESS: &str = "{group: policy.linkerd.io, kind: EgressNetwork, name: out, port: 80}";

fn route(kind: &str, name: &str, parents: &str, backends: &str) -> String {
    let version = match kind {
        "PolicyHTTPRoute" => "policy.linkerd.io/v1beta3",
        "TLSRoute" | "TCPRoute" => "gateway.networking.k8s.io/v1alpha2",
        _ => "gateway.networking.k8s.io/v1",
    };
    let kind = kind.trim_start_matches("Policy");
    format!(
        "\n---\n{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}, namespace: ns}}, \
         spec: {{parentRefs: [{parents}], rules: [{{backendRefs: [{backends}]}}]}}}}"
    )
}

/// What is said of the route `it` at its first parent.
fn verdicts(objects: &str) -> Vec<Said> {
    let world = World::new(&format!("{CLUSTER}{objects}"));
    let model = world.model();
    let route = world.view.routes().iter().find(|route| route.metadata().name == "it").unwrap();
    let parent = &route.parents()[0];
    let said = |verdict: Verdict| {
        assert_eq!(verdict.holds, verdict.kind == verdict.reason, "{verdict:?}");
        (verdict.kind, verdict.reason, verdict.message)
    };
    model.accepts_route(route, parent).into_iter().chain(model.resolves_backends(route, parent)).map(said).collect()
}

const ACCEPTED: Said = ("Accepted", "Accepted", "");
const RESOLVED: Said = ("ResolvedRefs", "ResolvedRefs", "");
const UNMATCHED: Said = ("Accepted", "NoMatchingParent", "");

#[test]
fn a_route_is_accepted_where_its_parent_is_there() {
    let no_ip = ("Accepted", "NoMatchingParent", "parent service must have a ClusterIP");
    let table: &[(&str, &[Said])] = &[
        (SERVICE, &[ACCEPTED, RESOLVED]),
        ("{group: '', kind: Service, name: web, namespace: ns}", &[ACCEPTED, RESOLVED]),
        ("{group: core, kind: Service, name: gone}", &[UNMATCHED, RESOLVED]),
        ("{group: core, kind: Service, name: web, namespace: far}", &[UNMATCHED, RESOLVED]),
        ("{group: core, kind: Service, name: headless}", &[no_ip, RESOLVED]),
        ("{group: core, kind: Service, name: alias}", &[no_ip, RESOLVED]),
        (SERVER, &[ACCEPTED]),
        ("{group: policy.linkerd.io, kind: Server, name: gone}", &[UNMATCHED]),
        (
            "{group: policy.linkerd.io, kind: Server, name: web-http, port: 80}",
            &[("Accepted", "NoMatchingParent", "a Server as a parent has no port")],
        ),
        (EGRESS, &[ACCEPTED, RESOLVED]),
        ("{group: policy.linkerd.io, kind: EgressNetwork, name: gone, port: 80}", &[UNMATCHED, RESOLVED]),
        (
            "{group: policy.linkerd.io, kind: EgressNetwork, name: within, port: 80}",
            &[("Accepted", "NoMatchingParent", "EgressNetwork parent has not been accepted"), RESOLVED],
        ),
        // Somebody else's.
        ("{kind: Gateway, name: web}", &[]),
        ("{group: example.com, kind: Service, name: web}", &[]),
    ];
    for (parent, expected) in table {
        assert_eq!(verdicts(&route("HTTPRoute", "it", parent, "")), *expected, "{parent}");
    }
}

#[test]
fn of_routes_at_one_parent_the_higher_kind_counts() {
    let kinds = ["GRPCRoute", "HTTPRoute", "TLSRoute", "TCPRoute"];
    let conflict = ("Accepted", "RouteReasonConflicted", "");
    for (own, kind) in kinds.into_iter().enumerate() {
        for (others, other) in kinds.into_iter().enumerate() {
            let objects = route(kind, "it", SERVICE, "") + &route(other, "other", SERVICE, "");
            let expected = if others < own { conflict } else { ACCEPTED };
            assert_eq!(verdicts(&objects)[0], expected, "{kind} beside {other}");
        }
    }
    let grpc = |parent: &str| route("GRPCRoute", "other", parent, "");
    for (parent, is_same) in [
        ("{group: core, kind: Service, name: web}", false),
        ("{group: core, kind: Service, name: web, port: 81}", false),
        ("{group: core, kind: Service, name: web, namespace: ns, port: 80}", true),
    ] {
        let verdict = verdicts(&(route("PolicyHTTPRoute", "it", SERVICE, "") + &grpc(parent)))[0];
        assert_eq!(verdict, if is_same { conflict } else { ACCEPTED }, "{parent}");
    }
    assert_eq!(
        verdicts(&(route("HTTPRoute", "it", SERVER, "") + &route("GRPCRoute", "other", SERVER, "")))[0],
        ACCEPTED,
        "Servers take both"
    );
    assert_eq!(verdicts(&(route("TLSRoute", "it", EGRESS, "") + &route("HTTPRoute", "other", EGRESS, "")))[0], conflict);
}

#[test]
fn backends_are_there_and_of_a_kind_that_the_parent_takes() {
    let missing = ("ResolvedRefs", "BackendNotFound", "");
    let strange = ("ResolvedRefs", "InvalidKind", "");
    let web = "{name: web, port: 80}";
    let out = "{group: policy.linkerd.io, kind: EgressNetwork, name: out, port: 80}";
    let bucket = "{group: example.com, kind: Bucket, name: b}";
    let gone = "{name: gone, port: 80}";
    let egress = ("ResolvedRefs", "InvalidKind", "EgressNetwork backend needs to be on a route that has an EgressNetwork parent");
    let table = [
        (SERVICE, web.to_owned(), RESOLVED),
        (SERVICE, gone.to_owned(), missing),
        (SERVICE, format!("{gone}, {web}"), missing),
        (SERVICE, format!("{gone}, {bucket}"), strange),
        (SERVICE, "{name: web, namespace: far, port: 80}".to_owned(), missing),
        (SERVICE, out.to_owned(), egress),
        (EGRESS, out.to_owned(), RESOLVED),
        (EGRESS, out.replace("out", "gone"), missing),
        (EGRESS, web.to_owned(), RESOLVED),
    ];
    for (parent, backends, expected) in table {
        for kind in ["PolicyHTTPRoute", "GRPCRoute", "TCPRoute"] {
            assert_eq!(verdicts(&route(kind, "it", parent, &backends))[1], expected, "{kind} {parent} {backends}");
        }
    }
}

#[test]
fn a_limit_is_taken_where_its_server_is_and_none_is_older() {
    let limit = |name: &str, server: &str, made: &str| {
        format!(
            "\n---\n{{apiVersion: policy.linkerd.io/v1alpha1, kind: HTTPLocalRateLimitPolicy, metadata: {{name: {name}, namespace: ns{made}}}, \
             spec: {{targetRef: {{group: policy.linkerd.io, kind: Server, name: {server}}}, total: {{requestsPerSecond: 1}}}}}}"
        )
    };
    let verdict = |objects: &str| {
        let world = World::new(&format!("{CLUSTER}{objects}"));
        let limit = world.view.rate_limits("ns").iter().find(|limit| limit.metadata.name == "it").unwrap();
        world.model().accepts_rate_limit(limit).reason
    };
    let own = limit("it", "web-http", "");
    assert_eq!(verdict(&own), "Accepted");
    assert_eq!(verdict(&limit("it", "gone", "")), "NoMatchingTarget");
    assert_eq!(verdict(&(own.clone() + &limit("a", "web-http", ""))), "RateLimitReasonAlreadyExists");
    assert_eq!(verdict(&(own.clone() + &limit("z", "web-http", ""))), "Accepted");
    assert_eq!(
        verdict(&(own.clone() + &limit("z", "web-http", ", creationTimestamp: '2020-01-01T00:00:00Z'"))),
        "RateLimitReasonAlreadyExists"
    );
    assert_eq!(verdict(&(own + &limit("a", "gone", ""))), "Accepted");
}

#[test]
fn a_network_is_taken_if_it_has_no_part_of_the_cluster() {
    let table = [
        ("", true),
        ("networks: [{cidr: 192.0.2.0/24}]", true),
        ("networks: [{cidr: 'fd00::/8'}]", true),
        ("networks: [{cidr: 10.1.0.0/16}]", false),
        ("networks: [{cidr: 192.0.2.0/24}, {cidr: 10.1.2.3}]", false),
        ("networks: [{cidr: 0.0.0.0/0}]", false),
        ("networks: [{cidr: 0.0.0.0/0, except: [10.0.0.0/8]}]", true),
        ("networks: [{cidr: 0.0.0.0/0, except: [10.0.0.0/9]}]", false),
    ];
    for (networks, expected) in table {
        let text = format!(
            "{{apiVersion: policy.linkerd.io/v1alpha1, kind: EgressNetwork, metadata: {{name: it, namespace: ns}}, spec: {{trafficPolicy: Deny, {networks}}}}}"
        );
        let world = World::new(&text);
        let Some(Object::EgressNetwork(network)) = world.view.cluster().objects().next() else { panic!() };
        let verdict = world.model().accepts_egress(network);
        assert_eq!(verdict.holds, expected, "{networks}");
        if !expected {
            assert_eq!((verdict.reason, verdict.message), ("EgressReasonNetworkOverlap", "networks overlap with clusterNetworks"));
        }
    }
}
