//! The retry layer as a state machine: a script of tries, a stopped clock.

mod backoff;
mod budget;
mod outcomes;
mod replay;
mod time;
mod unsent;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty};
use meshkit_core::{
    Cause, Dice, Error,
    grpc::{Code, GRPC_STATUS},
};
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;
use tower_layer::Layer as _;
use tower_service::Service;

use crate::{CodeSet, Conditions, Limits, Observe, Params, PeekBody, Plan, RetryLayer, StatusRanges};

/// One try, as it will go.
struct Try {
    read: Read,
    wait: Duration,
    end: Result<Response<Reply>, Error>,
}

/// What a server does with a request's body before it answers.
enum Read {
    All,
    /// It drops the body.
    Nothing,
    /// It keeps the body, to read on when it has answered.
    Later,
}

/// The body of a response: these frames, and then its end, or nothing ever.
#[derive(Debug, Default)]
struct Reply {
    frames: VecDeque<Frame<Bytes>>,
    stays_open: bool,
}

/// A service that follows a script, and answers 200 when it has ended.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    tries: VecDeque<Try>,
    seen: Vec<Seen>,
    /// Of these bodies nobody has read yet.
    kept: Vec<Box<dyn Send>>,
    /// From this many calls on, it is not ready.
    busy_after: Option<usize>,
}

/// What a try looked like from the server.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    headers: HeaderMap,
    limits: Option<Limits>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Try {
    fn new(end: Result<Response<Reply>, Error>) -> Self {
        Self { read: Read::All, wait: Duration::ZERO, end }
    }

    fn status(status: u16) -> Self {
        let mut response = Response::new(Reply::default());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Self::new(Ok(response))
    }

    fn fails(cause: Cause) -> Self {
        Self::new(Err(Error::new(cause)))
    }

    /// An HTTP/2 response with these frames.
    fn frames(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        let mut response = Response::new(Reply { frames: frames.into_iter().collect(), stays_open: false });
        *response.version_mut() = Version::HTTP_2;
        Self::new(Ok(response))
    }

    fn map(mut self, change: impl FnOnce(&mut Response<Reply>)) -> Self {
        change(self.end.as_mut().unwrap());
        self
    }

    fn stays_open(self) -> Self {
        self.map(|response| response.body_mut().stays_open = true)
    }

    fn after(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    fn read(mut self, read: Read) -> Self {
        self.read = read;
        self
    }
}

impl Server {
    fn new(tries: impl IntoIterator<Item = Try>) -> Self {
        let server = Self::default();
        server.0.lock().unwrap().tries.extend(tries);
        server
    }

    fn busy_after(self, calls: usize) -> Self {
        self.0.lock().unwrap().busy_after = Some(calls);
        self
    }

    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().seen.len()
    }
}

impl<B> Service<Request<B>> for Server
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Send,
{
    type Response = Response<Reply>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Reply>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let script = self.0.lock().unwrap();
        if script.busy_after.is_some_and(|calls| script.seen.len() >= calls) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let (Try { read, wait, end }, n) = {
            let mut script = self.0.lock().unwrap();
            let limits = head.extensions.get().copied();
            script.seen.push(Seen { at: Instant::now(), headers: head.headers, limits, body: Vec::new(), trailers: None });
            (script.tries.pop_front().unwrap_or_else(|| Try::status(200)), script.seen.len() - 1)
        };
        let server = self.clone();
        Box::pin(async move {
            match read {
                Read::All => {
                    let Ok(whole) = body.collect().await else { return Err(Error::new(Cause::Canceled)) };
                    let mut script = server.0.lock().unwrap();
                    script.seen[n].trailers = whole.trailers().cloned();
                    script.seen[n].body = whole.to_bytes().to_vec();
                }
                Read::Nothing => drop(body),
                Read::Later => server.0.lock().unwrap().kept.push(Box::new(body)),
            }
            sleep(wait).await;
            end
        })
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.frames.pop_front() {
            None if self.stays_open => Poll::Pending,
            frame => Poll::Ready(frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && !self.stays_open
    }
}

/// Writes down what it hears.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn notes(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observe for Heard {
    fn retry(&self, n: u32) {
        self.note(format!("retry {n}"));
    }
    fn resent(&self) {
        self.note("resent");
    }
    fn over_budget(&self) {
        self.note("over budget");
    }
    fn limit_exceeded(&self) {
        self.note("limit exceeded");
    }
    fn overflow(&self) {
        self.note("overflow");
    }
    fn success(&self) {
        self.note("success");
    }
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

fn trailers(code: Code) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(GRPC_STATUS, code.header_value())]))
}

/// Retries for 5xx and UNAVAILABLE.
fn params(max_retries: u32) -> Params {
    let conditions = Conditions { statuses: StatusRanges::new(vec![500..=599]), codes: CodeSet::new([Code::UNAVAILABLE]) };
    Params { max_retries, conditions, ..Params::DEFAULT }
}

fn layer(plan: impl Into<Plan>) -> RetryLayer {
    RetryLayer::new(plan.into(), Dice::new(7))
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("http://web.ns/").body(Empty::new()).unwrap()
}

fn grpc(timeout: Option<&'static str>) -> Request<Empty<Bytes>> {
    let mut request = Request::post("http://web.ns/a.B/C").header("content-type", "application/grpc").body(Empty::new()).unwrap();
    request.headers_mut().extend(timeout.map(|text| (crate::deadline::GRPC_TIMEOUT, HeaderValue::from_static(text))));
    request
}

/// Sends a request, and tells what was answered and heard.
async fn send<B>(layer: RetryLayer, server: &Server, request: Request<B>) -> (Result<Response<PeekBody<Reply>>, Error>, Vec<String>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Send,
{
    let heard = Heard::default();
    let answer = layer.observe(heard.clone()).layer(server.clone()).oneshot(request).await;
    (answer, heard.notes())
}

/// The status of the answer.
async fn status(layer: RetryLayer, server: &Server) -> u16 {
    send(layer, server, get()).await.0.unwrap().status().as_u16()
}
