//! Requests to the workload.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use ::http::{HeaderValue, Request, Response, uri::Authority};
use meshkit_core::{Cause, Error, Identity, error::Connection as Fate};
use meshkit_fault::{FaultLayer, Faulty};
use meshkit_http::{
    Body,
    edge::{Client as Caller, Told, Unreadable},
    hop, normalize,
    orig_proto::{self, Upgraded},
    server::{Close, Closing, Refusals},
    upgrade,
};
use meshkit_policy::{
    Meta, Policy, PolicyLayer,
    inbound::{Permit, Protocol},
};
use meshkit_wire::{extension::FaultPlan, trace::Kind};
use pin_project::pin_project;
use tower::{Layer as _, ServiceExt as _};
use tracing::info;

use super::{
    App, Connection, Shared,
    gateway::Asked,
    server_labels,
    verdicts::{Verdicts, route_labels},
};
use crate::{
    endpoint::EndpointService,
    metrics::{FaultHandle, InboundHandle, Labels, Metrics, exchange::Exchange, target},
};

/// Serves the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Service(Arc<Served>);

#[derive(Debug)]
struct Served {
    shared: Arc<Shared>,
    connection: Connection,
    authority: Option<Authority>,
    permitted: Policy<Permitted, Verdicts>,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        let Connection { client, addr, app, .. } = &connection;
        let verdicts = Verdicts { metrics: Arc::clone(&shared.metrics), client: client.clone(), addr: *addr, app: Arc::clone(app) };
        let permitted = PolicyLayer::new(app.port.policy(), client.clone())
            .limits(app.limits.clone())
            .dice(shared.settings.endpoint.dice.clone())
            .observe(verdicts.clone())
            .layer(Permitted(Arc::new(Beyond {
                shared: Arc::clone(&shared),
                verdicts,
                asked: connection.asked.clone(),
                known: Mutex::default(),
            })));
        let authority = addr.to_string().parse().ok();
        Self(Arc::new(Served { shared, connection, authority, permitted }))
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Error;
    // The seam between a server and its router.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let served = Arc::clone(&self.0);
        let Some(log) = &self.0.shared.settings.access_log else {
            return Box::pin(async move { served.answer(request).await });
        };
        let entry = log.begin(&request, self.0.connection.peer, self.0.connection.client.tls.client_id());
        Box::pin(entry.follow(async move { served.answer(request).await }))
    }
}

impl Served {
    /// Fails only where the client's stream is to be reset.
    async fn answer(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        let id = self.connection.client.tls.client_id();
        let told = if id.is_some() { Told::Everything } else { Told::Status };
        if let Err(error) = normalize::check_target(&request) {
            self.connection.failed(&self.shared, request.uri().path(), &error);
            return Ok(Caller::of(&request, told).answer(&error));
        }
        normalize::mark_absolute_form(&mut request);
        if let Some(tap) = &self.shared.settings.endpoint.tap {
            tap.note(&mut request, self.connection.peer, &self.connection.client.tls);
        }
        let tracer = self.shared.settings.endpoint.tracer.as_ref();
        let span = tracer.and_then(|tracer| tracer.begin(&mut request, Kind::Server));
        let upgraded = orig_proto::downgrade(&mut request);
        normalize::agree_on_host(&mut request);
        // What a client says about itself is not believed.
        match id.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            Some(id) => drop(request.headers_mut().insert(hop::L5D_CLIENT_ID, id)),
            None => drop(request.headers_mut().remove(hop::L5D_CLIENT_ID)),
        }
        if let Some(id) = id {
            request.extensions_mut().insert(id.clone());
        }
        let close = request.extensions().get::<Close>().cloned();
        let caller = Caller::of(&request, told);
        let path = request.uri().path().to_owned();
        let pending = upgrade::Pending::of(&mut request);
        let mut response = match self.dispatch(request).await {
            Ok(mut response) => {
                if let Some(span) = span {
                    span.ended(response.status());
                }
                if let Some(unreadable) = response.extensions_mut().remove::<Unreadable>() {
                    self.connection.failed(&self.shared, &path, &unreadable.error());
                }
                if let Some(pending) = pending {
                    pending.join(&mut response, self.shared.drain.clone());
                }
                response.map(|body| caller.body(body))
            }
            Err(error) => {
                self.connection.failed(&self.shared, &path, &error);
                if caller.resets(&error) {
                    return Err(error);
                }
                // A connection between proxies carries the requests of many clients.
                if error.cause().answer().connection == Fate::Close
                    && upgraded == Upgraded::No
                    && let Some(close) = close
                {
                    close.ask();
                }
                caller.answer(&error)
            }
        };
        if upgraded == Upgraded::Yes {
            orig_proto::tell(&mut response);
            // The connection carries the requests of many clients.
            response.extensions_mut().remove::<Closing>();
        }
        Ok(response)
    }

    async fn dispatch(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        // Until the head of the response.
        let _place = self.shared.in_flight.enter()?;
        normalize::set_authority(&mut request, self.authority.as_ref())?;
        self.permitted.clone().oneshot(request).await.map_err(crate::edge::located)
    }
}

impl Connection {
    fn failed(&self, shared: &Shared, path: &str, error: &Error) {
        failed(&shared.metrics, self.addr, &self.app, self.peer, path, error);
    }
}

/// Counts and logs a request that the proxy itself failed.
pub(super) fn failed(metrics: &Metrics, addr: SocketAddr, app: &App, peer: SocketAddr, path: &str, error: &Error) {
    if let Some(label) = error.cause().answer().label {
        let server = server_labels(&app.policy(), addr);
        let labels = target(addr).into_iter().chain(server).chain([("error", label.to_owned())]);
        metrics.errors.inbound_http.handle(&Labels::new(labels)).incr();
    }
    info!(client.addr = %peer, server.addr = %addr, path, %error, "request failed");
}

/// Hears of what the server of a connection refuses by itself.
pub(super) fn refusals(shared: Arc<Shared>, connection: Connection) -> Refusals {
    Refusals::new(move |error| connection.failed(&shared, "", error))
}

/// Takes the requests that the policy lets pass.
#[derive(Clone, Debug)]
struct Permitted(Arc<Beyond>);

#[derive(Debug)]
struct Beyond {
    shared: Arc<Shared>,
    verdicts: Verdicts,
    /// The name that a gateway is asked for, in place of the application.
    asked: Option<Asked>,
    /// One for each verdict that this connection has met; few, for a connection has one client and a port few routes.
    known: Mutex<Vec<Known>>,
}

/// What was made for a verdict.
#[derive(Clone, Debug)]
struct Known {
    permit: Permit,
    service: EndpointService,
    trouble: Option<Trouble>,
    /// The plan that the trouble was taken from.
    plan: Arc<FaultPlan>,
    route: Arc<InboundHandle>,
    allowed: Arc<meshkit_runtime::metrics::Counter>,
}

impl tower::Service<Request<Body>> for Permitted {
    type Response = Response<Body>;
    type Error = Error;
    type Future = PermittedFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> PermittedFuture {
        let (shared, Verdicts { addr, client, .. }) = (&self.0.shared, &self.0.verdicts);
        let Some(known) = request.extensions().get::<Permit>().map(|permit| self.0.known(permit)) else {
            let error = Error::new(Cause::Unexpected).message("a request came past the policy without a permit");
            return PermittedFuture { response: Box::pin(std::future::ready(Err(error))), exchange: None };
        };
        known.allowed.incr();
        let (request, exchange) = known.route.request(request);
        let exchange = Some(exchange);
        if let Some(asked) = self.0.asked.clone() {
            let id = client.tls.client_id().cloned();
            return PermittedFuture { response: Box::pin(async move { asked.send(request, id.as_ref()).await }), exchange };
        }
        if shared.settings.is_own(addr.port()) {
            let message = format!("inbound connection must not target port {}", addr.port());
            let error = Error::new(Cause::Unexpected).message(message);
            return PermittedFuture { response: Box::pin(std::future::ready(Err(error))), exchange };
        }
        let response = match shared.profiles.of(&request) {
            None => send(known, request),
            Some(profile) if profile.is_pending() => Box::pin(async move {
                profile.answered().await;
                let (request, following) = profile.follow(request);
                let result = send(known, request).await;
                match following {
                    Some(following) => following.ended(result),
                    None => result,
                }
            }),
            Some(profile) => match profile.follow(request) {
                (request, None) => send(known, request),
                (request, Some(following)) => {
                    let response = send(known, request);
                    Box::pin(async move { following.ended(response.await) })
                }
            },
        };
        PermittedFuture { response, exchange }
    }
}

// The seam between an endpoint and its transports.
type Sent = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

/// The application has no kept connection that readiness would stand for.
fn send(known: Known, request: Request<Body>) -> Sent {
    match known.trouble {
        Some(mut trouble) => {
            let response = tower::Service::call(&mut trouble, request);
            Box::pin(async move { Ok(response.await?.map(Body::wrap)) })
        }
        None => tower::Service::call(&mut { known.service }, request),
    }
}

/// Planned trouble before the application.
type Trouble = Faulty<EndpointService, Arc<FaultHandle>>;

/// Who asks, for trouble that is meant for some clients only.
fn client_id(extensions: &::http::Extensions) -> Option<&Identity> {
    extensions.get::<Identity>()
}

/// Response of a [`Permitted`] service.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
struct PermittedFuture {
    #[pin]
    response: Sent,
    exchange: Option<Exchange<Arc<InboundHandle>>>,
}

impl Future for PermittedFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.response.poll(cx));
        Poll::Ready(match (result, this.exchange.take()) {
            (Ok(response), Some(exchange)) => Ok(exchange.response(response)),
            (Err(error), Some(exchange)) => {
                exchange.failed(&error);
                Err(error)
            }
            (result, None) => result,
        })
    }
}

impl Beyond {
    /// The application's connections and the counters for a verdict.
    fn known(&self, permit: &Permit) -> Known {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (shared, Verdicts { app, .. }) = (&self.shared, &self.verdicts);
        let plan = app.port.faults();
        if let Some(known) = all.iter().find(|known| known.permit == *permit && Arc::ptr_eq(&known.plan, &plan)) {
            return known.clone();
        }
        all.retain(|known| known.permit != *permit);
        let policy = app.policy();
        let authz = |meta: &Meta| {
            [("authz_group", meta.group()), ("authz_kind", meta.kind()), ("authz_name", meta.name())].map(|(k, v)| (k, v.to_owned()))
        };
        let labels = self.verdicts.labels(&policy).into_iter().chain(route_labels(&permit.route)).chain(authz(&permit.authorization));
        let labels: Vec<_> = labels.collect();
        let direction = [("direction", "inbound".to_owned())];
        let http = shared.metrics.http.handle(&Labels::new(direction.into_iter().chain(labels.iter().cloned())), None);
        let families = match policy.protocol {
            Protocol::Grpc { .. } => &shared.metrics.inbound.grpc,
            _ => &shared.metrics.inbound.http,
        };
        let service = app.service.counted(http);
        let faults = plan.of(&permit.route);
        let trouble = (!faults.is_empty()).then(|| {
            let counted = shared.metrics.faults.inbound(&permit.server, &permit.route);
            let layer = FaultLayer::new(faults.clone(), shared.settings.endpoint.dice.clone()).caller(client_id).observe(counted);
            layer.layer(service.clone())
        });
        let known = Known {
            permit: permit.clone(),
            service,
            trouble,
            plan,
            route: families.handle(&permit.server, &permit.route),
            allowed: shared.metrics.authz.http_allow.handle(&Labels::new(labels)),
        };
        all.push(known.clone());
        known
    }
}
