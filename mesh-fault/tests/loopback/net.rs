//! A server as simple as one can be, with an edge that turns failures into responses and resets, and its clients.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    process::Stdio,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::iter;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshkit_core::{
    Cause, Error, Identity,
    grpc::{Code, GRPC_STATUS},
};
use meshkit_fault::FaultLayer;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};
use tower::{Layer, Service, ServiceExt};

/// Bytes in the body of each response.
pub(crate) const BODY: usize = 32 << 10;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// How a client ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The service behind the trouble: a body and a trailer.
#[derive(Clone)]
struct App;

impl<B> Service<Request<B>> for App {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("7"));
        // Of unknown length, for HTTP/1 has trailers only then.
        let body = StreamBody::new(iter([Frame::data(Bytes::from(vec![b'x'; BODY])), Frame::trailers(trailers)].map(Ok)));
        let mut response = Response::new(body.boxed_unsync());
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
        ready(Ok(response))
    }
}

/// Serves on a port of the loopback for as long as the test runs; gives the address as a URL.
pub(crate) async fn serve(http: Http, layer: FaultLayer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(connection(http, io, layer.clone()));
        }
    });
    url
}

async fn connection(http: Http, io: TcpStream, layer: FaultLayer) {
    let faulty = layer.layer(App);
    let service = service_fn(move |mut request: Request<Incoming>| {
        // Stands for what a handshake has proved.
        let client = request.headers().get("x-client").and_then(|client| client.to_str().ok()?.parse::<Identity>().ok());
        client.map(|client| request.extensions_mut().insert(client));
        let faulty = faulty.clone();
        // Boxed because the connection has to give back its socket.
        Box::pin(async move { faulty.oneshot(request).await.map(|response| response.map(BodyExt::boxed_unsync)).or_else(edge) })
    });
    let io = TokioIo::new(io);
    match http {
        Http::One => {
            let mut connection = conn::http1::Builder::new().serve_connection(io, service);
            let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
            let is_reset = |error: hyper::Error| Error::find(&error).map(Error::cause) == Some(&Cause::InjectedReset);
            if ended.is_err_and(is_reset) {
                let io = connection.into_parts().io.into_inner();
                // Closing without lingering sends a reset.
                socket2::SockRef::from(&io).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
        // hyper resets the stream of a request whose service fails.
        Http::Two => drop(conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await),
    }
}

/// What the outer edge of a stack does with a failure.
fn edge(error: Error) -> Result<Response<Body>, Error> {
    let answer = error.cause().answer();
    if error.cause() == &Cause::InjectedReset {
        return Err(error);
    }
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = answer.status;
    if answer.code != Code::FAILED_PRECONDITION {
        response.headers_mut().insert(GRPC_STATUS, answer.code.header_value());
    }
    Ok(response)
}

pub(crate) async fn curl(http: Http, arguments: &[&str]) -> Answer {
    let version = if http == Http::One { "--http1.1" } else { "--http2-prior-knowledge" };
    run(Command::new("curl").args(["-sS", "--noproxy", "*", "--max-time", "60", version]).args(arguments)).await
}

/// All frames of one HTTP/2 connection that carries a request for each URL.
pub(crate) async fn nghttp(urls: &[String]) -> Answer {
    run(Command::new("nghttp").args(["--verbose", "--null-out", "--timeout", "60"]).args(urls)).await
}

async fn run(command: &mut Command) -> Answer {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answer { exit: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
