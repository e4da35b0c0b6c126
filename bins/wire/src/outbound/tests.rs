use meshkit_core::grpc::Code;
use meshkit_policy::{
    outbound::OpaqueRoute,
    route::{HostMatch, Route},
};
use meshkit_retry::{CodeSet, Conditions, StatusRanges};

use super::*;

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(25), Duration::from_millis(250), 1.0).unwrap()
}

fn backend(name: &str, accrual: Option<Accrual>) -> Arc<Backend> {
    let path = format!("{name}.ns.svc.cluster.local:80");
    Arc::new(Backend { meta: Meta::builtin(name), dispatch: Dispatch::Balance { path, load: Load::default() }, accrual })
}

fn rule<F>(distribution: Distribution<F>, retry: Option<Params>) -> Rule<F> {
    let timeouts = Timeouts { request: Some(Duration::from_secs(1)), response: None, idle: Some(Duration::from_secs(2)) };
    Rule { filters: [].into(), distribution, timeouts, retry, overrides: Overrides::Obeyed }
}

fn params(statuses: StatusRanges, codes: CodeSet) -> Params {
    Params {
        max_retries: 2,
        max_request_bytes: 65_536,
        conditions: Conditions { statuses, codes },
        per_try_timeout: Some(Duration::from_millis(300)),
        backoff: Some(backoff()),
    }
}

fn samples() -> Vec<Protocol> {
    let accrual = Some(Accrual::Consecutive { max_failures: 7, backoff: backoff() });
    let unified = Some(Accrual::Unified {
        success_rate: 0.5,
        window: Duration::from_secs(10),
        min_requests: 5,
        max_failures: 0,
        backoff: backoff(),
        hints: Hints::Respected,
    });
    let split = |accrual| {
        let one = |name: &str, weight| (RouteBackend { backend: backend(name, accrual), filters: [].into() }, weight);
        Distribution::Random([one("v1", 80), one("v2", 20)].into())
    };
    let http = |accrual| -> Arc<[Route<http::Match, Rule<http::Filter>>]> {
        let retry = params("5xx,429".parse().unwrap(), CodeSet::EMPTY);
        let rules =
            vec![meshkit_policy::route::Rule { matches: vec![http::Match::prefix("/a")], policy: rule(split(accrual), Some(retry)) }];
        [Route { meta: Meta::builtin("http"), hosts: vec![HostMatch::Suffix("example.com".to_owned())], rules }].into()
    };
    let retry = params(StatusRanges::EMPTY, CodeSet::new([Code::UNAVAILABLE, Code::DEADLINE_EXCEEDED]));
    let first = Distribution::First([RouteBackend { backend: backend("v1", unified), filters: [].into() }].into());
    let grpc_rule = meshkit_policy::route::Rule { matches: vec![grpc::Match::default()], policy: rule(first, Some(retry)) };
    let failing = Arc::new(Backend { meta: Meta::builtin("x"), dispatch: Dispatch::Fail, accrual: None });
    let opaque = |filters: Vec<tls::Filter>| OpaqueRule {
        filters: filters.into(),
        distribution: Distribution::First(
            [RouteBackend { backend: Arc::clone(&failing), filters: [tls::Filter::Invalid("no".into())].into() }].into(),
        ),
    };
    let route = OpaqueRoute { meta: Meta::builtin("opaq"), policy: opaque(vec![]) };
    vec![
        Protocol::Detect { timeout: Duration::from_secs(10), http1: http(accrual), http2: http(accrual), opaque: Some(route.clone()) },
        Protocol::Http1(http(None)),
        Protocol::Http2(http(unified)),
        Protocol::Grpc([Route { meta: Meta::builtin("grpc"), hosts: vec![], rules: vec![grpc_rule] }].into()),
        Protocol::Tls(
            [tls::Route {
                meta: Meta::builtin("tls"),
                names: vec![tls::SniMatch::Exact("a".to_owned())],
                policy: opaque(vec![tls::Filter::Forbidden]),
            }]
            .into(),
        ),
        Protocol::Opaque(Some(route)),
        Protocol::Opaque(None),
    ]
}

#[test]
fn policies_of_every_protocol_round_trip() {
    for protocol in samples() {
        let policy = Policy { parent: Meta::builtin("parent"), protocol };
        assert_eq!(super::policy(policy_to(&policy)), Ok(policy));
    }
}

#[test]
fn a_policy_without_a_protocol_names_the_field() {
    let error = super::policy(linkerd2_proxy_api::outbound::OutboundPolicy::default()).unwrap_err();
    assert_eq!(error.to_string(), "protocol.kind: is missing");
}
