//! The one body type of the request path.

use std::{
    any::Any,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use pin_project::pin_project;

use crate::{BoxError, client::Lease, edge::GrpcBody, server::BodyEnd};

/// A request's or response's body. Only what a layer wrapped is boxed; what hyper received is passed on as it is.
#[pin_project(project = BodyProj)]
#[derive(Debug, Default)]
#[allow(clippy::exhaustive_enums)] // Matched nowhere else.
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Bytes at hand.
    Full(Option<Bytes>),
    /// What a connection receives.
    Incoming(#[pin] hyper::body::Incoming),
    /// What a server receives over HTTP/1; the server hears of its end.
    Received(#[pin] hyper::body::Incoming, BodyEnd),
    /// What a layer made of another body.
    Boxed(#[pin] UnsyncBoxBody<Bytes, BoxError>),
    /// What a pooled connection receives; the connection returns to its pool at the end.
    Leased(#[pin] hyper::body::Incoming, Lease),
    /// A gRPC response, whose failure becomes trailers.
    Grpc(#[pin] GrpcBody),
}

impl Body {
    /// Erases a body's type. A `Body` and an [`Incoming`](hyper::body::Incoming) are not boxed, nor is what has ended already.
    #[must_use]
    pub fn wrap<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::Empty;
        }
        let mut body = Some(body);
        // Both questions are about types, and are answered when the program is built.
        let any: &mut dyn Any = &mut body;
        if let Some(body) = any.downcast_mut::<Option<Self>>() {
            return body.take().unwrap_or_default();
        }
        if let Some(body) = any.downcast_mut::<Option<hyper::body::Incoming>>() {
            return body.take().map_or(Self::Empty, Self::Incoming);
        }
        match body {
            Some(body) => Self::Boxed(body.map_err(Into::into).boxed_unsync()),
            None => Self::Empty,
        }
    }
}

impl From<hyper::body::Incoming> for Body {
    fn from(body: hyper::body::Incoming) -> Self {
        Self::Incoming(body)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes)) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            BodyProj::Empty => Poll::Ready(None),
            BodyProj::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            BodyProj::Incoming(body) => body.poll_frame(cx).map_err(Into::into),
            BodyProj::Received(mut body, end) => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                // Not everybody asks again after the last byte.
                if frame.is_none() || body.is_end_stream() {
                    end.tell();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            BodyProj::Boxed(body) => body.poll_frame(cx),
            BodyProj::Leased(body, lease) => {
                let frame = ready!(body.poll_frame(cx));
                if frame.is_none() {
                    lease.give_back();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            BodyProj::Grpc(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Incoming(body) => body.is_end_stream(),
            Self::Received(body, _) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
            Self::Leased(body, _) => body.is_end_stream(),
            Self::Grpc(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Incoming(body) => body.size_hint(),
            Self::Received(body, _) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
            Self::Leased(body, _) => body.size_hint(),
            Self::Grpc(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;

    #[test]
    fn only_what_is_foreign_and_alive_is_boxed() {
        assert!(matches!(Body::wrap(Empty::<Bytes>::new()), Body::Empty));
        assert!(matches!(Body::wrap(Body::from("text")), Body::Full(Some(_))));
        assert!(matches!(Body::wrap(Full::new(Bytes::from_static(b"text"))), Body::Boxed(_)));
    }

    #[test]
    fn the_length_is_known_as_long_as_it_was() {
        assert_eq!(Body::wrap(Full::new(Bytes::from_static(b"text"))).size_hint().exact(), Some(4));
        assert_eq!(Body::from("text").size_hint().exact(), Some(4));
        assert_eq!(Body::Empty.size_hint().exact(), Some(0));
    }

    #[test]
    fn a_body_is_small_enough_to_be_moved() {
        assert!(size_of::<Body>() <= 80, "{}", size_of::<Body>());
    }

    #[tokio::test]
    async fn trailers_pass() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let frames = [Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"a"))), Ok(Frame::trailers(trailers.clone()))];
        let body = Body::wrap(StreamBody::new(futures_util::stream::iter(frames)));
        assert!(!body.is_end_stream());
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "a");
    }
}
