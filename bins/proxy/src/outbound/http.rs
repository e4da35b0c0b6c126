//! Requests of the workload.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{
    HeaderValue, Request, Response,
    header::{CONNECTION, HOST},
    uri::Authority,
};
use meshkit_core::{Cause, Error, Identity, error::Connection as Fate};
use meshkit_http::{
    Body,
    edge::{Client as Caller, MadeHere, Unreadable},
    hop, normalize,
    server::{Close, Refusals},
    upgrade,
};
use meshkit_wire::{outbound::Target, trace::Kind};
use tracing::info;

use super::{Alias, Destination, Mode, Shared};
use crate::{endpoint::RequiredId, metrics::Labels};

/// Serves the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Service(Arc<Served>);

#[derive(Debug)]
struct Served {
    shared: Arc<Shared>,
    destination: Arc<Destination>,
    authority: Option<Authority>,
    alias: Option<Arc<Alias>>,
    client: SocketAddr,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, destination: Arc<Destination>, alias: Option<Arc<Alias>>, client: SocketAddr) -> Self {
        let authority = destination.authority().parse().ok();
        Self(Arc::new(Served { shared, destination, authority, alias, client }))
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
        Box::pin(async move { served.answer(request).await })
    }
}

impl Served {
    /// Fails only where the client's stream is to be reset.
    async fn answer(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        let caller = Caller::of(&request, self.shared.settings.endpoint.told);
        if let Err(error) = normalize::check_target(&request) {
            failed(&self.shared, self.client, request.uri().path(), &error);
            return Ok(caller.answer(&error));
        }
        normalize::mark_absolute_form(&mut request);
        if let Some(tap) = &self.shared.settings.endpoint.tap {
            tap.note_local(&mut request, self.client);
        }
        let tracer = self.shared.settings.endpoint.tracer.as_ref();
        let span = tracer.and_then(|tracer| tracer.begin(&mut request, Kind::Server));
        if let Some(alias) = &self.alias {
            alias.apply(&mut request);
        }
        let close = request.extensions().get::<Close>().cloned();
        let path = request.uri().path().to_owned();
        let pending = upgrade::Pending::of(&mut request);
        match self.dispatch(request).await {
            Ok(mut response) => {
                if let Some(span) = span {
                    span.ended(response.status());
                }
                if let Some(unreadable) = response.extensions_mut().remove::<Unreadable>() {
                    failed(&self.shared, self.client, &path, &unreadable.error());
                }
                // Between proxies these speak of the peer's side; the application learns of its own proxy only.
                let own_error = response.extensions().get::<MadeHere>().and_then(|_| response.headers().get(hop::L5D_PROXY_ERROR).cloned());
                if hop::strip_proxy_headers(response.headers_mut()) == hop::PeerAsks::Close {
                    response.headers_mut().remove(CONNECTION);
                }
                if let Some(error) = own_error {
                    response.headers_mut().insert(hop::L5D_PROXY_ERROR, error);
                }
                if let Some(pending) = pending {
                    pending.join(&mut response, self.shared.drain.clone());
                }
                Ok(response.map(|body| caller.body(body)))
            }
            Err(error) => {
                failed(&self.shared, self.client, &path, &error);
                if caller.resets(&error) {
                    return Err(error);
                }
                if error.cause().answer().connection == Fate::Close
                    && let Some(close) = close
                {
                    close.ask();
                }
                Ok(caller.answer(&error))
            }
        }
    }

    async fn dispatch(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        // Until the head of the response.
        let _place = self.shared.in_flight.enter()?;
        normalize::set_authority(&mut request, self.authority.as_ref())?;
        if let Some(required) = request.headers_mut().remove(hop::L5D_REQUIRE_ID) {
            request.extensions_mut().insert(required_id(&required)?);
        }
        let named = match request.headers_mut().remove(hop::L5D_DST_OVERRIDE) {
            Some(name) if self.shared.settings.mode == Mode::Ingress => Some(self.named(&name)?),
            _ => None,
        };
        if let Some(named) = &named {
            named.discovered(self.shared.settings.discovery_timeout).await;
        }
        named.as_ref().unwrap_or(&self.destination).send(request).await.map_err(crate::edge::located)
    }

    /// The destination that a header of an ingress controller names.
    fn named(&self, name: &HeaderValue) -> Result<Arc<Destination>, Error> {
        let authority = name.to_str().ok().and_then(|text| meshkit_core::Authority::parse(text, 80).ok());
        let malformed = || Error::new(Cause::BadRequest).message("l5d-dst-override is not a valid host:port");
        let authority = authority.ok_or_else(malformed)?;
        self.shared.destination(Target::Authority(authority.to_string()))
    }
}

/// Counts and logs a request that the proxy itself failed.
fn failed(shared: &Shared, client: SocketAddr, path: &str, error: &Error) {
    if let Some(label) = error.cause().answer().label {
        shared.metrics.errors.outbound_http.handle(&Labels::new([("error", label)])).incr();
    }
    info!(client.addr = %client, path, %error, "request failed");
}

/// Hears of what the server of a connection refuses by itself.
pub(super) fn refusals(shared: Arc<Shared>, client: SocketAddr) -> Refusals {
    Refusals::new(move |error| failed(&shared, client, "", error))
}

fn required_id(value: &HeaderValue) -> Result<RequiredId, Error> {
    let id = value.to_str().ok().and_then(|text| text.parse::<Identity>().ok());
    id.map(RequiredId).ok_or_else(|| Error::new(Cause::IdentityRequired).message(format!("required id {value:?} is not an identity")))
}

impl Alias {
    /// An authority equal to the listener's address becomes the Service's name.
    fn apply<B>(&self, request: &mut Request<B>) {
        let host = request.headers().get(HOST).is_some_and(|host| host.as_bytes() == self.listen.as_str().as_bytes());
        if host && let Ok(name) = HeaderValue::from_str(self.name.as_str()) {
            request.headers_mut().insert(HOST, name);
        }
        if request.uri().authority() == Some(&self.listen) {
            let uri = std::mem::take(request.uri_mut());
            *request.uri_mut() = normalize::with_authority(uri, self.name.clone());
        }
    }
}
