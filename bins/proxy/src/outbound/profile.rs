//! The routes of a service profile, each with its stack of layers, over the targets that they share.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::http::{HeaderValue, Request, Response, StatusCode};
use meshkit_balance::{
    Distribute,
    distribute::{Backend as Share, Strategy},
};
use meshkit_core::{Error, Outcome, grpc::Code};
use meshkit_fault::{FaultLayer, Faulty, Throttled};
use meshkit_http::{Body, hop};
use meshkit_policy::Meta;
use meshkit_retry::{Budget, Conditions, HeadTimeout, HeadTimeoutLayer, Judge, Params, Plan, Retry, RetryLayer, budget};
use meshkit_wire::{
    extension::FaultPlan,
    outbound::{Backend, Dispatch, Load},
    profile::{Profile, Retryable, Route, Target},
};
use pin_project::pin_project;
use tokio::time::Instant;
use tower::{Layer as _, Service, ServiceExt as _};

use super::{
    backends::{Backends, Made, Requests},
    routes::BackendService,
};
use crate::{
    endpoint::{AnyBody, Classified},
    metrics::{FaultHandle, ProfileHandle, decided},
};

type Tries = HeadTimeout<Retry<AnyBody<Counted<Troubled>>, Classes, Arc<ProfileHandle>>>;
type Troubled = Faulty<Distribute<usize, BackendService>, Arc<FaultHandle>>;

/// A service profile in the form that requests meet.
#[derive(Debug)]
pub(super) struct Profiled {
    profile: Arc<Profile>,
    /// One for each route of the profile, in its order, and one for requests that no route is meant for.
    stacks: Vec<Stack>,
    /// Shared by the retryable routes.
    budget: Option<(budget::Params, Budget)>,
    made: Made<Requests>,
    /// The name of the service, for the proxy at the other end.
    canonical: Option<HeaderValue>,
}

#[derive(Debug)]
struct Stack {
    metrics: Arc<ProfileHandle>,
    route: Option<Arc<Route>>,
    tries: Tries,
}

/// Judges responses by the classes of a route.
#[derive(Clone, Debug)]
struct Classes(Option<Arc<Route>>);

impl Profiled {
    /// Makes the stacks. Balancers of targets that `before` has, too, are taken over with their connections, and so is an unchanged budget.
    pub(super) fn new(profile: &Arc<Profile>, faults: &FaultPlan, before: Option<&Self>, backends: &Backends, authority: &str) -> Self {
        let now = Instant::now();
        let budget = profile.budget.map(|params| {
            let kept = before.and_then(|before| before.budget.as_ref()).filter(|(known, _)| *known == params);
            kept.cloned().unwrap_or_else(|| (params, Budget::new(params, now)))
        });
        let mut made = Made::new();

        let targets: Vec<_> = match &*profile.targets {
            [] => meshkit_core::Authority::parse(authority, 80)
                .map(|authority| Target { authority, weight: 1, backend: profile.parent.clone() })
                .into_iter()
                .collect(),
            targets => targets.iter().filter(|target| target.weight > 0).cloned().collect(),
        };
        let parent = profile.parent.clone().unwrap_or_else(|| Meta::builtin("serviceprofile"));
        let mut share = |(i, target): (usize, &Target)| {
            let meta = target.backend.clone().unwrap_or_else(|| parent.clone());
            let dispatch = Dispatch::Balance { path: target.authority.to_string(), load: Load::default() };
            let backend = Arc::new(Backend { meta, dispatch, accrual: None });
            let balancer = made.get(before.map(|b| &b.made), &backend, || backends.requests(&parent, &backend));
            let balance = balancer.map(|balancer| balancer.balance().clone());
            Share::new(i, target.weight, BackendService { balance, backend, metrics: None })
        };
        let shares: Vec<_> = targets.iter().enumerate().map(&mut share).collect();
        let dice = backends.settings.endpoint.dice.clone();
        let trouble_counts = backends.metrics.faults.outbound(&parent, &Meta::builtin("serviceprofile"));
        let stack = |route: Option<&Route>| {
            let metrics = Arc::new(backends.metrics.profiles.route("outbound", authority, route));
            let route = route.cloned().map(Arc::new);
            let distribute = Distribute::new(Strategy::Weighted, shares.clone(), dice.clone());
            // Routes of a profile have no object of their own that could plan trouble: they have that of the Service.
            let trouble = FaultLayer::new(faults.of(&parent).clone(), dice.clone())
                .sole_caller(backends.settings.id.clone())
                .observe(Arc::clone(&trouble_counts));
            let counted = Counted { inner: trouble.layer(distribute), metrics: Arc::clone(&metrics), route: route.clone() };
            let retryable = route.as_ref().is_some_and(|route| route.retry == Retryable::WithinBudget);
            // Without a budget nothing is retried.
            let budget = budget.as_ref().filter(|_| retryable).map(|(_, budget)| budget.clone());
            let plan = if budget.is_some() {
                Plan::new().retry(Params { max_retries: u32::MAX, conditions: Conditions::default(), backoff: None, ..Params::DEFAULT })
            } else {
                Plan::new()
            };
            let retry = RetryLayer::new(plan, dice.clone()).resend_unsent();
            let retry = match budget {
                Some(budget) => retry.budget(budget),
                None => retry,
            };
            let retry = retry.judge(Classes(route.clone())).observe(Arc::clone(&metrics));
            // The limit of a route counts all tries together.
            let tries = HeadTimeoutLayer::new(route.as_ref().and_then(|route| route.timeout)).layer(retry.layer(AnyBody(counted)));
            Stack { metrics, route, tries }
        };
        let stacks = profile.routes.iter().map(|route| stack(Some(route))).chain([stack(None)]).collect();
        let canonical = HeaderValue::from_str(authority).ok();
        Self { profile: Arc::clone(profile), stacks, budget, made, canonical }
    }

    /// Sends a request by the first route that is meant for it.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let (mut parts, body) = request.into_parts();
        let found = self.profile.routes.iter().position(|route| route.condition.matches(&parts));
        let stack = &self.stacks[found.unwrap_or(self.stacks.len() - 1)];
        if let Some(name) = &self.canonical {
            parts.headers.insert(hop::L5D_DST_CANONICAL, name.clone());
        }
        if let Some(route) = &stack.route {
            parts.extensions.insert(Classified(Arc::clone(route)));
        }
        let since = stack.metrics.route.request();
        match stack.tries.clone().oneshot(Request::from_parts(parts, body)).await {
            Ok(response) => {
                let class = decided(stack.route.as_deref(), response.status());
                Ok(stack.metrics.route.response(response.map(Body::wrap), since, class))
            }
            Err(error) => {
                stack.metrics.route.failed(&error);
                Err(error)
            }
        }
    }
}

impl Judge for Classes {
    fn is_retryable(&self, _: &Conditions, status: StatusCode, code: Option<Code>) -> bool {
        let by_protocol = || code.map_or_else(|| Outcome::of_status(status), Outcome::of_code);
        decided(self.0.as_deref(), status).unwrap_or_else(by_protocol).is_failure()
    }
}

/// Counts every try of a route.
#[derive(Clone, Debug)]
struct Counted<S> {
    inner: S,
    metrics: Arc<ProfileHandle>,
    route: Option<Arc<Route>>,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Throttled<Body>>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = CountedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let since = self.metrics.actual.request();
        let (metrics, route) = (Arc::clone(&self.metrics), self.route.clone());
        CountedFuture { response: self.inner.call(request), metrics, route, since }
    }
}

/// Response of a [`Counted`] service.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
struct CountedFuture<F> {
    #[pin]
    response: F,
    metrics: Arc<ProfileHandle>,
    route: Option<Arc<Route>>,
    since: Instant,
}

impl<F: Future<Output = Result<Response<Throttled<Body>>, Error>>> Future for CountedFuture<F> {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.response.poll(cx));
        Poll::Ready(match result {
            Ok(response) => {
                let class = decided(this.route.as_deref(), response.status());
                Ok(this.metrics.actual.response(response.map(Body::wrap), *this.since, class))
            }
            Err(error) => {
                this.metrics.actual.failed(&error);
                Err(error)
            }
        })
    }
}
