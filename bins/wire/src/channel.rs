//! What carries calls to a controller.

use std::{
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{Request, Response, Uri, uri::Authority, uri::Scheme};
use tonic::body::Body;
use tower::{BoxError, Service, ServiceExt as _, util::BoxCloneSyncService};

/// Sends calls over any HTTP/2 client. Clones share its connections.
#[derive(Clone)]
pub struct Channel {
    inner: BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>,
    authority: Authority,
}

impl Channel {
    /// Calls go through `service`, addressed to `authority`. The service must become ready, or fail, by itself: a call waits for it.
    pub fn new<S, B>(service: S, authority: Authority) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let inner = service.map_err(Into::into).map_response(|response: Response<B>| response.map(Body::new));
        Self { inner: BoxCloneSyncService::new(inner), authority }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(self.authority.clone()));
        match Uri::from_parts(parts) {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => return std::future::ready(Err(error.into())).boxed(),
        }
        self.inner.call(request)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("authority", &self.authority).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_addressed_to_the_controller() {
        let answer = tower::service_fn(|request: Request<Body>| async move {
            assert_eq!(request.uri().path(), "/package.Service/Method");
            Ok::<_, BoxError>(Response::new(request.uri().to_string()))
        });
        let channel = Channel::new(answer, Authority::from_static("policy.linkerd.svc:8090"));
        let request = Request::post("/package.Service/Method").body(Body::empty()).unwrap();
        let body = channel.oneshot(request).await.unwrap().into_body();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        assert_eq!(bytes, "http://policy.linkerd.svc:8090/package.Service/Method");
    }
}
