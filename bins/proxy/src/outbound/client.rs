//! Requests of this very process, without a connection to a proxy.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use ::http::{HeaderValue, Request, Response, Version, header::HOST};
use bytes::Bytes;
use meshkit_core::{Cause, Error};
use meshkit_http::{Body, BoxError, normalize};
use meshkit_wire::outbound::Target;

use super::Outbound;

/// Sends requests to other workloads, with all that a sidecar does for them: discovery, routes, retries, balancing, mutual TLS, metrics. Clones
/// share everything.
///
/// Where a request goes is the authority of its URI, or else its `Host`: the full name of a Service, `web.emojivoto.svc.cluster.local:8080`; the
/// port is 80 unless given. It is always ready: what a request waits for, its future waits for.
///
/// # Errors
/// [`meshkit_core::Error`], whose cause says what happened. What a server could not be asked is a response, as a sidecar would give it: 502, 503 or
/// 504 with `l5d-proxy-error`.
#[derive(Clone, Debug)]
pub struct Client(Outbound);

impl Client {
    pub(crate) const fn new(outbound: Outbound) -> Self {
        Self(outbound)
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        // Until the head of the response.
        let _place = self.0.0.in_flight.enter()?;
        let target = target(&mut request)?;
        let destination = self.0.destination(target)?;
        self.0.send(&destination, request).await
    }
}

impl<B> tower::Service<Request<B>> for Client
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    // The seam between a server and its router: here the server is the program itself.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().send(request.map(Body::wrap)))
    }
}

/// Where a request goes. Gives it the parts that an HTTP/1 server looks for.
fn target<B>(request: &mut Request<B>) -> Result<Target, Error> {
    normalize::check_target(request)?;
    normalize::set_authority(request, None)
        .map_err(|_| Error::new(Cause::BadRequest).message("the request names no server: its URI needs an authority"))?;
    let malformed = || Error::new(Cause::BadRequest).message(format!("{} names no server", request.uri()));
    let text = request.uri().authority().map(|authority| authority.as_str().to_owned()).ok_or_else(malformed)?;
    let name = meshkit_core::Authority::parse(&text, 80).map_err(|_| malformed())?;
    if request.version() < Version::HTTP_2
        && !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&text)
    {
        request.headers_mut().insert(HOST, host);
    }
    Ok(match name.socket_addr() {
        Some(addr) => Target::Addr(addr),
        None => Target::Authority(name.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str, host: Option<&str>) -> (Result<Target, Error>, Request<()>) {
        let mut request = Request::get(uri).body(()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().unwrap());
        }
        (target(&mut request), request)
    }

    #[test]
    fn the_uri_or_the_host_says_where_a_request_goes() {
        let named = |name: &str| Target::Authority(name.to_owned());
        let (to, request) = of("http://web.ns.svc.cluster.local/a", None);
        assert_eq!(to.unwrap(), named("web.ns.svc.cluster.local:80"));
        assert_eq!(request.headers()[HOST], "web.ns.svc.cluster.local");
        assert_eq!(of("/a", Some("web.ns.svc.cluster.local:8080")).0.unwrap(), named("web.ns.svc.cluster.local:8080"));
        assert_eq!(of("http://10.0.0.1:81/", None).0.unwrap(), Target::Addr("10.0.0.1:81".parse().unwrap()));
        assert_eq!(of("/a", None).0.unwrap_err().cause(), &Cause::BadRequest);
    }
}
