//! A decision allocates nothing.
#![allow(unsafe_code)] // A global allocator cannot be written without.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Response, request::Parts};
use meshkit_policy::{
    Client, DefaultPolicy, FilterLayer, Meta, PolicyLayer, TlsState,
    http::{Filter, HeaderModifier, Match},
    inbound::{Policy, Protocol, RoutePolicy},
    rate_limit::{InForce, Limit, RateLimit},
    route::{HeaderMatch, HostMatch, PathMatch, QueryMatch, Regex, Route, Rule, ValueMatch},
};
use tokio::{sync::watch, time::Instant};
use tower::{Layer as _, Service};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator unchanged; the counter neither allocates nor runs a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `work` once it has run before: a regular expression makes its scratch space when it is first used.
fn allocations<T>(mut work: impl FnMut() -> T) -> usize {
    black_box(work());
    let before = COUNT.get();
    black_box(work());
    COUNT.get() - before
}

/// Routes with every kind of condition.
fn policy() -> Policy {
    let mut policy = DefaultPolicy::AllAuthenticated.policy(&[], Duration::from_secs(10));
    let exact = |value: &str| ValueMatch::Exact(value.as_bytes().to_vec());
    let conditions = [
        Match::prefix("/api"),
        Match { path: Some(PathMatch::Regex(Regex::new("/api/v[0-9]+/.*").unwrap())), ..Match::default() },
        Match {
            headers: vec![HeaderMatch { name: HeaderName::from_static("x-user"), value: exact("bot") }],
            query: vec![QueryMatch { name: "choice".to_owned(), value: exact(":joy:") }],
            ..Match::default()
        },
    ];
    let routes = conditions.map(|m| Route {
        meta: Meta::builtin("route"),
        hosts: vec![HostMatch::Suffix("ns".to_owned())],
        rules: vec![Rule {
            matches: vec![m],
            policy: RoutePolicy { authorizations: Arc::clone(&policy.authorizations), filters: [].into() },
        }],
    });
    policy.protocol = Protocol::Http1 { routes: routes.into(), rate_limit: None };
    policy
}

fn request(uri: &str) -> Parts {
    let request = Request::get(uri).header("host", "web.ns:80").header("x-user", "bot");
    request.body(()).unwrap().into_parts().0
}

fn client() -> Client {
    Client { ip: [10, 0, 0, 1].into(), tls: TlsState::Terminated { client_id: Some("web.ns".parse().unwrap()) } }
}

#[test]
fn a_route_match_allocates_nothing() {
    let policy = policy();
    for uri in ["http://web.ns/api/v1/vote", "/other?choice=%3Ajoy:", "/api", "http://elsewhere/"] {
        let request = request(uri);
        assert_eq!(allocations(|| policy.route(&request).is_some()), 0, "{uri}");
    }
    assert!(policy.route(&request("/other?choice=%3Ajoy:")).is_some());
}

#[test]
fn an_authorization_allocates_nothing() {
    let (policy, request, client) = (policy(), request("http://web.ns/api"), client());
    let found = policy.route(&request).unwrap();
    assert!(policy.authorize_request(&client, &found).is_ok());
    assert_eq!(allocations(|| policy.authorize_request(&client, &found).is_ok()), 0);
    let stranger = Client { tls: TlsState::NoTls, ..client };
    assert_eq!(allocations(|| policy.authorize_request(&stranger, &found).is_err()), 0);
}

#[test]
fn a_count_against_the_rate_limit_allocates_nothing_for_a_known_client() {
    let limit = Limit(NonZeroU32::MIN);
    let limits = Arc::new(RateLimit::default().total(limit).identity(limit));
    let (port, client) = (InForce::default(), client());
    assert_eq!(allocations(|| port.limiter(&limits, Instant::now()).check(client.tls.client_id(), Instant::now()).is_ok()), 0);
}

/// Answers at once.
#[derive(Clone)]
struct Hello;

impl Service<Request<()>> for Hello {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

/// Allocations of a request from its call to its answer.
fn cost<S: Service<Request<()>>>(service: &mut S, request: Request<()>) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let before = COUNT.get();
    assert!(service.poll_ready(&mut cx).is_ready());
    assert!(black_box(pin!(service.call(request)).as_mut().poll(&mut cx)).is_ready());
    COUNT.get() - before
}

#[test]
fn the_policy_layer_takes_what_it_takes_to_leave_its_permit() {
    let (_updates, policy) = watch::channel(Arc::new(policy()));
    let mut service = PolicyLayer::new(policy.clone(), client()).layer(Hello);
    let permitted = |n: u32| {
        let mut request = Request::from_parts(request("http://web.ns/api"), ());
        request.extensions_mut().insert(n);
        request
    };
    cost(&mut service, permitted(0));
    // The permit, beside whatever extension there is.
    assert_eq!(cost(&mut service, permitted(1)), 1);
    let mut closed = PolicyLayer::new(policy, Client { tls: TlsState::NoTls, ..client() }).layer(Hello);
    // The error, and the reason in it.
    assert_eq!(cost(&mut closed, permitted(2)), 2);
}

#[test]
fn the_filter_layer_takes_nothing_where_headers_are_replaced() {
    let user = (HeaderName::from_static("x-user"), HeaderValue::from_static("someone"));
    let replace = HeaderModifier { set: vec![user], remove: vec![HeaderName::from_static("x-other")], ..HeaderModifier::default() };
    let mut plain = FilterLayer::new(Vec::<Filter>::new(), Vec::new()).layer(Hello);
    let mut service = FilterLayer::new(vec![Filter::RequestHeaders(replace)], vec![Match::prefix("/api")]).layer(Hello);
    for _ in 0..2 {
        assert_eq!(cost(&mut plain, Request::from_parts(request("http://web.ns/api"), ())), 0);
        assert_eq!(cost(&mut service, Request::from_parts(request("http://web.ns/api"), ())), 0);
    }
}
