//! The routes of a policy, each with its stack of layers, over the backends that they share.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{Request, Response, Version};
use meshkit_balance::{
    Balance, Distribute,
    distribute::{Backend as Share, Strategy},
};
use meshkit_core::{Cause, Dice, Error};
use meshkit_http::Body;
use meshkit_policy::{
    filter::{Filter, FilterLayer, Kind},
    grpc, http,
    route::{self, Match, Route},
};
use meshkit_retry::{Allow, Plan, Retry, RetryLayer, Timeout};
use meshkit_wire::outbound::{Backend, Dispatch, Distribution, Overrides, Policy, Protocol, RouteBackend, Rule};
use tower::{Layer as _, Service, ServiceExt as _};

use super::destination::Driven;
use crate::endpoint::{AnyBody, EndpointService};

/// An endpoint with its time limits: what a balancer picks from.
pub(super) type Limited = Timeout<AnyBody<EndpointService>>;
/// A backend's balancer, shared by every rule that names the backend.
pub(super) type Balancer = Arc<Driven<Balance<Limited>>>;

type BackendStack<F> = Filter<BackendService, F>;
type RouteStack<F> = Retry<AnyBody<Filter<Distribute<usize, BackendStack<F>>, F>>>;

/// A policy in the form that requests meet.
#[derive(Debug)]
pub(super) struct Routes {
    policy: Arc<Policy>,
    protocol: Stacks,
    balancers: Vec<(Arc<Backend>, Balancer)>,
}

#[derive(Debug)]
enum Stacks {
    Http { http1: Arc<[HttpRoute]>, http2: Arc<[HttpRoute]> },
    Grpc(Arc<[GrpcRoute]>),
    NotHttp,
}

type HttpRoute = Route<http::Match, RouteStack<http::Filter>>;
type GrpcRoute = Route<grpc::Match, RouteStack<grpc::Filter>>;

impl Routes {
    /// Makes the stacks. Balancers of backends that `before` has, too, are taken over with their connections.
    pub(super) fn new(policy: Arc<Policy>, before: Option<&Self>, dice: &Dice, make: &dyn Fn(&Backend) -> Option<Balancer>) -> Self {
        let mut maker = Maker { before, dice, make, made: Vec::new(), by_pointer: HashMap::new() };
        let protocol = match &policy.protocol {
            Protocol::Detect { http1, http2, .. } => Stacks::Http { http1: maker.routes(http1), http2: maker.routes(http2) },
            Protocol::Http1(routes) | Protocol::Http2(routes) => {
                let routes = maker.routes(routes);
                Stacks::Http { http1: Arc::clone(&routes), http2: routes }
            }
            Protocol::Grpc(routes) => Stacks::Grpc(maker.routes(routes)),
            Protocol::Tls(_) | Protocol::Opaque(_) => Stacks::NotHttp,
        };
        let balancers = maker.made;
        Self { policy, protocol, balancers }
    }

    /// Are these the routes of that very policy?
    pub(super) fn is_of(&self, policy: &Arc<Policy>) -> bool {
        Arc::ptr_eq(&self.policy, policy)
    }

    /// Sends a request by the most specific rule.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let (parts, body) = request.into_parts();
        let no_route = || Error::new(Cause::NoRoute);
        match &self.protocol {
            Stacks::Http { http1, http2 } => {
                let routes = if parts.version == Version::HTTP_2 { http2 } else { http1 };
                let found = route::find(routes, &parts).ok_or_else(no_route)?;
                let stack = found.rule.policy.clone();
                let place = format!("route {}", found.route.meta.name());
                send(stack, Request::from_parts(parts, body)).await.map_err(|e| e.within(place))
            }
            Stacks::Grpc(routes) => {
                let found = route::find(routes, &parts).ok_or_else(no_route)?;
                let stack = found.rule.policy.clone();
                let place = format!("route {}", found.route.meta.name());
                send(stack, Request::from_parts(parts, body)).await.map_err(|e| e.within(place))
            }
            Stacks::NotHttp => Err(Error::new(Cause::NoRoute).message("this destination does not speak HTTP")),
        }
    }
}

async fn send<F>(stack: RouteStack<F>, request: Request<Body>) -> Result<Response<Body>, Error>
where
    F: Kind + Send + Sync + 'static,
    F::Match: Send + Sync,
{
    Ok(stack.oneshot(request).await?.map(Body::wrap))
}

/// Makes the stacks of one policy.
struct Maker<'a> {
    before: Option<&'a Routes>,
    dice: &'a Dice,
    make: &'a dyn Fn(&Backend) -> Option<Balancer>,
    made: Vec<(Arc<Backend>, Balancer)>,
    by_pointer: HashMap<*const Backend, Option<Balancer>>,
}

impl Maker<'_> {
    fn routes<M, F>(&mut self, routes: &[Route<M, Rule<F>>]) -> Arc<[Route<M, RouteStack<F>>]>
    where
        M: Match + Clone,
        F: Kind<Match = M>,
    {
        let one = |route: &Route<M, Rule<F>>| Route {
            meta: route.meta.clone(),
            hosts: route.hosts.clone(),
            rules: route.rules.iter().map(|rule| route::Rule { matches: rule.matches.clone(), policy: self.stack(rule) }).collect(),
        };
        routes.iter().map(one).collect()
    }

    /// Outermost first: the order in which a request meets them.
    fn stack<M, F>(&mut self, rule: &route::Rule<M, Rule<F>>) -> RouteStack<F>
    where
        M: Clone,
        F: Kind<Match = M>,
    {
        let Rule { filters, distribution, timeouts, retry, overrides } = &rule.policy;
        let mut plan = Plan::new().timeouts(*timeouts);
        plan.retry = retry.clone();
        plan.overrides = if *overrides == Overrides::Obeyed { Allow::Yes } else { Allow::No };
        let strategy = if matches!(distribution, Distribution::Random(_)) { Strategy::Weighted } else { Strategy::First };
        let backend = |(index, (backend, weight)): (usize, (&RouteBackend<F>, u32))| Share::new(index, weight, self.backend(backend));
        let backends = distribution.backends().enumerate().map(backend).collect();

        // Each try is split anew, to a backend that can take it.
        let split = Distribute::new(strategy, backends, self.dice.clone());
        // Each try is filtered: a planned failure may be retried.
        let filtered = FilterLayer::new(Arc::clone(filters), rule.matches.clone()).dice(self.dice.clone()).layer(split);
        // Counts everything below, and gives what is left of the time to the endpoint. A request of which nothing was sent goes elsewhere once.
        RetryLayer::new(plan, self.dice.clone()).resend_unsent().hand_on_deadlines().layer(AnyBody(filtered))
    }

    fn backend<F: Kind>(&mut self, backend: &RouteBackend<F>) -> BackendStack<F> {
        let balancer = self.balancer(&backend.backend);
        let service = BackendService { balance: balancer.as_ref().map(|b| b.balance().clone()), backend: Arc::clone(&backend.backend) };
        FilterLayer::new(Arc::clone(&backend.filters), Vec::new()).dice(self.dice.clone()).layer(service)
    }

    fn balancer(&mut self, backend: &Arc<Backend>) -> Option<Balancer> {
        let pointer = Arc::as_ptr(backend);
        if let Some(known) = self.by_pointer.get(&pointer) {
            return known.clone();
        }
        let before = self.before.map_or(&[][..], |before| &before.balancers);
        let same = |all: &[(Arc<Backend>, Balancer)]| all.iter().find(|(known, _)| known == backend).map(|(_, b)| Arc::clone(b));
        let balancer = same(&self.made).or_else(|| same(before)).or_else(|| (self.make)(backend));
        if let Some(balancer) = &balancer
            && !self.made.iter().any(|(known, _)| known == backend)
        {
            self.made.push((Arc::clone(backend), Arc::clone(balancer)));
        }
        self.by_pointer.insert(pointer, balancer.clone());
        balancer
    }
}

/// Sends requests to one backend, if it can be reached at all.
#[derive(Clone, Debug)]
pub(super) struct BackendService {
    balance: Option<Balance<Limited>>,
    backend: Arc<Backend>,
}

impl Service<Request<Body>> for BackendService {
    type Response = Response<Body>;
    type Error = Error;
    // The seam between a route and its backends.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.balance {
            Some(balance) => poll_ready(balance, cx),
            // It takes its share, and fails it.
            None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let backend = Arc::clone(&self.backend);
        match &mut self.balance {
            Some(balance) => {
                let response = balance.call(request);
                Box::pin(async move {
                    let name = |e: Error| e.within(format!("backend {}", backend_name(&backend)));
                    Ok(response.await.map_err(name)?.map(Body::wrap))
                })
            }
            None => Box::pin(async move {
                let meta = &backend.meta;
                let message = format!("backend for {} {}/{} has no dispatcher", meta.kind(), meta.namespace(), meta.name());
                Err(Error::new(Cause::NoBackend).message(message))
            }),
        }
    }
}

/// A balancer's endpoints take requests with any body; these have the proxy's own.
pub(super) fn poll_ready(balance: &mut Balance<Limited>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
    Service::<Request<Body>>::poll_ready(balance, cx)
}

fn backend_name(backend: &Backend) -> String {
    match &backend.dispatch {
        Dispatch::Balance { path, .. } => path.clone(),
        Dispatch::Forward(endpoint) => endpoint.addr.to_string(),
        Dispatch::Fail => backend.meta.to_string(),
    }
}
