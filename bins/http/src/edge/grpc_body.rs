use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use meshkit_core::{
    Error,
    grpc::{self, GRPC_MESSAGE, GRPC_STATUS},
};
use pin_project::pin_project;

use super::{Told, UNEXPECTED, reset_reason};
use crate::{Body, BoxError, hop};

/// A gRPC response's body. If it fails, it ends with trailers that say so; the reset of an endpoint goes on as the same reset.
#[pin_project]
#[derive(Debug)]
pub struct GrpcBody {
    #[pin]
    inner: Inner,
    told: Told,
}

#[pin_project(project = InnerProj)]
#[derive(Debug)]
enum Inner {
    Ended,
    Incoming(#[pin] Incoming),
    Boxed(#[pin] UnsyncBoxBody<Bytes, BoxError>),
}

impl GrpcBody {
    pub(super) fn wrap(body: Body, told: Told) -> Body {
        let inner = match body {
            // What is at hand cannot fail.
            Body::Empty | Body::Full(_) | Body::Grpc(_) => return body,
            Body::Incoming(body) => Inner::Incoming(body),
            Body::Boxed(body) => Inner::Boxed(body),
            // HTTP/1 does not carry gRPC; if it does, it may cost a box.
            other @ (Body::Leased(..) | Body::Received(..)) => Inner::Boxed(UnsyncBoxBody::new(other)),
        };
        Body::Grpc(Self { inner, told })
    }
}

impl HttpBody for GrpcBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let frame = match this.inner.as_mut().project() {
            InnerProj::Ended => None,
            InnerProj::Incoming(body) => ready!(body.poll_frame(cx)).map(|frame| frame.map_err(Into::into)),
            InnerProj::Boxed(body) => ready!(body.poll_frame(cx)),
        };
        let Some(Err(error)) = frame else { return Poll::Ready(frame) };
        this.inner.set(Inner::Ended);
        if reset_reason(error.as_ref()).is_some() {
            return Poll::Ready(Some(Err(error)));
        }
        let error = match error.downcast::<hyper::Error>() {
            Ok(error) => super::classify(*error),
            Err(error) => Error::from_boxed(error),
        };
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&error, *this.told)))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Ended => true,
            Inner::Incoming(body) => body.is_end_stream(),
            Inner::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        // Trailers may follow instead of the rest: no length is promised.
        SizeHint::new()
    }
}

fn trailers(error: &Error, told: Told) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(3);
    trailers.insert(GRPC_STATUS, error.cause().answer().code.header_value());
    if told == Told::Everything {
        let text = error.to_string();
        trailers.insert(GRPC_MESSAGE, grpc::encode_message(&text));
        trailers.insert(hop::L5D_PROXY_ERROR, HeaderValue::try_from(text).unwrap_or(UNEXPECTED));
    }
    trailers
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use meshkit_core::Cause;

    use super::*;

    fn failing(error: impl Into<BoxError>) -> Body {
        let frames = [Ok(Frame::data(Bytes::from_static(b"a"))), Err::<_, BoxError>(error.into())];
        Body::wrap(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_broken_response_ends_with_a_status() {
        let body = GrpcBody::wrap(failing(Error::new(Cause::FailFast)), Told::Everything);
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "4");
        assert!(trailers.contains_key("grpc-message"));
        assert_eq!(collected.to_bytes(), "a");
    }

    #[tokio::test]
    async fn an_outsider_learns_the_status_only() {
        let body = GrpcBody::wrap(failing(Error::new(Cause::Io)), Told::Status);
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap().len(), 1);
    }

    #[test]
    fn a_broken_body_that_has_been_told_is_over() {
        assert!(matches!(GrpcBody::wrap(Body::from("x"), Told::Status), Body::Full(_)));
        assert!(matches!(GrpcBody::wrap(failing(Error::new(Cause::Io)), Told::Status), Body::Grpc(_)));
    }
}
