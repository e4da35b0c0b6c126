//! Real servers and clients on the loopback: hyper and h2 at the other end.

use std::{
    error::Error as StdError,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::HeaderMap};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn, server, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshkit_core::{
    Cause, Dice, Error,
    grpc::{Code, GRPC_STATUS},
};
use meshkit_retry::{Conditions, NotSent, Params, Plan, Refused, RetryLayer};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

/// What a server saw: the head and the body of each request, in order.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Seen {
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn headers(&self, n: usize) -> HeaderMap {
        self.0.lock().unwrap()[n].0.clone()
    }

    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }
}

/// Protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// A hyper server that reads the whole of each request, and answers request `n`, counted from 0; without an answer it closes the connection.
pub(crate) async fn serve(http: Http, answer: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (seen, answer) = (Seen::default(), Arc::new(answer));
    let noted = seen.clone();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let (seen, answer) = (noted.clone(), Arc::clone(&answer));
            let service = service_fn(move |request: Request<Incoming>| {
                let (seen, answer) = (seen.clone(), Arc::clone(&answer));
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map_err(|_| "the client went away")?.to_bytes();
                    let n = {
                        let mut seen = seen.0.lock().unwrap();
                        seen.push((head.headers, body));
                        seen.len() - 1
                    };
                    answer(n).ok_or("no answer")
                }
            });
            tokio::spawn(async move {
                let io = TokioIo::new(io);
                match http {
                    Http::One => drop(server::conn::http1::Builder::new().serve_connection(io, service).await),
                    Http::Two => drop(server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await),
                }
            });
        }
    });
    (addr, seen)
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Sends each request over a connection of its own, to one endpoint after the other.
#[derive(Clone)]
pub(crate) struct Client {
    http: Http,
    endpoints: Arc<[SocketAddr]>,
    turn: Arc<AtomicUsize>,
}

pub(crate) fn client(http: Http, endpoints: impl Into<Arc<[SocketAddr]>>) -> Client {
    Client { http, endpoints: endpoints.into(), turn: Arc::default() }
}

impl<B> Service<Request<B>> for Client
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (endpoint, http) = (self.endpoints[turn % self.endpoints.len()], self.http);
        Box::pin(async move {
            let unsent = |_| Error::new(Cause::Io).message("connection refused").caused_by(NotSent);
            let io = TokioIo::new(TcpStream::connect(endpoint).await.map_err(unsent)?);
            match http {
                Http::One => {
                    let (mut send, connection) = conn::http1::handshake(io).await.map_err(failed)?;
                    tokio::spawn(connection);
                    send.send_request(request).await.map_err(failed)
                }
                Http::Two => {
                    let (mut send, connection) = conn::http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
                    tokio::spawn(connection);
                    send.send_request(request).await.map_err(failed)
                }
            }
        })
    }
}

/// What a transport of the mesh says about a failure.
pub(crate) fn failed(error: hyper::Error) -> Error {
    let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(source) = next {
        if source.downcast_ref::<h2::Error>().and_then(h2::Error::reason) == Some(h2::Reason::REFUSED_STREAM) {
            return Error::new(Cause::Unexpected).caused_by(Refused);
        }
        next = source.source();
    }
    Error::new(Cause::Io).caused_by(error)
}

/// Retries for these statuses and codes.
pub(crate) fn params(max_retries: u32, statuses: &str, codes: &str) -> Params {
    let list = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let conditions = Conditions {
        statuses: list(statuses).map(|text| text.parse().unwrap()).unwrap_or_default(),
        codes: list(codes).map(|text| text.parse().unwrap()).unwrap_or_default(),
    };
    Params { max_retries, conditions, ..Params::DEFAULT }
}

pub(crate) fn retry(plan: impl Into<Plan>) -> RetryLayer {
    RetryLayer::new(plan.into(), Dice::new(1))
}

pub(crate) fn get() -> Request<Empty<Bytes>> {
    Request::get("http://web.test/").header("host", "web.test").body(Empty::new()).unwrap()
}

pub(crate) fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("http://web.test/").header("host", "web.test").body(Full::new(body.into())).unwrap()
}

pub(crate) fn grpc(message: &'static [u8]) -> Request<Full<Bytes>> {
    let request = Request::post("http://web.test/a.B/C").header("content-type", "application/grpc").header("te", "trailers");
    request.body(Full::new(Bytes::from_static(message))).unwrap()
}

pub(crate) fn status(status: u16, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A response whose code is in the head.
pub(crate) fn trailers_only(code: Code) -> Reply {
    let response = Response::builder().header("content-type", "application/grpc").header(GRPC_STATUS, code.header_value());
    response.body(Empty::new().boxed_unsync()).unwrap()
}

/// A response with a message, and its code in the trailers.
pub(crate) fn message(data: &'static [u8], code: Code) -> Reply {
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, code.header_value())]);
    let body = Full::new(Bytes::from_static(data)).with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(body.boxed_unsync()).unwrap()
}
