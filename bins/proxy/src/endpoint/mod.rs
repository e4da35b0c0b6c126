//! One endpoint: its connections, and what a request meets on its way onto them.

mod transport;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, Version};
use meshkit_balance::Reconnect;
use meshkit_core::{Backoff, Cause, Dice, Endpoint, Error, Identity, ProtocolHint};
use meshkit_http::{
    Body,
    client::{Connect, Connection, NotSent, Pool, PoolSettings},
    edge::{Client, Told, Unreadable, reset_reason},
    hop, orig_proto,
};
use meshkit_tls::{Snapshot, transport_header::SessionProtocol};
use meshkit_wire::{profile::Route, trace::Kind};
use tokio::sync::watch;
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

pub use self::transport::Transport;
use crate::{
    metrics::{HttpHandle, TcpHandle, decided},
    net::TcpConnect,
    rest::{Rest, Waiting},
    tap::Tap,
    trace::Tracer,
};

/// What is the same for all endpoints of one direction.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How connections are opened.
    pub connect: TcpConnect,
    /// Waits between attempts to keep an HTTP/2 connection.
    pub backoff: Backoff,
    /// Jitter of the waits.
    pub dice: Dice,
    /// HTTP/1 connections.
    pub pool: PoolSettings,
    /// Credentials and trust.
    pub tls: watch::Receiver<Arc<Snapshot>>,
    /// Does the client of a failed request learn why?
    pub told: Told,
    /// Makes spans of requests that belong to a trace; `None` leaves their headers alone.
    pub tracer: Option<Tracer>,
    /// Shows requests to whoever may look.
    pub tap: Option<Tap>,
}

/// Whom a request wants to talk to, and nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequiredId(pub(crate) Identity);

/// A service of this process. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Application(BoxCloneSyncService<Request<Body>, Response<Body>, Error>);

impl Application {
    pub(crate) fn new<S>(app: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Error, Future: Send> + Clone + Send + Sync + 'static,
    {
        Self(BoxCloneSyncService::new(app))
    }
}

/// The counters of one endpoint.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Requests and responses.
    pub http: HttpHandle,
    /// Connections.
    pub tcp: TcpHandle,
}

/// Sends requests to one endpoint. Clones share its connections.
///
/// A mesh proxy gets everything over one HTTP/2 connection, which is kept open; what cannot travel so (upgrades) and servers without a proxy
/// get connections of the request's own version, opened on demand.
pub struct EndpointService {
    shared: Arc<Shared>,
    http: HttpHandle,
    /// The connection that is kept open.
    kept: Option<Reconnect<Connect<Transport>, ()>>,
    /// Where none is, a server that refuses connections is not ready for a while.
    waiting: Waiting,
}

struct Shared {
    endpoint: Arc<Endpoint>,
    /// What answers in this process, in place of a server.
    app: Option<Application>,
    h1: Pool<Transport>,
    h2: Lazy,
    rest: Rest,
    backoff: Backoff,
    dice: Dice,
    told: Told,
    tracer: Option<Tracer>,
    tap: Option<Tap>,
}

impl Shared {
    /// The error of a request that wants to talk to somebody else.
    fn is_not(&self, required: Option<&RequiredId>) -> Option<Error> {
        let RequiredId(required) = required?;
        let found = self.endpoint.tls.as_ref().map(|tls| &tls.identity);
        if found == Some(required) {
            return None;
        }
        let found = found.map_or_else(|| "none".to_owned(), ToString::to_string);
        Some(Error::new(Cause::IdentityRequired).message(format!("required id {required}; found {found}")))
    }
}

/// An HTTP/2 connection that is opened by the first request, and again by the first after it broke.
struct Lazy {
    connect: Connect<Transport>,
    current: tokio::sync::Mutex<Option<Connection>>,
}

impl Lazy {
    async fn connection(&self) -> Result<Connection, Error> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_mut() {
            // A connection that is closed says so at once; one that is merely busy is waited for by the request.
            let ready = std::future::poll_fn(|cx| Poll::Ready(connection.poll_ready(cx))).await;
            if !matches!(ready, Poll::Ready(Err(_))) {
                return Ok(connection.clone());
            }
        }
        let connection = self.connect.clone().oneshot(()).await?;
        *current = Some(connection.clone());
        Ok(connection)
    }
}

impl EndpointService {
    /// Connects to nothing yet; polling it to readiness does, where a connection is kept.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, settings: &Settings, handles: Handles) -> Self {
        Self::answered_by(None, endpoint, settings, handles)
    }

    /// Sends nothing anywhere: a service of this process answers in the endpoint's place.
    pub(crate) fn hosted(app: Application, endpoint: Arc<Endpoint>, settings: &Settings, handles: Handles) -> Self {
        Self::answered_by(Some(app), endpoint, settings, handles)
    }

    fn answered_by(app: Option<Application>, endpoint: Arc<Endpoint>, settings: &Settings, handles: Handles) -> Self {
        let transport = |protocol| Transport::new(Arc::clone(&endpoint), Some(protocol), settings, handles.tcp.clone());
        let h2 = Connect::new(transport(SessionProtocol::Http2), endpoint.http2);
        let kept =
            (endpoint.protocol == ProtocolHint::Http2).then(|| Reconnect::new(h2.clone(), (), settings.backoff, settings.dice.clone()));
        let shared = Shared {
            app,
            h1: Pool::new(transport(SessionProtocol::Http1), settings.pool),
            h2: Lazy { connect: h2, current: tokio::sync::Mutex::default() },
            rest: Rest::default(),
            backoff: settings.backoff,
            dice: settings.dice.clone(),
            told: settings.told,
            tracer: settings.tracer.clone(),
            tap: settings.tap.clone(),
            endpoint,
        };
        Self { shared: Arc::new(shared), http: handles.http, kept, waiting: Waiting::default() }
    }

    /// The same connections, with other counters for what goes over them.
    #[must_use]
    pub fn counted(&self, http: HttpHandle) -> Self {
        Self { shared: Arc::clone(&self.shared), http, kept: self.kept.clone(), waiting: Waiting::default() }
    }
}

impl Clone for EndpointService {
    fn clone(&self) -> Self {
        self.counted(self.http.clone())
    }
}

impl Service<Request<Body>> for EndpointService {
    type Response = Response<Body>;
    type Error = Error;
    // The seam between an endpoint and its transports.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.kept {
            Some(kept) => kept.poll_ready(cx).map_err(|e| Error::from_boxed(e.into())),
            None => self.waiting.poll(&self.shared.rest, cx).map(Ok),
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        if let Some(error) = shared.is_not(request.extensions().get()) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let client = Client::of(&request, shared.told);
        let classified = request.extensions().get::<Classified>().cloned();
        let http = self.http.clone();
        let since = http.request();
        let upgrade = orig_proto::wants_upgrade(&request);
        if !upgrade {
            hop::strip_connection_headers(request.headers_mut());
        }
        if let Some(authority) = &shared.endpoint.authority_override {
            override_authority(&mut request, &authority.to_string());
        }
        let span = shared.tracer.as_ref().and_then(|tracer| tracer.begin(&mut request, Kind::Client));
        let tapped = shared.tap.as_ref().and_then(|tap| {
            let route = classified.as_ref().map(|Classified(route)| &**route);
            tap.begin(&request, &shared.endpoint, route)
        });
        // The very instance that was polled ready sends the request; a spare stays behind.
        let kept = match &mut self.kept {
            Some(kept) if !upgrade => {
                let spare = kept.clone();
                Some(std::mem::replace(kept, spare))
            }
            _ => None,
        };
        Box::pin(async move {
            let sent = match kept {
                Some(mut kept) => {
                    let version = orig_proto::upgrade(&mut request);
                    let sent = kept.call(request).await.map_err(|e| Error::from_boxed(e.into()));
                    match (version, sent) {
                        (Some(version), Ok(mut response)) => {
                            orig_proto::restore(&mut response, version);
                            Ok(response)
                        }
                        // A client of HTTP/1 has no stream that could be reset.
                        (Some(_), Err(error)) => Err(orig_proto::downgrade_error(error)),
                        (None, sent) => sent,
                    }
                }
                None if shared.app.is_some() => match shared.app.clone() {
                    Some(Application(app)) => app.oneshot(request).await,
                    None => Err(Error::new(Cause::Unexpected)),
                },
                None if request.version() == Version::HTTP_2 => match shared.h2.connection().await {
                    Ok(connection) => connection.oneshot(request).await,
                    Err(error) => Err(error),
                },
                None => shared.h1.clone().oneshot(request).await,
            };
            let response = match sent {
                Ok(mut response) => {
                    if let Some(span) = span {
                        span.ended(response.status());
                    }
                    shared.rest.accepted();
                    if !upgrade {
                        hop::strip_connection_headers(response.headers_mut());
                    }
                    response
                }
                // The endpoint's edge: from here on a failed transport is a response, which breakers and retries understand.
                Err(error) if (error.cause().is_transport() || Unreadable::of(&error).is_some()) && !client.resets(&error) => {
                    let mut response = client.answer(&error);
                    if let Some(unreadable) = Unreadable::of(&error) {
                        response.extensions_mut().insert(unreadable);
                    }
                    let unsent = NotSent::is_in(&error);
                    if unsent {
                        shared.rest.refused(&shared.backoff, &shared.dice);
                    }
                    // What a server refuses unseen was as good as never sent.
                    if unsent || reset_reason(&error) == Some(h2::Reason::REFUSED_STREAM) {
                        response.extensions_mut().insert(meshkit_retry::NotSent);
                    }
                    response
                }
                Err(error) => {
                    http.failed(&error);
                    if let Some(tapped) = tapped {
                        tapped.failed(&error);
                    }
                    return Err(error);
                }
            };
            let response = match tapped {
                Some(tapped) => tapped.response(response),
                None => response,
            };
            let class = classified.and_then(|Classified(route)| decided(Some(&route), response.status()));
            Ok(http.response(response, since, class))
        })
    }
}

/// Marks a request whose response is judged by the route of a service profile.
#[derive(Clone, Debug)]
pub(crate) struct Classified(pub(crate) Arc<Route>);

/// Takes requests with whatever body a layer made.
#[derive(Clone, Debug)]
pub struct AnyBody<S>(pub S);

impl<S, B> Service<Request<B>> for AnyBody<S>
where
    S: Service<Request<Body>>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<meshkit_http::BoxError>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.0.call(request.map(Body::wrap))
    }
}

/// A gateway knows the request by another name.
fn override_authority(request: &mut Request<Body>, authority: &str) {
    if let Ok(authority) = authority.parse() {
        let uri = std::mem::take(request.uri_mut());
        *request.uri_mut() = meshkit_http::normalize::with_authority(uri, authority);
        request.headers_mut().remove(http::header::HOST);
        request.headers_mut().remove(hop::L5D_DST_CANONICAL);
    }
}

impl fmt::Debug for EndpointService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointService").field("endpoint", &self.shared.endpoint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshkit_balance::{Balance, Config, track, updates};
    use meshkit_retry::{Plan, RetryLayer};
    use meshkit_runtime::metrics::Registry;
    use meshkit_tls::{Store, TrustAnchors};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tower::Layer as _;

    use super::*;
    use crate::metrics::{Labels, Metrics};

    fn settings() -> Settings {
        let certified = rcgen::generate_simple_self_signed(["root.test".to_owned()]).unwrap();
        let anchors = TrustAnchors::from_pem(&certified.cert.pem()).unwrap();
        let store = Store::new(Arc::new(meshkit_tls::provider()), anchors, "web.test".parse().unwrap()).unwrap();
        Settings {
            connect: TcpConnect { limit: Duration::from_secs(5), options: Default::default(), bind: None },
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 0.0).unwrap(),
            dice: Dice::new(7),
            pool: PoolSettings::default(),
            tls: store.subscribe(),
            tracer: None,
            tap: None,
            told: Told::Status,
        }
    }

    /// Answers every connection's first request after a while, byte by byte as nobody's library would.
    async fn slow_server() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut io, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = [0; 1024];
                    let _ = io.read(&mut head).await;
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    let _ = io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
                });
            }
        });
        addr
    }

    #[tokio::test]
    async fn what_a_dead_endpoint_refuses_goes_to_a_live_one_even_if_that_is_slower() {
        let dead = {
            // Free again when it is dropped, and nobody's for the moment.
            TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
        };
        let live = slow_server().await;
        let registry = Registry::new(Duration::from_secs(600));
        let clock: Arc<dyn meshkit_core::Clock> = Arc::new(meshkit_core::clock::SystemClock);
        let metrics = Metrics::register(&registry, &clock);
        let settings = settings();
        let make = move |endpoint: Arc<Endpoint>| {
            let handles = Handles { http: metrics.http.handle(&Labels::default(), None), tcp: TcpHandle::nowhere() };
            EndpointService::new(endpoint, &settings, handles)
        };
        let (balance, driver) = Balance::observed(Config::default().seed(1), track::Http::default(), (), make);
        tokio::spawn(driver.run::<_, Request<Body>>(updates::fixed([Endpoint::new(dead), Endpoint::new(live)])));
        let retry = RetryLayer::new(Plan::new(), Dice::new(1)).resend_unsent().layer(AnyBody(balance));
        for _ in 0..30 {
            let request = Request::post("http://shop.test/pay").body(Body::from("once")).unwrap();
            let response = retry.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
        }
    }
}
