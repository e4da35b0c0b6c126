use std::{
    error::Error as StdError,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{Request, request::Parts};
use meshkit_core::{Cause, Dice, Error};
use tokio::{sync::watch, time::Instant};
use tower_service::Service;

use super::{Observe, ResponseFuture};
use crate::{
    Client, grpc, http,
    inbound::{self, FoundRoute, Permit},
    rate_limit::InForce,
};

/// Admits what the policy allows, and fails the rest with a [`meshkit_core::Error`]: its cause says which answer is due, its source why.
///
/// An admitted request carries its [`Permit`] as an extension.
#[derive(Clone, Debug)]
pub struct Policy<S, O = ()> {
    pub(super) inner: S,
    pub(super) policy: watch::Receiver<Arc<inbound::Policy>>,
    pub(super) client: Arc<Client>,
    pub(super) limits: InForce,
    pub(super) dice: Dice,
    pub(super) observe: O,
}

impl<S, O: Observe> Policy<S, O> {
    fn admit(&self, request: &mut Parts) -> Result<Permit, Error> {
        // One snapshot per request: an update in mid-decision must not yield half of each policy.
        let policy = Arc::clone(&self.policy.borrow());
        let Some(found) = policy.route(request) else {
            self.observe.not_found(&policy.server);
            return Err(Error::new(Cause::NoRoute));
        };
        let authorization = policy.authorize_request(&self.client, &found).map_err(|denied| {
            self.observe.denied(&denied);
            denied.into_error()
        })?;
        let permit = Permit { server: policy.server.clone(), route: found.meta().clone(), authorization: authorization.clone() };
        self.observe.allowed(&permit);
        match &found {
            FoundRoute::Http(found) => http::apply(&found.rule.policy.filters, request, found.matched, &self.dice)?,
            FoundRoute::Grpc(found) => grpc::apply(&found.rule.policy.filters, request, &self.dice)?,
        }
        if let Some(limits) = policy.rate_limit() {
            let now = Instant::now();
            self.limits.limiter(limits, now).check(self.client.tls.client_id(), now).map_err(|limited| {
                self.observe.rate_limited(&permit, limits, &limited);
                limited.into_error()
            })?;
        }
        Ok(permit)
    }
}

impl<S, B, O> Service<Request<B>> for Policy<S, O>
where
    S: Service<Request<B>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    O: Observe,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.admit(&mut parts) {
            Ok(permit) => {
                parts.extensions.insert(permit);
                ResponseFuture::sent(self.inner.call(Request::from_parts(parts, body)))
            }
            Err(error) => ResponseFuture::refused(error),
        }
    }
}
