use std::path::Path;

use meshkit_manifest::{Event, Manifest};
use meshkit_policy::DefaultPolicy;

use super::*;

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: voting, namespace: ns}
spec: {clusterIP: 10.96.0.7, ports: [{name: grpc, port: 8080, appProtocol: kubernetes.io/h2c}, {name: http, port: 80}, {name: db, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: voting-v2, namespace: ns}
spec: {clusterIP: 10.96.0.8, ports: [{port: 8080}]}
";

const SPLIT: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: split, namespace: ns, annotations: {retry.linkerd.io/grpc: unavailable, retry.linkerd.io/limit: '2', timeout.linkerd.io/request: 3s}}
spec:
  parentRefs: [{group: core, kind: Service, name: voting, port: 8080}]
  rules:
  - matches: [{method: {service: emojivoto.v1.VotingService}}]
    backendRefs: [{name: voting, port: 8080, weight: 80}, {name: voting-v2, port: 8080, weight: 20}, {name: gone, port: 8080}]
";

fn mesh() -> Mesh {
    Mesh {
        namespace: "linkerd".to_owned(),
        domain: "cluster.local".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        probe_networks: Vec::new(),
        default_policy: DefaultPolicy::AllUnauthenticated,
    }
}

fn resolve(objects: &[&str], ns: &str, target: &str) -> Result<Policy, Code> {
    let mut cluster = Cluster::default();
    let text = objects.join("\n---\n");
    cluster.apply(Event::Reset(Manifest::parse(Path::new("x"), &text).unwrap().objects), |_| true);
    let source = Workload { ns: ns.to_owned(), pod: "client".to_owned() };
    let target = target.parse().map_or_else(|_| Target::Authority(target.to_owned()), Target::Addr);
    super::policy(&cluster, &mesh(), &source, &target).map_err(|e| e.code())
}

#[test]
fn a_grpc_route_splits_retries_and_limits() {
    let policy = resolve(&[SERVICES, SPLIT], "ns", "10.96.0.7:8080").unwrap();
    assert_eq!((policy.parent.name(), policy.parent.port().map(NonZeroU16::get)), ("voting", Some(8080)));
    let Protocol::Grpc(routes) = &policy.protocol else { panic!("{policy:?}") };
    let rule = &routes[0].rules[0].policy;
    let retry = rule.retry.as_ref().unwrap();
    assert_eq!(retry.max_retries, 2);
    assert!(retry.conditions.codes.contains(Code::UNAVAILABLE) && !retry.conditions.codes.contains(Code::INTERNAL));
    assert_eq!(rule.timeouts.request, Some(Duration::from_secs(3)));
    let Distribution::Random(backends) = &rule.distribution else { panic!() };
    let seen: Vec<_> = backends
        .iter()
        .map(|(b, w)| (b.backend.meta.name().to_owned(), *w, b.backend.dispatch != Dispatch::Fail, b.filters.len()))
        .collect();
    assert_eq!(seen, [("voting".to_owned(), 80, true, 0), ("voting-v2".to_owned(), 20, true, 0), ("gone".to_owned(), 1, false, 1)]);
}

#[test]
fn a_route_of_another_namespace_is_for_its_own_clients() {
    let consumer = SPLIT
        .replace("namespace: ns", "namespace: team")
        .replace("name: voting, port: 8080}]\n", "name: voting, namespace: ns, port: 8080}]\n");
    let is_grpc =
        |ns: &str| matches!(resolve(&[SERVICES, &consumer], ns, "voting.ns.svc.cluster.local:8080").unwrap().protocol, Protocol::Grpc(_));
    assert!(is_grpc("team"));
    assert!(!is_grpc("ns"));
}

#[test]
fn the_protocol_follows_the_port() {
    let protocol = |target: &str| resolve(&[SERVICES], "ns", target).unwrap().protocol;
    assert!(matches!(protocol("10.96.0.7:8080"), Protocol::Http2(_)));
    assert!(matches!(protocol("10.96.0.7:80"), Protocol::Detect { .. }));
    assert!(matches!(protocol("10.96.0.7:5432"), Protocol::Opaque(Some(_))), "a default opaque port");
    let Protocol::Opaque(Some(undeclared)) = protocol("10.96.0.7:81") else { panic!() };
    assert_eq!(undeclared.policy.filters[..], [tls::Filter::Forbidden]);
}

#[test]
fn addresses_of_the_cluster_are_unknown_and_others_are_reached_as_they_are() {
    assert_eq!(resolve(&[SERVICES], "ns", "10.1.2.3:80"), Err(Code::NOT_FOUND));
    assert_eq!(resolve(&[SERVICES], "ns", "nothing.ns.svc.cluster.local:80"), Err(Code::NOT_FOUND));
    assert_eq!(resolve(&[SERVICES], "ns", "example.com:80"), Err(Code::NOT_FOUND));
    assert_eq!(resolve(&[SERVICES], "ns", "93.184.216.34:443").unwrap().parent.name(), "egress-fallback");
}

#[test]
fn annotations_of_a_service_set_its_circuit_breaker() {
    let service = SERVICES.replacen("namespace: ns}", "namespace: ns, annotations: {balancer.linkerd.io/failure-accrual: consecutive, balancer.linkerd.io/failure-accrual-consecutive-max-failures: '3'}}", 1);
    let policy = resolve(&[&service], "ns", "10.96.0.7:8080").unwrap();
    let Protocol::Http2(routes) = &policy.protocol else { panic!() };
    let (backend, _) = routes[0].rules[0].policy.distribution.backends().next().unwrap();
    assert!(matches!(backend.backend.accrual, Some(Accrual::Consecutive { max_failures: 3, .. })));
}
