//! The routes of a policy, each with its stack of layers, over the backends that they share.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use ::http::{Request, Response, Version, request};
use meshkit_balance::{
    Distribute,
    distribute::{Backend as Share, Strategy},
};
use meshkit_core::{Cause, Error};
use meshkit_fault::{FaultLayer, Faulty};
use meshkit_http::Body;
use meshkit_policy::{
    Meta,
    filter::{Filter, FilterLayer, Kind as FilterKind},
    grpc, http,
    route::{self, Match, Route},
};
use meshkit_retry::{Allow, Plan, Retry, RetryLayer, retry::ByConditions};
use meshkit_wire::extension::FaultPlan;
use meshkit_wire::outbound::{Backend, Dispatch, Distribution, Overrides, Policy, Protocol, RouteBackend, Rule};
use tower::{Layer as _, Service, ServiceExt as _};

use super::{
    backends::{Backends, Made, Requests},
    no_dispatcher,
};
use crate::{
    endpoint::AnyBody,
    metrics::{BackendHandle, FaultHandle, RouteFamilies, RouteHandle},
};

/// Hostnames that a route's metrics tell apart; the requests of further ones count under none.
const MAX_HOSTNAMES: usize = 100;

type BackendStack<F> = Filter<BackendService, F>;
type Tries<F> = Retry<AnyBody<Filter<Troubled<F>, F>>, ByConditions, Arc<RouteHandle>>;
type Troubled<F> = Faulty<Distribute<usize, BackendStack<F>>, Arc<FaultHandle>>;

/// A policy in the form that requests meet.
#[derive(Debug)]
pub(super) struct Routes {
    protocol: Stacks,
    made: Made<Requests>,
}

#[derive(Debug)]
enum Stacks {
    Http { http1: Arc<[HttpRoute]>, http2: Arc<[HttpRoute]> },
    Grpc(Arc<[GrpcRoute]>),
    NotHttp,
}

type HttpRoute = Route<http::Match, Stack<http::Filter>>;
type GrpcRoute = Route<grpc::Match, Stack<grpc::Filter>>;

/// What the requests of one rule meet.
struct Stack<F: FilterKind> {
    metrics: RouteMetrics,
    tries: Tries<F>,
}

impl<F: FilterKind> fmt::Debug for Stack<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

/// The metrics of a rule's route.
#[derive(Debug)]
struct RouteMetrics {
    handle: Arc<RouteHandle>,
    /// By the host that requests name, where they are to be told apart by it.
    hosts: Option<Hosts>,
}

#[derive(Debug)]
struct Hosts {
    families: RouteFamilies,
    parent: Meta,
    route: Meta,
    handles: Mutex<HashMap<Box<str>, Arc<RouteHandle>>>,
}

impl Routes {
    /// Makes the stacks. Balancers of backends that `before` has, too, are taken over with their connections.
    pub(super) fn new(policy: &Policy, faults: &FaultPlan, before: Option<&Self>, backends: &Backends) -> Self {
        let families = &backends.metrics.routes;
        let mut maker = Maker {
            parent: &policy.parent,
            faults,
            before: before.map(|b| &b.made),
            backends,
            families: &families.http,
            made: Made::new(),
        };
        let protocol = match &policy.protocol {
            Protocol::Detect { http1, http2, .. } => Stacks::Http { http1: maker.routes(http1), http2: maker.routes(http2) },
            Protocol::Http1(routes) | Protocol::Http2(routes) => {
                let routes = maker.routes(routes);
                Stacks::Http { http1: Arc::clone(&routes), http2: routes }
            }
            Protocol::Grpc(routes) => {
                maker.families = &families.grpc;
                Stacks::Grpc(maker.routes(routes))
            }
            Protocol::Tls(_) | Protocol::Opaque(_) => Stacks::NotHttp,
        };
        let made = maker.made;
        Self { protocol, made }
    }

    /// Sends a request by the most specific rule.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let (parts, body) = request.into_parts();
        match &self.protocol {
            Stacks::Http { http1, http2 } => send(if parts.version == Version::HTTP_2 { http2 } else { http1 }, parts, body).await,
            Stacks::Grpc(routes) => send(routes, parts, body).await,
            Stacks::NotHttp => Err(Error::new(Cause::NoRoute).message("this destination does not speak HTTP")),
        }
    }
}

async fn send<M, F>(routes: &[Route<M, Stack<F>>], parts: request::Parts, body: Body) -> Result<Response<Body>, Error>
where
    M: Match + Send + Sync,
    F: FilterKind<Match = M> + Send + Sync + 'static,
{
    let found = route::find(routes, &parts).ok_or_else(|| Error::new(Cause::NoRoute))?;
    let Stack { metrics, tries } = &found.rule.policy;
    let name = || format!("route {}", found.route.meta.name());
    let (request, exchange) = metrics.handle(&parts).request(Request::from_parts(parts, body));
    match tries.clone().oneshot(request).await {
        Ok(response) => Ok(exchange.response(response.map(Body::wrap))),
        Err(error) => {
            exchange.failed(&error);
            Err(error.within(name()))
        }
    }
}

impl RouteMetrics {
    fn handle(&self, request: &request::Parts) -> Arc<RouteHandle> {
        let host = |hosts: &Hosts| {
            let host = request.uri.host()?;
            let mut handles = hosts.handles.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(handle) = handles.get(host) {
                return Some(Arc::clone(handle));
            }
            (handles.len() < MAX_HOSTNAMES).then(|| {
                let handle = hosts.families.route(&hosts.parent, &hosts.route, host);
                handles.insert(host.into(), Arc::clone(&handle));
                handle
            })
        };
        self.hosts.as_ref().and_then(host).unwrap_or_else(|| Arc::clone(&self.handle))
    }
}

/// Makes the stacks of one policy.
struct Maker<'a> {
    parent: &'a Meta,
    faults: &'a FaultPlan,
    before: Option<&'a Made<Requests>>,
    backends: &'a Backends,
    families: &'a RouteFamilies,
    made: Made<Requests>,
}

impl Maker<'_> {
    fn routes<M, F>(&mut self, routes: &[Route<M, Rule<F>>]) -> Arc<[Route<M, Stack<F>>]>
    where
        M: Match + Clone,
        F: FilterKind<Match = M>,
    {
        let one = |route: &Route<M, Rule<F>>| Route {
            meta: route.meta.clone(),
            hosts: route.hosts.clone(),
            rules: route
                .rules
                .iter()
                .map(|rule| route::Rule { matches: rule.matches.clone(), policy: self.stack(&route.meta, rule) })
                .collect(),
        };
        routes.iter().map(one).collect()
    }

    /// Outermost first: the order in which a request meets them.
    fn stack<M, F>(&mut self, route: &Meta, rule: &route::Rule<M, Rule<F>>) -> Stack<F>
    where
        M: Clone,
        F: FilterKind<Match = M>,
    {
        let Rule { filters, distribution, timeouts, retry, overrides } = &rule.policy;
        let settings = &self.backends.settings;
        let dice = settings.endpoint.dice.clone();
        // What the client sees of the route is counted outside of everything that may send a request twice.
        let handle = self.families.route(self.parent, route, "");
        let hosts = settings.hostname_labels.then(|| Hosts {
            families: self.families.clone(),
            parent: self.parent.clone(),
            route: route.clone(),
            handles: Mutex::default(),
        });
        let mut plan = Plan::new().timeouts(*timeouts);
        plan.retry = retry.clone();
        plan.overrides = if *overrides == Overrides::Obeyed { Allow::Yes } else { Allow::No };
        // Counts everything below, and gives what is left of the time to the endpoint. A request of which nothing was sent goes elsewhere once.
        let retry = RetryLayer::new(plan, dice.clone()).resend_unsent().hand_on_deadlines().observe(Arc::clone(&handle));
        // Every try is filtered: a planned failure may be retried.
        let filter = FilterLayer::new(Arc::clone(filters), rule.matches.clone()).dice(dice.clone());
        // Planned trouble is like that of the backends: it hits each try for itself.
        let counted = self.backends.metrics.faults.outbound(self.parent, route);
        let trouble = FaultLayer::new(self.faults.of(route).clone(), dice.clone()).sole_caller(settings.id.clone()).observe(counted);
        // Every try picks its backend anew.
        let strategy = if matches!(distribution, Distribution::First(_)) { Strategy::First } else { Strategy::Weighted };
        let shares: Vec<_> =
            distribution.backends().enumerate().map(|(i, (backend, weight))| Share::new(i, weight, self.backend(route, backend))).collect();
        let tries = retry.layer(AnyBody(filter.layer(trouble.layer(Distribute::new(strategy, shares, dice)))));
        Stack { metrics: RouteMetrics { handle, hosts }, tries }
    }

    fn backend<F: FilterKind>(&mut self, route: &Meta, backend: &RouteBackend<F>) -> BackendStack<F> {
        let dice = self.backends.settings.endpoint.dice.clone();
        let metrics = self.families.backend(self.parent, route, &backend.backend.meta);
        let make = || self.backends.requests(self.parent, &backend.backend);
        let balancer = self.made.get(self.before, &backend.backend, make);
        let balance = balancer.map(|balancer| balancer.balance().clone());
        let service = BackendService { balance, backend: Arc::clone(&backend.backend), metrics: Some(metrics) };
        FilterLayer::new(Arc::clone(&backend.filters), Vec::new()).dice(dice).layer(service)
    }
}

/// Sends requests to one backend, if it can be reached at all.
#[derive(Clone, Debug)]
pub(super) struct BackendService {
    pub(super) balance: Option<Requests>,
    pub(super) backend: Arc<Backend>,
    pub(super) metrics: Option<Arc<BackendHandle>>,
}

impl Service<Request<Body>> for BackendService {
    type Response = Response<Body>;
    type Error = Error;
    // The seam between a route and its backends.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // What cannot be reached takes its share, and fails it.
        self.balance.as_mut().map_or(Poll::Ready(Ok(())), |balance| Service::<Request<Body>>::poll_ready(balance, cx))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let backend = Arc::clone(&self.backend);
        let (request, exchange) = match &self.metrics {
            Some(metrics) => {
                let (request, exchange) = metrics.request(request);
                (request, Some(exchange))
            }
            None => (request, None),
        };
        let sent = self.balance.as_mut().map(|balance| balance.call(request));
        Box::pin(async move {
            let result = match sent {
                Some(sent) => sent.await.map(|response| response.map(Body::wrap)),
                None => Err(no_dispatcher(&backend)),
            };
            match (result, exchange) {
                (Ok(response), Some(exchange)) => Ok(exchange.response(response)),
                (Ok(response), None) => Ok(response),
                (Err(error), exchange) => {
                    if let Some(exchange) = exchange {
                        exchange.failed(&error);
                    }
                    Err(error.within(format!("backend {}", name(&backend))))
                }
            }
        })
    }
}

fn name(backend: &Backend) -> String {
    match &backend.dispatch {
        Dispatch::Balance { path, .. } => path.clone(),
        Dispatch::Forward(endpoint) => endpoint.addr.to_string(),
        Dispatch::Fail => backend.meta.to_string(),
    }
}
