//! What is counted: each layer's work for one request, behind it a service that answers at once.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    num::NonZeroU16,
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use meshkit_balance::{Balance, Config, PeakEwma, p2c, updates};
use meshkit_core::{Dice, Endpoint, Identity, Outcome, Ratio};
use meshkit_fault::{Abort, Fault, FaultLayer, Kind};
use meshkit_policy::{
    Authorization, Client, DefaultPolicy, FilterLayer, Meta, PolicyLayer, TlsState,
    http::{Filter, HeaderModifier, Match},
    inbound::Policy,
    ipnet::IpNet,
    rate_limit::{Limit, Limiter, RateLimit},
    route::{HostMatch, Route, Rule, find},
};
use meshkit_retry::{Budget, Conditions, HeadTimeoutLayer, Params, Plan, RetryLayer, StatusRanges, TimeoutLayer, Timeouts, budget};
use meshkit_tls::{TransportHeader, client_hello, transport_header::SessionProtocol};
use tokio::{runtime, sync::watch, time::Instant};
use tower::{Layer, Service};

/// Does a layer's work so many times.
type Work = fn(u64);

/// Every layer on the request path. The first is what a request costs that passes none; the others contain it where their name says `layer`.
pub(crate) const CASES: &[(&str, Work)] = &[
    ("none: a request", none),
    ("balance: pick among 10 by EWMA", pick),
    ("balance: layer, 10 endpoints", balance),
    ("core: outcome of a gRPC response", outcome),
    ("fault: layer, nothing planned", |times| fault(times, Vec::new())),
    ("fault: layer, a fault that does not hit", |times| fault(times, vec![Fault::new(ABORT).share(Ratio::ZERO)])),
    ("policy: authorize, the last of 8", authorize),
    ("policy: layer, default policy", policy),
    ("policy: layer, filters", filters),
    ("policy: rate limit, total and identity", rate_limit),
    ("policy: route among 100", route),
    ("retry: budget, deposit and withdrawal", retry_budget),
    ("retry: layer, nothing planned", |times| retry(times, Plan::new())),
    ("retry: layer, planned and not needed", |times| retry(times, params().into())),
    ("retry: layer, timeouts", timeouts),
    ("retry: layer, time to the head", head_timeout),
    ("tls: client hello that is none", hello),
    ("tls: transport header, written and read", transport_header),
];

const ABORT: Kind = Kind::Abort(Abort::Status(StatusCode::SERVICE_UNAVAILABLE));
const NAME: &str = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

/// Answers at once.
#[derive(Clone)]
struct Hello;

impl<B> Service<Request<B>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    }
}

fn request() -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = http::Uri::from_static("http://web.emojivoto/api/vote?choice=:joy:");
    request.headers_mut().insert("x-user", HeaderValue::from_static("bot"));
    request
}

/// Requests, one after another, through a service that is always ready and answers at once.
fn send<S: Service<Request<Full<Bytes>>>>(times: u64, service: &mut S) {
    let runtime = timer();
    let _entered = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times {
        assert!(service.poll_ready(&mut cx).is_ready());
        assert!(black_box(pin!(service.call(request())).as_mut().poll(&mut cx)).is_ready());
    }
}

#[expect(clippy::expect_used, reason = "without a timer there is nothing to count")]
fn timer() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built")
}

#[expect(clippy::expect_used, reason = "a name of this file")]
fn identity(name: &str) -> Identity {
    name.parse().expect("an identity")
}

fn none(times: u64) {
    send(times, &mut Hello);
}

fn pick(times: u64) {
    let (dice, start) = (Dice::new(1), Instant::now());
    let estimate = |n| PeakEwma::new(Duration::from_millis(n), Duration::from_secs(10), start);
    let estimates: Vec<_> = (1..=10).map(estimate).collect();
    let now = start + Duration::from_millis(5);
    for _ in 0..times {
        black_box(p2c::pick_by(estimates.len(), &dice, |i| estimates[i].load(3, 1.0, black_box(now))));
    }
}

fn balance(times: u64) {
    let runtime = timer();
    let (mut balance, driver) = Balance::new(Config::default(), |_| Hello);
    runtime.block_on(async {
        tokio::spawn(
            driver.run::<_, Request<Full<Bytes>>>(updates::fixed((1..=10).map(|port| Endpoint::new(([10, 0, 0, 1], port).into())))),
        );
        while balance.endpoints().ready < 10 {
            tokio::task::yield_now().await;
        }
    });
    send(times, &mut balance);
}

fn outcome(times: u64) {
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    for _ in 0..times {
        black_box(Outcome::of_head(black_box(StatusCode::OK), &headers));
    }
}

fn fault(times: u64, faults: Vec<Fault>) {
    send(times, &mut FaultLayer::new(faults, Dice::new(1)).layer(Hello));
}

fn client() -> Client {
    Client { ip: [10, 0, 0, 7].into(), tls: TlsState::Terminated { client_id: Some(identity(NAME)) } }
}

fn authorize(times: u64) {
    let permit = |n: u32| {
        let names = (0..4).map(|i| identity(&format!("client-{n}-{i}.emojivoto.serviceaccount.identity.linkerd.cluster.local")));
        Authorization::new(Meta::builtin("other")).networks([IpNet::from(std::net::IpAddr::from([10, 0, 0, 0]))]).identities(names)
    };
    let last = Authorization::new(Meta::builtin("last")).identities([identity(NAME)]);
    let authorizations = (0..7).map(permit).chain([last]).collect();
    let policy = Policy { authorizations, ..DefaultPolicy::Deny.policy(&[], Duration::ZERO) };
    let client = client();
    for _ in 0..times {
        assert!(policy.authorize_tcp(black_box(&client)).is_ok());
    }
}

fn policy(times: u64) {
    let policy = DefaultPolicy::AllAuthenticated.policy(&[], Duration::from_secs(10));
    let (_updates, policy) = watch::channel(Arc::new(policy));
    send(times, &mut PolicyLayer::new(policy, client()).layer(Hello));
}

fn filters(times: u64) {
    let set = vec![(HeaderName::from_static("x-user"), HeaderValue::from_static("someone"))];
    let headers = HeaderModifier { set, ..HeaderModifier::default() };
    let filters = vec![Filter::RequestHeaders(headers.clone()), Filter::ResponseHeaders(headers)];
    send(times, &mut FilterLayer::new(filters, vec![Match::prefix("/api")]).layer(Hello));
}

fn rate_limit(times: u64) {
    let limit = Some(Limit(NonZeroU32::MAX));
    let now = Instant::now();
    let limiter = Limiter::new(RateLimit { total: limit, identity: limit, ..RateLimit::default() }, now);
    let id = identity(NAME);
    for _ in 0..times {
        black_box(limiter.check(Some(&id), black_box(now)).is_ok());
    }
}

fn route(times: u64) {
    let route = |n: u32| Route {
        meta: Meta::builtin("route"),
        hosts: vec![HostMatch::Suffix("emojivoto".to_owned())],
        rules: vec![Rule { matches: vec![Match::prefix(&format!("/api/{n}"))], policy: n }],
    };
    let routes: Arc<[_]> = (0..100).map(route).collect();
    let mut request = request();
    *request.uri_mut() = http::Uri::from_static("http://web.emojivoto/api/99/vote");
    let request = request.into_parts().0;
    for _ in 0..times {
        assert!(find(&routes, black_box(&request)).is_some());
    }
}

fn retry_budget(times: u64) {
    let now = Instant::now();
    let budget = Budget::new(budget::Params::default(), now);
    for _ in 0..times {
        budget.deposit(black_box(now));
        black_box(budget.withdraw(black_box(now)));
    }
}

fn params() -> Params {
    Params { conditions: Conditions { statuses: StatusRanges::new(vec![500..=599]), ..Conditions::default() }, ..Params::DEFAULT }
}

fn retry(times: u64, plan: Plan) {
    let budget = Budget::new(budget::Params::default(), Instant::now());
    send(times, &mut RetryLayer::new(plan, Dice::new(1)).budget(budget).layer(Hello));
}

fn timeouts(times: u64) {
    let timeouts = Timeouts { request: MINUTE, response: MINUTE, idle: MINUTE };
    send(times, &mut TimeoutLayer::new(timeouts).layer(Hello));
}

fn head_timeout(times: u64) {
    send(times, &mut HeadTimeoutLayer::new(MINUTE).layer(Hello));
}

fn hello(times: u64) {
    for _ in 0..times {
        black_box(client_hello::parse(black_box(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")));
    }
}

fn transport_header(times: u64) {
    let name = Some("web.emojivoto.svc.cluster.local:80".to_owned());
    let header = TransportHeader { port: NonZeroU16::MAX, name, protocol: Some(SessionProtocol::Http2) };
    for _ in 0..times {
        black_box(TransportHeader::decode(black_box(&header.encode())).is_ok());
    }
}
