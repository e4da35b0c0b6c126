use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use meshkit_core::Error;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Client, Told};
use crate::{Body, BoxError};

/// Turns errors into responses: all of them at the outer edge, those of the transport at an endpoint's.
#[derive(Clone, Copy, Debug)]
pub struct EdgeLayer {
    told: Told,
    place: Place,
}

/// A service behind an edge. What it still fails with is for the server to reset: a reset of the endpoint, or a planned one.
#[derive(Clone, Copy, Debug)]
pub struct Edge<S> {
    inner: S,
    layer: EdgeLayer,
}

/// Response of an [`Edge`]. Dropping it cancels the request.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    inner: F,
    client: Client,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outer,
    Endpoint,
}

impl EdgeLayer {
    /// The edge towards the client: whatever is still an error becomes a response, and a gRPC body that breaks gets its trailers.
    #[must_use]
    pub const fn outer(told: Told) -> Self {
        Self { told, place: Place::Outer }
    }

    /// The edge of an endpoint: failures of the transport become responses, so that retries, breakers and metrics see them. Other errors, and resets
    /// that an HTTP/2 client is to see, pass.
    #[must_use]
    pub const fn endpoint(told: Told) -> Self {
        Self { told, place: Place::Endpoint }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { inner, layer: *self }
    }
}

impl<S, B> Service<Request<B>> for Edge<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|error| Error::from_boxed(error.into()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = Client::of(&request, self.layer.told);
        ResponseFuture { inner: self.inner.call(request), client, place: self.layer.place }
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let error = match ready!(this.inner.poll(cx)) {
            Ok(response) if *this.place == Place::Outer => return Poll::Ready(Ok(response.map(|body| this.client.body(body)))),
            Ok(response) => return Poll::Ready(Ok(response)),
            Err(error) => Error::from_boxed(error.into()),
        };
        let answers = !this.client.resets(&error) && (*this.place == Place::Outer || error.cause().is_transport());
        Poll::Ready(if answers { Ok(this.client.answer(&error)) } else { Err(error) })
    }
}

#[cfg(test)]
mod tests {
    use http::Version;
    use meshkit_core::Cause;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    async fn through(layer: EdgeLayer, version: Version, error: fn() -> Error) -> Result<Response<Body>, Error> {
        let failing = service_fn(move |_: Request<()>| async move { Err::<Response<Body>, _>(error()) });
        layer.layer(failing).oneshot(Request::builder().version(version).body(()).unwrap()).await
    }

    #[tokio::test]
    async fn an_endpoint_answers_for_its_transport_only() {
        let layer = EdgeLayer::endpoint(Told::Everything);
        assert_eq!(through(layer, Version::HTTP_11, || Error::new(Cause::Io)).await.unwrap().status(), 502);
        assert_eq!(through(layer, Version::HTTP_11, || Error::new(Cause::FailFast)).await.unwrap_err().cause(), &Cause::FailFast);
    }

    #[tokio::test]
    async fn the_outer_edge_answers_for_everything() {
        let layer = EdgeLayer::outer(Told::Everything);
        assert_eq!(through(layer, Version::HTTP_2, || Error::new(Cause::LoadShed)).await.unwrap().status(), 503);
        assert_eq!(through(layer, Version::HTTP_2, || Error::new(Cause::Io)).await.unwrap().status(), 502);
    }

    #[tokio::test]
    async fn a_planned_reset_is_not_answered() {
        let reset = || Error::new(Cause::InjectedReset);
        assert!(through(EdgeLayer::outer(Told::Everything), Version::HTTP_11, reset).await.is_err());
    }
}
