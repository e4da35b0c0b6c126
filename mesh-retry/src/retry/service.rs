use std::{
    error::Error as StdError,
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use meshkit_core::{Error, grpc};
use tokio::time::Instant;
use tower_service::Service;

use super::{
    Judge, Observe, ResponseFuture,
    future::Again,
    layer::{Deadlines, Shared, Unsent},
};
use crate::{Limits, PeekBody, Plan, ReplayBody, deadline, timeout::Limit};

/// A service that sends requests again.
///
/// A request is sent again if its outcome is retryable, the plan and the budget allow it, its body has been sent whole (or was given up) and kept, and
/// the inner service is ready at once. It goes to the inner service as it came, with the [`Limits`] of the try in its extensions, for a
/// [`Timeout`](crate::Timeout) at the endpoint.
///
/// A request of which [nothing was sent](crate::NotSent) goes out a second time, once, whatever its method and the limits.
///
/// The limit on the whole request holds until the head of the response, also while waiting for the next try.
pub struct Retry<S, J = super::ByConditions, O = ()> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared<J, O>>,
}

impl<S, B, RB, J, O> Service<Request<B>> for Retry<S, J, O>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body,
    RB: Body + Unpin,
    J: Judge,
    O: Observe,
{
    type Response = Response<PeekBody<RB>>;
    type Error = Error;
    type Future = ResponseFuture<S, B, RB, J, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let shared = &self.shared;
        let own = shared.plan.overridden(request.headers_mut());
        let limits = limits(own.as_ref().unwrap_or(&shared.plan), shared.deadlines, &request);
        let own = own.map(|plan| plan.retry);
        let params = own.as_ref().unwrap_or(&shared.plan.retry).as_ref();
        if let (Some(_), Some(budget)) = (params, &shared.budget) {
            budget.deposit(Instant::now());
        }

        if params.is_none() && shared.unsent == Unsent::Fail {
            let (mut head, body) = request.into_parts();
            prepare(&mut head, limits, shared.deadlines);
            return ResponseFuture::new(self.inner.call(Request::from_parts(head, ReplayBody::once(body))), None, limits.request);
        }

        let (head, body) = request.into_parts();
        let (body, replay) = ReplayBody::new(body, params.map_or(0, |params| params.max_request_bytes));
        // The spare has not been polled ready. It stays behind for the next caller; the instance this caller waited for goes with the request.
        let spare = self.inner.clone();
        let service = mem::replace(&mut self.inner, spare);
        let mut again = Again::new(service, head, replay, Arc::clone(shared), own.map(Box::new), limits);
        let response = again.send(body);
        ResponseFuture::new(response, Some(again), limits.request)
    }
}

/// What the plan and the client allow, from now on.
fn limits<B>(plan: &Plan, deadlines: Deadlines, request: &Request<B>) -> Limits {
    let given = match deadlines {
        Deadlines::HandedOn if grpc::is_grpc(request.headers()) => deadline::grpc_timeout(request.headers()),
        Deadlines::HandedOn | Deadlines::Ignored => None,
    };
    if given.is_none() && plan.timeouts == crate::Timeouts::default() {
        return Limits::default();
    }
    let now = Instant::now();
    let mut limits = plan.limits(now);
    let given = given.and_then(|length| Limit::after(now, length));
    limits.request = limits.request.into_iter().chain(given).min_by_key(Limit::at);
    limits
}

/// Tells the endpoint, and the server, how much time is left.
pub(super) fn prepare(head: &mut http::request::Parts, limits: Limits, deadlines: Deadlines) {
    if deadlines == Deadlines::HandedOn
        && let Some(limit) = limits.request
        && grpc::is_grpc(&head.headers)
    {
        deadline::shrink(&mut head.headers, limit.at().saturating_duration_since(Instant::now()));
    }
    if !limits.is_empty() {
        head.extensions.insert(limits);
    }
}

impl<S: Clone, J, O> Clone for Retry<S, J, O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug, J, O> fmt::Debug for Retry<S, J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("inner", &self.inner).field("plan", &self.shared.plan).finish_non_exhaustive()
    }
}
