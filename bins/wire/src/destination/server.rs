//! The server of the destination API.
//!
//! One answer may go to thousands of streams, and a stream may stay silent for days. So answers are taken as bytes that all streams share, and a
//! silent stream holds what waits for the next answer and nothing else: no buffer of its own to encode into.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use linkerd2_proxy_api::destination as proto;
use meshkit_core::{Update, grpc::Code};
use prost::Message as _;
use tower::Service;

use super::{profile_to_bytes, updates_to_bytes};
use crate::{Refused, profile::Profile};

/// The name of the service, which paths begin with.
const NAME: &str = "io.linkerd.proxy.destination.Destination";
/// Questions are short.
const MAX_QUESTION: usize = 64 * 1024;
/// Flag and length before a message.
const HEAD: usize = 5;

/// Answers that follow one another for as long as the client listens.
pub type Answers<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// Answers what the destination API is asked.
pub trait Resolve: Send + Sync + 'static {
    /// The endpoints of `path`, and the labels that all of them have, as seen by the client of `context`.
    ///
    /// # Errors
    /// The path is malformed or names nothing.
    fn endpoints(&self, path: &str, context: &str) -> Result<(Answers<Update>, BTreeMap<String, String>), Refused>;

    /// The profile of `path`, as seen by the client of `context`.
    ///
    /// # Errors
    /// The path is malformed or names nothing.
    fn profile(&self, path: &str, context: &str) -> Result<Answers<Arc<Profile>>, Refused>;

    /// As [`endpoints`](Self::endpoints), in the messages of [`updates_to_bytes`]. Who tells the same to many may share them.
    ///
    /// # Errors
    /// The path is malformed or names nothing.
    fn endpoint_messages(&self, path: &str, context: &str) -> Result<Answers<Bytes>, Refused> {
        let (updates, labels) = self.endpoints(path, context)?;
        Ok(updates.map(move |update| updates_to_bytes(&[update], &labels).into()).boxed())
    }

    /// As [`profile`](Self::profile), in the messages of [`profile_to_bytes`]. Who tells the same to many may share them.
    ///
    /// # Errors
    /// The path is malformed or names nothing.
    fn profile_messages(&self, path: &str, context: &str) -> Result<Answers<Bytes>, Refused> {
        Ok(self.profile(path, context)?.map(|profile| profile_to_bytes(&profile).into()).boxed())
    }
}

/// Serves a resolver over gRPC.
#[must_use]
pub fn server<R: Resolve>(resolve: Arc<R>) -> Server<R> {
    Server(resolve)
}

/// Serves [`Resolve`] over gRPC.
#[derive(Debug)]
pub struct Server<R>(Arc<R>);

/// A response that tells what its stream tells.
struct Told(Option<Answers<Bytes>>);

impl<R: Resolve> Server<R> {
    fn answer(&self, path: &str, question: &proto::GetDestination) -> Result<Answers<Bytes>, Refused> {
        let proto::GetDestination { path: of, context_token, .. } = question;
        match path.strip_prefix('/').and_then(|path| path.strip_prefix(NAME)) {
            Some("/Get") => self.0.endpoint_messages(of, context_token),
            Some("/GetProfile") => self.0.profile_messages(of, context_token),
            _ => Err(Refused::new(Code::UNIMPLEMENTED, format!("{NAME} has no method {path:?}"))),
        }
    }
}

impl<R: Resolve, B> Service<Request<B>> for Server<R>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: fmt::Display,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let answers = question(body).await.and_then(|question| server.answer(head.uri.path(), &question));
            let (body, refused) = match answers {
                Ok(answers) => (tonic::body::Body::new(Told(Some(answers))), None),
                Err(refused) => (tonic::body::Body::empty(), Some(refused)),
            };
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            if let Some(refused) = refused {
                // A message that no header can carry is left out by the library, and the code still says what it must.
                let _ = refused.into_status().add_header(headers);
            }
            Ok(response)
        })
    }
}

impl<R> Clone for Server<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> tonic::server::NamedService for Server<R> {
    const NAME: &'static str = NAME;
}

/// Reads the one message of a request.
async fn question<B>(body: B) -> Result<proto::GetDestination, Refused>
where
    B: Body,
    B::Error: fmt::Display,
{
    let invalid = |what: &dyn fmt::Display| Refused::new(Code::INVALID_ARGUMENT, format!("the request is no message: {what}"));
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(mut data) = frame.map_err(|error| invalid(&error))?.into_data() else { continue };
        if bytes.len() + data.remaining() > MAX_QUESTION {
            let what = format!("the request is longer than {MAX_QUESTION} bytes");
            return Err(Refused::new(Code::RESOURCE_EXHAUSTED, what));
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            bytes.extend_from_slice(chunk);
            let len = chunk.len();
            data.advance(len);
        }
    }
    let (head, message) = bytes.split_first_chunk::<HEAD>().ok_or_else(|| invalid(&"it is too short"))?;
    let [flag, len @ ..] = *head;
    if flag != 0 {
        return Err(Refused::new(Code::UNIMPLEMENTED, "the request is compressed, which nobody offered"));
    }
    if u32::from_be_bytes(len) as usize != message.len() {
        return Err(invalid(&format_args!("{} bytes follow its head, which says {}", message.len(), u32::from_be_bytes(len))));
    }
    proto::GetDestination::decode(message).map_err(|error| invalid(&error))
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let Some(answers) = &mut self.0 else { return Poll::Ready(None) };
            match ready!(answers.as_mut().poll_next(cx)) {
                // What changes nothing for the client is not told.
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => {
                    self.0 = None;
                    let ok = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
                    return Poll::Ready(Some(Ok(Frame::trailers(ok))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt as _, Full};
    use meshkit_core::Endpoint;

    use super::*;

    /// Tells of one endpoint, and of what it was asked.
    struct One;

    impl Resolve for One {
        fn endpoints(&self, path: &str, context: &str) -> Result<(Answers<Update>, BTreeMap<String, String>), Refused> {
            let addr = path.parse().map_err(|_| Refused::new(Code::NOT_FOUND, format!("nobody is called {path} for {context}")))?;
            let updates = [Update::Add(vec![Endpoint::new(addr)]), Update::Remove(vec![addr])];
            Ok((stream::iter(updates).boxed(), BTreeMap::new()))
        }

        fn profile(&self, path: &str, _: &str) -> Result<Answers<Arc<Profile>>, Refused> {
            let profile = Profile { name: Some(path.into()), ..Profile::default() };
            Ok(stream::iter([Arc::new(profile)]).boxed())
        }
    }

    fn asked(path: &str) -> Vec<u8> {
        let question = proto::GetDestination { path: path.to_owned(), context_token: "me".to_owned(), ..Default::default() };
        let message = question.encode_to_vec();
        let mut bytes = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        bytes.extend(message);
        bytes
    }

    async fn call(method: &str, body: Vec<u8>) -> (Option<(u32, String)>, Vec<u8>) {
        let request = Request::post(method).body(Full::new(Bytes::from(body))).unwrap();
        let response = server(Arc::new(One)).call(request).await.unwrap();
        assert!(response.status() == 200 && response.headers()[CONTENT_TYPE] == "application/grpc", "{response:?}");
        let status = |headers: &HeaderMap| {
            let text = |name| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            headers.contains_key("grpc-status").then(|| (text("grpc-status").parse().unwrap(), text("grpc-message").replace("%20", " ")))
        };
        let refused = status(response.headers());
        let body = response.into_body().collect().await.unwrap();
        let ended = body.trailers().and_then(status);
        (refused.or(ended), body.to_bytes().to_vec())
    }

    const GET: &str = "/io.linkerd.proxy.destination.Destination/Get";

    #[tokio::test]
    async fn answers_come_as_messages_and_end_well() {
        let (status, bytes) = call(GET, asked("10.0.0.1:80")).await;
        let addr = "10.0.0.1:80".parse().unwrap();
        let expected = updates_to_bytes(&[Update::Add(vec![Endpoint::new(addr)]), Update::Remove(vec![addr])], &BTreeMap::new());
        assert_eq!((status, bytes), (Some((0, String::new())), expected));
        let (status, bytes) = call("/io.linkerd.proxy.destination.Destination/GetProfile", asked("web")).await;
        let expected = profile_to_bytes(&Profile { name: Some("web".into()), ..Profile::default() });
        assert_eq!((status, bytes), (Some((0, String::new())), expected));
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_refused_at_once() {
        let compressed = [&[1][..], &asked("x")[1..]].concat();
        let table = [
            (GET, asked("nobody"), 5, "nobody is called nobody for me"),
            ("/io.linkerd.proxy.destination.Destination/Other", asked("x"), 12, "has no method"),
            ("/other", asked("x"), 12, "has no method"),
            (GET, Vec::new(), 3, "too short"),
            (GET, asked("x")[..4].to_vec(), 3, "too short"),
            (GET, asked("x")[..7].to_vec(), 3, "2 bytes follow its head"),
            (GET, vec![0, 0, 0, 0, 1, 0xff], 3, "is no message"),
            (GET, compressed, 12, "compressed"),
            (GET, vec![0; MAX_QUESTION + 1], 8, "longer than"),
        ];
        for (method, body, code, text) in table {
            let (status, bytes) = call(method, body).await;
            let (seen, message) = status.unwrap();
            assert_eq!((seen, bytes.len()), (code, 0), "{message}");
            assert!(message.contains(text), "{text:?} is not in {message:?}");
        }
    }
}
