//! The server behind the inbound proxies: the same for every peer, and not counted.
//!
//! Its HTTP port speaks HTTP/1 and HTTP/2 without TLS. `/` is answered by 32 bytes, `/bytes/N` by N. A gRPC request is answered by one message
//! of 32 bytes and status 0. `/count` says how many requests came before, without those for `/count`. The TCP port does what the first nine bytes say, see [`tcp`].

use std::{cell::Cell, convert::Infallible, io, net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::tcp;

/// What `/` is answered by.
pub const SMALL: &[u8; 32] = b"thirty-two bytes, neither more..";

/// How a server behaves.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Server {
    /// Where HTTP is served
    #[arg(long)]
    pub http: SocketAddr,
    /// Where TCP is served
    #[arg(long)]
    pub tcp: SocketAddr,
    /// How long each response takes, in milliseconds
    #[arg(long, default_value_t = 0)]
    pub delay: u64,
    /// How many responses of a hundred are 503
    #[arg(long, default_value_t = 0)]
    pub failures: u64,
}

/// Which responses fail: a sequence that looks random and is the same in each run.
#[derive(Debug)]
struct Behavior {
    delay: Duration,
    failures: u64,
    state: Cell<u64>,
    count: Cell<u64>,
}

impl Behavior {
    fn fails(&self) -> bool {
        // Xorshift of Marsaglia, 2003.
        let mut x = self.state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.set(x);
        x % 100 < self.failures
    }
}

impl Server {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// A port cannot be bound.
    pub async fn run(self) -> io::Result<()> {
        let (http, tcp) = (TcpListener::bind(self.http).await?, TcpListener::bind(self.tcp).await?);
        let seed = u64::from(self.http.port()) * 0x9e37_79b9 + 1;
        let behavior = Rc::new(Behavior {
            delay: Duration::from_millis(self.delay),
            failures: self.failures,
            state: Cell::new(seed),
            count: Cell::new(0),
        });
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async move {
                let mut connections = JoinSet::new();
                loop {
                    tokio::select! {
                        Ok((stream, _)) = http.accept() => { connections.spawn_local(serve(stream, Rc::clone(&behavior))); }
                        Ok((stream, _)) = tcp.accept() => { connections.spawn_local(tcp::serve(stream)); }
                        Some(_) = connections.join_next() => {}
                    }
                }
            })
            .await
    }
}

async fn serve(stream: TcpStream, behavior: Rc<Behavior>) {
    let _ = stream.set_nodelay(true);
    let mut start = [0; 3];
    let is_http2 = matches!(stream.peek(&mut start).await, Ok(3)) && &start == b"PRI";
    let service = service_fn(move |request| answer(request, Rc::clone(&behavior)));
    let io = TokioIo::new(stream);
    // A peer that goes away is no news to a server under load.
    if is_http2 {
        let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service).await;
    }
}

/// Spawns on the thread of the caller: nothing here is `Send`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn answer(request: Request<Incoming>, behavior: Rc<Behavior>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let path = request.uri().path();
    let length = path.strip_prefix("/bytes/").and_then(|n| n.parse::<usize>().ok());
    let is_grpc = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if path == "/count" {
        return Ok(Response::new(Full::from(behavior.count.get().to_string()).boxed()));
    }
    behavior.count.set(behavior.count.get() + 1);
    // The request is read whole, as a handler would.
    let _ = request.into_body().collect().await;
    if !behavior.delay.is_zero() {
        tokio::time::sleep(behavior.delay).await;
    }
    if behavior.fails() {
        return Ok(Response::builder()
            .status(StatusCode::SERVICE_UNAVAILABLE)
            .body(Full::default().boxed())
            .expect("a status alone makes a response"));
    }
    let response = if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let message = [&[0, 0, 0, 0, 32], SMALL.as_slice()].concat();
        let body = Full::new(Bytes::from(message)).with_trailers(async move { Some(Ok(trailers)) });
        Response::builder().header(header::CONTENT_TYPE, "application/grpc").body(body.boxed())
    } else {
        let body = length.map_or(Bytes::from_static(SMALL), |n| Bytes::from(vec![b'x'; n]));
        Response::builder().header(header::CONTENT_TYPE, "text/plain").body(Full::new(body).boxed())
    };
    Ok(response.expect("constant headers make a response"))
}
