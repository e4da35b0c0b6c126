use std::{
    convert::Infallible,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::http::{HeaderName, HeaderValue, Request, StatusCode};
use meshkit_core::{Cause, Ratio, grpc::Code};
use tokio::sync::watch;
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use super::*;
use crate::{
    Client, DefaultPolicy, Meta, TlsState, grpc,
    http::{self, FailureInjector, HeaderModifier, Redirect},
    inbound::{self, Denied, Permit, Protocol, RoutePolicy, default_route},
    rate_limit::{InForce, Limit, RateLimit, RateLimited, Scope},
};

type Sender = watch::Sender<Arc<inbound::Policy>>;

fn open() -> inbound::Policy {
    DefaultPolicy::AllUnauthenticated.policy(&[], Duration::from_secs(10))
}

fn plain() -> Client {
    Client { ip: [10, 0, 0, 1].into(), tls: TlsState::NoTls }
}

fn layer(policy: inbound::Policy) -> (Sender, PolicyLayer) {
    let (sender, policy) = watch::channel(Arc::new(policy));
    (sender, PolicyLayer::new(policy, plain()))
}

/// A policy that lets everybody in, with these filters and this limit.
fn filtered(filters: Vec<http::Filter>, total: Option<u32>) -> inbound::Policy {
    let mut policy = open();
    let mut route: inbound::HttpRoute = default_route([].into());
    route.rules[0].policy = RoutePolicy { authorizations: [].into(), filters: filters.into() };
    let total = total.map(|rps| Limit(NonZeroU32::new(rps).unwrap()));
    let limits = RateLimit { meta: Some(Meta::builtin("limit")), total, identity: None, overrides: vec![] };
    policy.protocol = Protocol::Http1 { routes: [route].into(), rate_limit: Some(Arc::new(limits)) };
    policy
}

fn get() -> Request<()> {
    Request::get("http://web.ns/").body(()).unwrap()
}

/// Answers with the request that it was sent.
async fn echo(request: Request<()>) -> Result<Request<()>, Infallible> {
    Ok(request)
}

async fn refused(layer: &PolicyLayer<impl Observe + Clone>) -> Cause {
    layer.layer(service_fn(echo)).oneshot(get()).await.unwrap_err().cause().clone()
}

/// Writes down what it hears.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Observe for Heard {
    fn not_found(&self, server: &Meta) {
        self.note(format!("not found on {server}"));
    }

    fn denied(&self, denied: &Denied) {
        self.note(format!("denied on {} {}", denied.server(), denied.route().unwrap()));
    }

    fn allowed(&self, permit: &Permit) {
        self.note(format!("allowed on {} {} by {}", permit.server, permit.route, permit.authorization));
    }

    fn rate_limited(&self, permit: &Permit, limits: &RateLimit, limited: &RateLimited) {
        assert_eq!(limited.scope(), Scope::Total);
        self.note(format!("too many on {} by {}", permit.server, limits.meta.as_ref().unwrap()));
    }
}

#[tokio::test]
async fn an_admitted_request_carries_its_permit() {
    let (_sender, layer) = layer(open());
    let request = layer.layer(service_fn(echo)).oneshot(get()).await.unwrap();
    let permit = request.extensions().get::<Permit>().unwrap();
    assert_eq!((permit.server.name(), permit.route.name()), ("all-unauthenticated", "default"));
    assert_eq!(permit.authorization.name(), "all-unauthenticated");
    assert!(!permit.is_audited());
    let (_sender, audit) = self::layer(DefaultPolicy::Audit.policy(&[], Duration::ZERO));
    let request = audit.layer(service_fn(echo)).oneshot(get()).await.unwrap();
    assert!(request.extensions().get::<Permit>().unwrap().is_audited());
}

#[tokio::test]
async fn an_open_connection_sees_each_new_policy() {
    let (sender, layer) = layer(open());
    let mut service = layer.layer(service_fn(echo));
    assert!(service.ready().await.unwrap().call(get()).await.is_ok());
    sender.send(Arc::new(DefaultPolicy::AllAuthenticated.policy(&[], Duration::ZERO))).unwrap();
    let error = service.ready().await.unwrap().call(get()).await.unwrap_err();
    assert_eq!(error.cause(), &Cause::Denied);
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<Denied>().unwrap();
    assert!(source.is_unauthenticated());
    sender.send(Arc::new(DefaultPolicy::Deny.policy(&[], Duration::ZERO))).unwrap();
    assert_eq!(service.ready().await.unwrap().call(get()).await.unwrap_err().cause(), &Cause::NoRoute);
    // Without a control plane, the last policy stays in force.
    drop(sender);
    assert_eq!(service.ready().await.unwrap().call(get()).await.unwrap_err().cause(), &Cause::NoRoute);
}

#[tokio::test]
async fn filters_change_requests_or_answer_them() {
    let set = HeaderModifier { set: vec![(HeaderName::from_static("x"), HeaderValue::from_static("1"))], ..HeaderModifier::default() };
    let (_sender, changing) = layer(filtered(vec![http::Filter::RequestHeaders(set)], None));
    assert_eq!(changing.layer(service_fn(echo)).oneshot(get()).await.unwrap().headers()["x"], "1");
    let fail = FailureInjector { response: StatusCode::CONFLICT, message: "planned".into(), share: Ratio::ONE };
    let (_sender, failing) = layer(filtered(vec![http::Filter::Fail(fail)], None));
    assert_eq!(refused(&failing).await, Cause::InjectedStatus(StatusCode::CONFLICT));
}

#[tokio::test]
async fn a_grpc_route_takes_calls_and_its_filters_answer_with_codes() {
    let mut route: inbound::GrpcRoute = default_route([].into());
    let fail = FailureInjector { response: Code::DATA_LOSS, message: "planned".into(), share: Ratio::ONE };
    route.rules[0].matches = vec![grpc::Match { service: Some("a.B".to_owned()), ..grpc::Match::default() }];
    route.rules[0].policy.filters = [grpc::Filter::Fail(fail)].into();
    let mut policy = open();
    policy.protocol = Protocol::Grpc { routes: [route].into() };
    let (_sender, layer) = layer(policy);
    let service = layer.layer(service_fn(echo));
    let call = Request::post("http://web.ns/a.B/C").body(()).unwrap();
    assert_eq!(service.clone().oneshot(call).await.unwrap_err().cause(), &Cause::InjectedCode(Code::DATA_LOSS));
    assert_eq!(service.oneshot(get()).await.unwrap_err().cause(), &Cause::NoRoute);
}

#[tokio::test(start_paused = true)]
async fn all_connections_of_a_port_count_together_until_time_has_passed() {
    let (sender, one) = layer(filtered(vec![], Some(2)));
    let port = InForce::default();
    let one = one.limits(port.clone());
    let two = PolicyLayer::new(sender.subscribe(), plain()).limits(port);
    assert!(one.layer(service_fn(echo)).oneshot(get()).await.is_ok());
    assert!(two.layer(service_fn(echo)).oneshot(get()).await.is_ok());
    assert_eq!(refused(&one).await, Cause::RateLimited);
    tokio::time::advance(Duration::from_millis(500)).await;
    assert!(two.layer(service_fn(echo)).oneshot(get()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_a_filter_answers_does_not_use_the_limit_up() {
    let away = Redirect { host: Some("elsewhere".to_owned()), ..Redirect::default() };
    let (sender, layer) = layer(filtered(vec![http::Filter::Redirect(away)], Some(1)));
    for _ in 0..3 {
        assert_eq!(refused(&layer).await, Cause::Redirected(StatusCode::MOVED_PERMANENTLY));
    }
    sender.send(Arc::new(filtered(vec![], Some(1)))).unwrap();
    assert!(layer.layer(service_fn(echo)).oneshot(get()).await.is_ok());
    assert_eq!(refused(&layer).await, Cause::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_every_verdict() {
    let heard = Heard::default();
    let (sender, layer) = layer(filtered(vec![], Some(1)));
    let layer = layer.observe(Arc::new(heard.clone()));
    assert!(layer.layer(service_fn(echo)).oneshot(get()).await.is_ok());
    refused(&layer).await;
    sender.send(Arc::new(DefaultPolicy::AllAuthenticated.policy(&[], Duration::ZERO))).unwrap();
    refused(&layer).await;
    sender.send(Arc::new(DefaultPolicy::Deny.policy(&[], Duration::ZERO))).unwrap();
    refused(&layer).await;
    let allowed = "allowed on default/all-unauthenticated default/default by default/all-unauthenticated";
    assert_eq!(
        *heard.0.lock().unwrap(),
        [
            allowed,
            allowed,
            "too many on default/all-unauthenticated by default/limit",
            "denied on default/all-authenticated default/default",
            "not found on default/deny",
        ]
    );
}

/// Puts another policy in force while a request is being decided.
#[derive(Clone, Debug)]
struct Meddler(Arc<Sender>);

impl Observe for Meddler {
    fn allowed(&self, _: &Permit) {
        self.0.send(Arc::new(DefaultPolicy::Deny.policy(&[], Duration::ZERO))).unwrap();
    }
}

#[tokio::test]
async fn a_request_sees_one_generation_of_the_policy() {
    let set = HeaderModifier { set: vec![(HeaderName::from_static("x"), HeaderValue::from_static("1"))], ..HeaderModifier::default() };
    let (sender, layer) = layer(filtered(vec![http::Filter::RequestHeaders(set)], Some(1)));
    let layer = layer.observe(Meddler(Arc::new(sender)));
    let request = layer.layer(service_fn(echo)).oneshot(get()).await.unwrap();
    assert_eq!(request.headers()["x"], "1");
    assert_eq!(request.extensions().get::<Permit>().unwrap().server.name(), "all-unauthenticated");
    assert_eq!(refused(&layer).await, Cause::NoRoute);
}

mod contract;
