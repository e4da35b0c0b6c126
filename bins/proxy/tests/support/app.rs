//! The application behind the proxy: it answers in HTTP/1, HTTP/2 or with an echo, and keeps what it was sent.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// Serves until it is dropped.
pub(crate) struct App {
    received: Arc<Mutex<Vec<u8>>>,
    _stop: oneshot::Sender<()>,
}

impl App {
    pub(crate) fn start(addr: SocketAddr) -> Self {
        let received = Arc::new(Mutex::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (keep, listens) = (Arc::clone(&received), std::net::TcpListener::bind(addr).unwrap());
        listens.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listens).unwrap();
                let accept = async {
                    while let Ok((io, _)) = listener.accept().await {
                        tokio::spawn(serve(io, Arc::clone(&keep)));
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Self { received, _stop: stop }
    }

    /// All bytes that came over connections that are not HTTP/2.
    pub(crate) fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }
}

async fn serve(mut io: TcpStream, keep: Arc<Mutex<Vec<u8>>>) {
    let mut front = [0; 3];
    if matches!(io.peek(&mut front).await, Ok(3)) && &front == b"PRI" {
        let answer = hyper::service::service_fn(|_: Request<hyper::body::Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), answer).await;
        return;
    }
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = io.read(&mut buffer).await {
        keep.lock().unwrap().extend_from_slice(&buffer[..read]);
        seen.extend_from_slice(&buffer[..read]);
        while let Some(length) = request_length(&seen) {
            seen.drain(..length);
            if io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                return;
            }
        }
    }
}

/// How long the first request is, once it is complete. A server of the old school: it believes what it reads.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let head = text.find("\r\n\r\n")? + 4;
    if text[..head].contains("transfer-encoding: chunked") {
        return text[head..].find("0\r\n\r\n").map(|end| head + end + 5);
    }
    let body = text[..head].split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok()).unwrap_or(0);
    (bytes.len() >= head + body).then_some(head + body)
}
