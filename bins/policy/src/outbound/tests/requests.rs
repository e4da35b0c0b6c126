//! Timeouts, retries, circuits and the measure of load.

use std::time::Duration;

use meshkit_retry::Timeouts;
use meshkit_wire::outbound::{Accrual, Load, Overrides};

use super::*;

/// The Services, of which `web` has these annotations.
fn annotated(annotations: &str) -> String {
    SERVICES.replacen("namespace: ns}", &format!("namespace: ns, annotations: {{{annotations}}}}}"), 1)
}

fn resolve(services: &str, route: &str, target: &str) -> Policy {
    World::new(&format!("{services}{route}")).outbound("client", target).unwrap()
}

fn secs(request: u64, response: u64, idle: u64) -> Timeouts {
    let time = |secs| (secs > 0).then(|| Duration::from_secs(secs));
    Timeouts { request: time(request), response: time(response), idle: time(idle) }
}

const ALL: &str = "timeout.linkerd.io/request: 1s, timeout.linkerd.io/response: 2s, timeout.linkerd.io/idle: 3s";

#[test]
fn a_rules_timeouts_replace_all_of_its_services() {
    // Annotations and rules of a route.
    type Of = (&'static str, &'static str);
    let table: &[(&str, Option<Of>, Timeouts)] = &[
        ("", None, secs(0, 0, 0)),
        (ALL, None, secs(1, 2, 3)),
        (ALL, Some(("", "{}")), secs(1, 2, 3)),
        (ALL, Some(("timeout.linkerd.io/idle: 9s", "{}")), secs(0, 0, 9)),
        (ALL, Some(("timeout.linkerd.io/idle: '0'", "{}")), secs(1, 2, 3)),
        (ALL, Some(("", "{timeouts: {request: 8s}}")), secs(8, 0, 0)),
        (ALL, Some(("", "{timeouts: {request: 0s}}")), secs(1, 2, 3)),
        (ALL, Some(("", "{timeouts: {request: 8s, backendRequest: 4s}}")), secs(8, 0, 0)),
        ("", Some(("timeout.linkerd.io/request: 5s", "{timeouts: {request: 8s}}")), secs(5, 0, 0)),
        ("", Some(("timeout.linkerd.io/idle: 5s", "{timeouts: {request: 8s}}")), secs(8, 0, 5)),
        ("timeout.linkerd.io/request: soon, timeout.linkerd.io/idle: 1s", None, secs(0, 0, 0)),
    ];
    for (of_service, route, expected) in table {
        let text = route.map(|(annotations, rules)| Text { annotations, rules, ..ROUTE }.yaml()).unwrap_or_default();
        let policy = resolve(&annotated(of_service), &text, WEB);
        assert_eq!(http_rules(&policy)[0].timeouts, *expected, "{of_service} {route:?}");
    }
    let grpc = Text { kind: "GRPCRoute", annotations: "timeout.linkerd.io/request: 5s", ..ROUTE }.yaml();
    let Protocol::Grpc(routes) = resolve(&annotated(ALL), &grpc, WEB).protocol else { panic!() };
    assert_eq!(routes[0].rules[0].policy.timeouts, secs(5, 0, 0));
}

#[test]
fn a_route_retries_as_it_says_or_as_its_service_does() {
    const SERVICE: &str = "retry.linkerd.io/http: 5xx, retry.linkerd.io/limit: '3', retry.linkerd.io/timeout: 250ms";
    // How many conditions, the limit, and the milliseconds of a try.
    type Retry = (usize, u32, Option<u64>);
    let table: &[(&str, Option<&'static str>, Option<Retry>)] = &[
        ("", None, None),
        (SERVICE, None, Some((1, 3, Some(250)))),
        (SERVICE, Some(""), Some((1, 3, Some(250)))),
        (SERVICE, Some("'retry.linkerd.io/http': 'gateway-error,429'"), Some((2, 1, None))),
        ("", Some("retry.linkerd.io/limit: '2'"), Some((0, 2, None))),
        (SERVICE, Some("retry.linkerd.io/limit: '0'"), Some((1, 3, Some(250)))),
        ("retry.linkerd.io/http: sometimes", None, None),
    ];
    for (of_service, route, expected) in table {
        let text = route.map(|annotations| Text { annotations, ..ROUTE }.yaml()).unwrap_or_default();
        let policy = resolve(&annotated(of_service), &text, WEB);
        let retry = http_rules(&policy)[0].retry.as_ref();
        let seen = retry.map(|it| {
            let timeout = it.per_try_timeout.map(|time| u64::try_from(time.as_millis()).unwrap());
            (it.conditions.statuses.ranges().len(), it.max_retries, timeout)
        });
        assert_eq!(seen, *expected, "{of_service} {route:?}");
        if let Some(retry) = retry {
            let backoff = retry.backoff.unwrap();
            assert_eq!((backoff.min().as_millis(), backoff.max().as_millis(), backoff.jitter()), (25, 250, 1.0));
            assert_eq!(retry.max_request_bytes, 65_536);
        }
    }
    let grpc = Text { kind: "GRPCRoute", annotations: "'retry.linkerd.io/grpc': 'unavailable,internal'", ..ROUTE }.yaml();
    let Protocol::Grpc(routes) = resolve(&annotated(SERVICE), &grpc, WEB).protocol else { panic!() };
    let codes = routes[0].rules[0].policy.retry.as_ref().unwrap().conditions.codes;
    let retried: Vec<_> = [Code::UNAVAILABLE, Code::INTERNAL, Code::CANCELLED].map(|code| codes.contains(code)).into();
    assert_eq!(retried, [true, true, false]);
}

const CIRCUIT: &str = "balancer.linkerd.io/failure-accrual: consecutive";
const PENALTY: &str = "balancer.alpha.linkerd.io/penalize-failures: 'true'";

#[test]
fn the_parent_says_how_load_and_failures_are_measured_for_all_backends() {
    let route = Text { rules: "{backendRefs: [{name: web, port: 80}, {name: web-v2, port: 80}, {name: gone, port: 80}]}", ..ROUTE }.yaml();
    let services = annotated(&format!("{CIRCUIT}, {PENALTY}"));
    let penal = Load { penalty: Some((Duration::from_secs(5), Duration::from_secs(300))), ..Load::default() };
    for route in [String::new(), route.clone()] {
        let policy = resolve(&services, &route, WEB);
        for (it, _) in http_rules(&policy)[0].distribution.backends() {
            assert!(matches!(it.backend.accrual, Some(Accrual::Consecutive { max_failures: 7, .. })));
            assert!(
                matches!(it.backend.dispatch, Dispatch::Balance { load, .. } if load == penal) || it.backend.dispatch == Dispatch::Fail
            );
        }
        let (bytes, _) = opaque(&policy).policy.distribution.backends().next().unwrap();
        assert!(matches!(bytes.backend.dispatch, Dispatch::Balance { load, .. } if load == Load::default()), "bytes do not fail");
        assert_eq!(bytes.backend.accrual, None);
    }
    // What a backend's own annotations say does not matter there.
    let of_backend =
        SERVICES.replace("name: web-v2, namespace: ns", &format!("name: web-v2, namespace: ns, annotations: {{{CIRCUIT}, {PENALTY}}}"));
    for (it, _) in http_rules(&resolve(&of_backend, &route, WEB))[0].distribution.backends() {
        assert_eq!(it.backend.accrual, None);
        assert!(
            matches!(it.backend.dispatch, Dispatch::Balance { load, .. } if load == Load::default())
                || it.backend.dispatch == Dispatch::Fail
        );
    }
    let Load { default_rtt, decay, penalty } = Load::default();
    assert_eq!((default_rtt.as_millis(), decay.as_secs(), penalty), (30, 10, None));
}

#[test]
fn an_opaque_port_keeps_the_plain_measure() {
    let services = annotated(&format!("{CIRCUIT}, {PENALTY}, config.linkerd.io/opaque-ports: '80'"));
    let policy = resolve(&services, "", WEB);
    let (it, _) = opaque(&policy).policy.distribution.backends().next().unwrap();
    assert!(matches!(it.backend.dispatch, Dispatch::Balance { load, .. } if load == Load::default()));
    assert_eq!(it.backend.accrual, None);
}

#[test]
fn requests_may_override_if_the_setting_says_so() {
    for overrides in [Overrides::PassedOn, Overrides::Obeyed] {
        let mut world = World::new(&format!("{SERVICES}{}", ROUTE.yaml()));
        world.settings = world.settings.overrides(overrides);
        for target in [WEB, "10.96.0.8:80"] {
            let policy = world.outbound("client", target).unwrap();
            assert!(http_rules(&policy).iter().all(|rule| rule.overrides == overrides), "{target}");
        }
    }
}
