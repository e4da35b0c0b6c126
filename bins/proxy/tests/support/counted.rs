//! All that is counted of one request, through handles that are made before.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use meshkit_core::{Clock, SystemClock};
use meshkit_policy::Meta;
use meshkit_proxy::metrics::{BackendHandle, Edge, HttpHandle, InboundHandle, Labels, Metrics, RouteHandle};
use meshkit_runtime::metrics::{Counter, Registry};

/// What the request and the response carry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// Nothing.
    None,
    /// Some bytes each.
    Sized,
}

/// The handles of one route each way.
pub(crate) struct Handles {
    allowed: Arc<Counter>,
    inbound: Arc<InboundHandle>,
    application: HttpHandle,
    route: Arc<RouteHandle>,
    backend: Arc<BackendHandle>,
    endpoint: HttpHandle,
    _registry: Registry,
}

impl Handles {
    pub(crate) fn new() -> Self {
        let registry = Registry::new(Duration::from_secs(600));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Metrics::register(&registry, &clock);
        let (server, route) = (Meta::builtin("all-unauthenticated"), Meta::builtin("default"));
        let labels = Labels::new([("direction", "inbound"), ("target_addr", "10.0.0.1:80"), ("tls", "true")]);
        Self {
            allowed: metrics.authz.http_allow.handle(&labels),
            inbound: metrics.inbound.http.handle(&server, &route),
            application: metrics.http.handle(&labels, None),
            route: metrics.routes.http.route(&server, &route, "web"),
            backend: metrics.routes.http.backend(&server, &route, &server),
            endpoint: metrics.http.handle(&labels, Some(&Edge("web.ns".to_owned()))),
            _registry: registry,
        }
    }

    /// A request to the workload: the verdict, the route, the application.
    pub(crate) fn inbound(&self, body: Body) {
        self.allowed.incr();
        let (request, exchange) = self.inbound.request(request(body));
        let since = self.application.request();
        drain(request.into_body());
        let response = self.application.response(response(body), since, None);
        drain(exchange.response(response).into_body());
    }

    /// A request of the workload: the route, the backend, the endpoint.
    pub(crate) fn outbound(&self, body: Body) {
        let (request, route) = self.route.request(request(body));
        let (request, backend) = self.backend.request(request);
        let since = self.endpoint.request();
        drain(request.into_body());
        let response = self.endpoint.response(response(body), since, None);
        drain(route.response(backend.response(response)).into_body());
    }
}

/// The same without anybody who counts.
pub(crate) fn sized(body: Body) {
    drain(request(body).into_body());
    drain(response(body).into_body());
}

fn request(body: Body) -> Request<meshkit_http::Body> {
    Request::new(of(body))
}

fn response(body: Body) -> Response<meshkit_http::Body> {
    Response::new(of(body))
}

fn of(body: Body) -> meshkit_http::Body {
    match body {
        Body::None => meshkit_http::Body::Empty,
        Body::Sized => meshkit_http::Body::from("hello"),
    }
}

fn drain(mut body: meshkit_http::Body) {
    // Everything is there already.
    while body.frame().now_or_never().flatten().is_some() {}
}
