//! Requests of the workload.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, HOST},
    uri::Authority,
};
use meshkit_core::{Error, error::Connection as Fate};
use meshkit_http::{Body, edge::Client as Caller, hop, normalize, server::Close, upgrade};
use tracing::info;

use super::{Alias, Destination, Shared};
use crate::metrics::Labels;

/// Serves the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Service(Arc<Served>);

#[derive(Debug)]
struct Served {
    shared: Arc<Shared>,
    destination: Arc<Destination>,
    authority: Option<Authority>,
    alias: Option<Arc<Alias>>,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, destination: Arc<Destination>, alias: Option<Arc<Alias>>) -> Self {
        let authority = destination.authority().parse().ok();
        Self(Arc::new(Served { shared, destination, authority, alias }))
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
        let told = self.shared.settings.endpoint.told;
        if normalize::check_target(&request).is_err() {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        }
        normalize::mark_absolute_form(&mut request);
        if let Some(alias) = &self.alias {
            alias.apply(&mut request);
        }
        let close = request.extensions().get::<Close>().cloned();
        let caller = Caller::of(&request, told);
        let path = request.uri().path().to_owned();
        let pending = upgrade::Pending::of(&mut request);
        match self.dispatch(request).await {
            Ok(mut response) => {
                // Between proxies these speak of the peer's side; the application learns of its own proxy only.
                let peer_closes = response.headers_mut().remove(hop::L5D_PROXY_CONNECTION).is_some();
                if peer_closes && response.headers().get(CONNECTION).is_some() {
                    response.headers_mut().remove(CONNECTION);
                }
                if let Some(pending) = pending {
                    pending.join(&mut response, self.shared.drain.clone());
                }
                response
            }
            Err(error) => {
                let row = error.cause().answer();
                if let Some(label) = row.label {
                    self.shared.metrics.errors.outbound_http.handle(&Labels::new([("error", label)])).incr();
                }
                info!(path, %error, "request failed");
                if row.connection == Fate::Close
                    && let Some(close) = close
                {
                    close.ask();
                }
                caller.answer(&error)
            }
        }
    }

    async fn dispatch(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        normalize::set_authority(&mut request, self.authority.as_ref())?;
        self.destination.send(request).await.map_err(crate::edge::located)
    }
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
