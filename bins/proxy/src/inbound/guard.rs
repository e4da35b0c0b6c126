//! Who may ask the proxy's own admin server, by the policy of its port.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{Request, Response, request::Parts};
use futures_util::FutureExt as _;
use meshkit_core::{Dice, Error};
use meshkit_http::{
    Body,
    edge::{Client as Caller, Told},
};
use meshkit_policy::{
    Client, Meta, Policy, PolicyLayer,
    inbound::{Permit, Policy as Inner, Protocol},
    policy::Observe as _,
};
use tower::{Layer as _, Service};

use super::{
    App, Inbound, http,
    verdicts::{Verdicts, route_labels},
};
use crate::metrics::{Labels, Metrics};

/// What admits clients to a server of the proxy's own, as they would be admitted to the workload. It does not hold up the drain.
#[derive(Clone, Debug)]
pub(crate) struct Guards {
    metrics: Arc<Metrics>,
    addr: SocketAddr,
    app: Arc<App>,
    dice: Dice,
}

/// What admits the requests of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    verdicts: Verdicts,
    peer: SocketAddr,
    policy: Policy<Admitted, Verdicts>,
}

impl Inbound {
    /// What admits clients to a server of this proxy, which listens at `addr` itself.
    pub(crate) fn guards(&self, addr: SocketAddr) -> Guards {
        let (metrics, dice) = (Arc::clone(&self.0.metrics), self.0.settings.endpoint.dice.clone());
        Guards { metrics, addr, app: self.app(addr), dice }
    }
}

impl Guards {
    /// What admits the requests of this client.
    pub(crate) fn guard(&self, peer: SocketAddr, client: Client) -> Guard {
        let Self { metrics, addr, app, dice } = self.clone();
        let verdicts = Verdicts { metrics, client: client.clone(), addr, app: Arc::clone(&app) };
        let layer = PolicyLayer::new(app.port.policy(), client).limits(app.limits.clone()).dice(dice).observe(verdicts.clone());
        Guard { policy: layer.layer(Admitted), verdicts, peer }
    }
}

impl Guard {
    /// Lets the request pass, or says what is answered in its place.
    ///
    /// # Errors
    /// The policy does not admit the request.
    pub(crate) fn admit(&self, head: &mut Parts) -> Result<(), Box<Response<Body>>> {
        let told = if self.verdicts.client.tls.client_id().is_some() { Told::Everything } else { Told::Status };
        let asked = Request::from_parts(head.clone(), ());
        let caller = Caller::of(&asked, told);
        match self.decide(asked) {
            Ok(admitted) => {
                *head = admitted;
                Ok(())
            }
            Err(error) => {
                http::failed(&self.verdicts.metrics, self.verdicts.addr, &self.verdicts.app, self.peer, head.uri.path(), &error);
                Err(Box::new(caller.answer(&error)))
            }
        }
    }

    fn decide(&self, request: Request<()>) -> Result<Parts, Error> {
        let policy = self.verdicts.app.policy();
        let (admitted, route, authorization) = if looks_at_requests(&policy) {
            let mut service = self.policy.clone();
            // What is behind the policy answers at once.
            let mut head = service.call(request).now_or_never().expect("a verdict is not waited for")?;
            let Permit { route, authorization, .. } = head.extensions.remove().expect("the policy leaves its permit");
            (head, Some(route), authorization)
        } else {
            let permit = policy.authorize_tcp(&self.verdicts.client).map_err(|denied| {
                self.verdicts.denied(&denied);
                denied.into_error()
            })?;
            (request.into_parts().0, None, permit.clone())
        };
        self.count(&policy, route.as_ref(), &authorization);
        Ok(admitted)
    }

    fn count(&self, policy: &Inner, route: Option<&Meta>, authorization: &Meta) {
        let authz = [("authz_group", authorization.group()), ("authz_kind", authorization.kind()), ("authz_name", authorization.name())];
        let labels = self.verdicts.labels(policy).into_iter().chain(route.map(route_labels).into_iter().flatten());
        let labels = Labels::new(labels.chain(authz.map(|(key, value)| (key, value.to_owned()))));
        self.verdicts.metrics.authz.http_allow.handle(&labels).incr();
    }
}

/// Bytes that a policy does not look at are admitted by their connection, whatever they are.
fn looks_at_requests(policy: &Inner) -> bool {
    !matches!(policy.protocol, Protocol::Opaque | Protocol::Tls)
}

/// What is behind the policy: the request itself, as the policy's filters left it.
#[derive(Clone, Debug)]
struct Admitted;

impl Service<Request<()>> for Admitted {
    type Response = Parts;
    type Error = Infallible;
    type Future = Ready<Result<Parts, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        ready(Ok(request.into_parts().0))
    }
}
