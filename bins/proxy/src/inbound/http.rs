//! Requests to the workload.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use ::http::{HeaderValue, Request, Response, StatusCode, uri::Authority};
use meshkit_core::{Cause, Dice, Error, error::Connection as Fate};
use meshkit_http::{
    Body,
    edge::{Client as Caller, Told},
    hop, normalize,
    orig_proto::{self, Upgraded},
    server::Close,
    upgrade,
};
use meshkit_policy::{
    Meta, grpc, http,
    inbound::{FoundRoute, Policy},
};
use tokio::time::Instant;
use tower::ServiceExt as _;
use tracing::info;

use super::{Connection, Shared, server_labels};
use crate::{
    endpoint::{EndpointService, Handles},
    metrics::{Edge, Labels, target, tls_server},
};

/// Serves the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Service(Arc<Served>);

#[derive(Debug)]
struct Served {
    shared: Arc<Shared>,
    connection: Connection,
    authority: Option<Authority>,
    dice: Dice,
    /// One for each verdict that this connection has met; few, for a connection has one client and a port few routes.
    known: Mutex<Vec<Known>>,
}

/// What was made for a verdict.
#[derive(Clone, Debug)]
struct Known {
    server: Meta,
    route: Meta,
    authorization: Meta,
    service: EndpointService,
    allowed: Arc<meshkit_runtime::metrics::Counter>,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        let authority = connection.addr.to_string().parse().ok();
        let dice = shared.settings.endpoint.dice.clone();
        Self(Arc::new(Served { shared, connection, authority, dice, known: Mutex::default() }))
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    // The seam between a server and its router.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let served = Arc::clone(&self.0);
        Box::pin(async move { Ok(served.answer(request).await) })
    }
}

impl Served {
    async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let id = self.connection.client.tls.client_id();
        let told = if id.is_some() { Told::Everything } else { Told::Status };
        if normalize::check_target(&request).is_err() {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        }
        normalize::mark_absolute_form(&mut request);
        let upgraded = orig_proto::downgrade(&mut request);
        // What a client says about itself is not believed.
        match id.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            Some(id) => drop(request.headers_mut().insert(hop::L5D_CLIENT_ID, id)),
            None => drop(request.headers_mut().remove(hop::L5D_CLIENT_ID)),
        }
        let close = request.extensions().get::<Close>().cloned();
        let caller = Caller::of(&request, told);
        let path = request.uri().path().to_owned();
        let pending = upgrade::Pending::of(&mut request);
        let mut response = match self.dispatch(request).await {
            Ok(mut response) => {
                if let Some(pending) = pending {
                    pending.join(&mut response, self.shared.drain.clone());
                }
                response
            }
            Err(error) => {
                let row = error.cause().answer();
                if let Some(label) = row.label {
                    let labels = target(self.connection.addr).into_iter().chain([("error", label.to_owned())]);
                    self.shared.metrics.errors.inbound_http.handle(&Labels::new(labels)).incr();
                }
                info!(client.ip = %self.connection.client.ip, path, %error, "request failed");
                if row.connection == Fate::Close
                    && let Some(close) = close
                {
                    close.ask();
                }
                caller.answer(&error)
            }
        };
        if upgraded == Upgraded::Yes {
            orig_proto::tell(&mut response);
        }
        response
    }

    async fn dispatch(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        normalize::set_authority(&mut request, self.authority.as_ref())?;
        // One snapshot per request: an update in mid-decision must not yield half of each policy.
        let policy = self.connection.app.policy();
        let (mut parts, body) = request.into_parts();
        let service = {
            let found = policy.route(&parts).ok_or_else(|| {
                self.count_refused(&self.shared.metrics.authz.http_not_found, &policy, None);
                Error::new(Cause::NoRoute)
            })?;
            let permit = policy.authorize_request(&self.connection.client, &found).map_err(|denied| {
                self.count_refused(&self.shared.metrics.authz.http_deny, &policy, Some(found.meta()));
                info!(server = %policy.server, route = %found.meta(), client.ip = %self.connection.client.ip, %denied, "Request denied");
                denied.into_error()
            })?;
            match &found {
                FoundRoute::Http(found) => http::apply(&found.rule.policy.filters, &mut parts, found.matched, &self.dice),
                FoundRoute::Grpc(found) => grpc::apply(&found.rule.policy.filters, &mut parts, &self.dice),
            }
            .map_err(crate::edge::located)?;
            if let Some(limits) = policy.rate_limit() {
                let limiter = self.connection.app.limiter(limits);
                limiter.check(self.connection.client.tls.client_id(), Instant::now()).map_err(|limited| {
                    self.count_refused(&self.shared.metrics.authz.http_rate_limited, &policy, Some(found.meta()));
                    limited.into_error()
                })?;
            }
            let known = self.known(&policy, found.meta(), permit);
            known.allowed.incr();
            known.service
        };
        if self.connection.addr.port() == self.shared.settings.port {
            let message = format!("inbound connection must not target port {}", self.connection.addr.port());
            return Err(Error::new(Cause::Unexpected).message(message));
        }
        service.oneshot(Request::from_parts(parts, body)).await
    }

    /// The application's connections and the counters for a verdict.
    fn known(&self, policy: &Policy, route: &Meta, authorization: &Meta) -> Known {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |k: &&Known| k.server == policy.server && k.route == *route && k.authorization == *authorization;
        if let Some(known) = all.iter().find(same) {
            return known.clone();
        }
        let Connection { client, addr, app } = &self.connection;
        let server = server_labels(policy, *addr);
        let tls = tls_server(&client.tls);
        let meta = |prefix: &str, meta: &Meta| {
            [("group", meta.group()), ("kind", meta.kind()), ("name", meta.name())].map(|(k, v)| (format!("{prefix}_{k}"), v.to_owned()))
        };
        let own = |(k, v): (&str, String)| (k.to_owned(), v);
        let direction = [("direction".to_owned(), "inbound".to_owned())];
        let labels: Vec<_> = target(*addr).map(own).into_iter().chain(tls.into_iter().map(own)).chain(server.map(own)).collect();
        let labels: Vec<_> = labels.into_iter().chain(meta("route", route)).chain(meta("authz", authorization)).collect();
        let allowed = self.shared.metrics.authz.http_allow.handle(&Labels::new(labels.clone()));
        let http = self.shared.metrics.http.handle(&Labels::new(direction.into_iter().chain(labels)), None::<&Edge>);
        let tcp = self.shared.metrics.tcp.handle(vec![
            ("direction", "inbound".to_owned()),
            ("peer", "dst".to_owned()),
            ("tls", "no_identity".to_owned()),
            ("no_tls_reason", "loopback".to_owned()),
        ]);
        let service = app.service(&self.shared.settings.endpoint, Handles { http, tcp });
        let known = Known { server: policy.server.clone(), route: route.clone(), authorization: authorization.clone(), service, allowed };
        all.push(known.clone());
        known
    }

    fn count_refused(
        &self,
        family: &meshkit_runtime::metrics::Family<Labels, meshkit_runtime::metrics::Counter>,
        policy: &Policy,
        route: Option<&Meta>,
    ) {
        let Connection { client, addr, .. } = &self.connection;
        let route = route
            .map(|r| [("route_group", r.group().to_owned()), ("route_kind", r.kind().to_owned()), ("route_name", r.name().to_owned())]);
        let known = target(*addr).into_iter().chain(server_labels(policy, *addr)).chain(route.into_iter().flatten());
        family.handle(&Labels::new(known.chain(tls_server(&client.tls)))).incr();
    }
}
