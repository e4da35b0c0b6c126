//! A gRPC server without a gRPC library: whatever it is asked, it keeps, and answers with the bytes it was given.

use std::{
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::oneshot,
};

/// Serves until it is dropped.
pub(crate) struct Grpc {
    calls: Calls,
    _stop: oneshot::Sender<()>,
}

/// A call: its path, its headers and its message, as it was framed.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) message: Vec<u8>,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// What every call is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// One message, and the end.
    Once(Vec<u8>),
    /// One message, and silence.
    Streaming(Vec<u8>),
}

impl Grpc {
    pub(crate) fn on_tcp(addr: std::net::SocketAddr, answer: Answer) -> Self {
        let listener = std::net::TcpListener::bind(addr).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::run(async move |calls| {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(serve(io, answer.clone(), Arc::clone(&calls)));
            }
        })
    }

    pub(crate) fn on_unix(path: &Path, answer: Answer) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::run(async move |calls| {
            let listener = UnixListener::from_std(listener).unwrap();
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(serve(io, answer.clone(), Arc::clone(&calls)));
            }
        })
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn run(accept: impl AsyncFnOnce(Calls) + Send + 'static) -> Self {
        let calls = Calls::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let kept = Arc::clone(&calls);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(kept) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { calls, _stop: stop }
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answer: Answer, calls: Calls) {
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (answer, calls) = (answer.clone(), Arc::clone(&calls));
        async move {
            let (head, body) = request.into_parts();
            let message = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            calls.lock().unwrap().push(Call { path: head.uri.path().to_owned(), headers: head.headers, message });
            let (message, ends) = match answer {
                Answer::Once(message) => (message, true),
                Answer::Streaming(message) => (message, false),
            };
            let mut framed = vec![0];
            framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            framed.extend(message);
            let data = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(framed)))]);
            let end = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())]);
            let rest = if ends { stream::iter([Ok(Frame::trailers(end))]).boxed() } else { stream::pending().boxed() };
            Ok::<_, Infallible>(
                Response::builder().header("content-type", "application/grpc").body(StreamBody::new(data.chain(rest))).unwrap(),
            )
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service).await;
}
