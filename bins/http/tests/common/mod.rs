//! A proxy of one hop or two, an origin server that is a script on a TCP socket, and a client that is one, too.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response, StatusCode, Version};
use meshkit_core::{Cause, Error, drain};
use meshkit_http::{
    Body,
    client::{Connect, Connection, Pool, PoolSettings},
    detect::{self, Detected, Prefixed},
    edge::{EdgeLayer, Told},
    hop, normalize, orig_proto, server, upgrade,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
};
use tower::{Layer as _, Service, ServiceExt as _};

#[derive(Clone, Copy, Debug)]
pub struct Dial(pub SocketAddr);

impl Service<()> for Dial {
    type Response = TcpStream;
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<TcpStream, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let addr = self.0;
        Box::pin(async move {
            TcpStream::connect(addr).await.map_err(|e| Error::new(Cause::Io).message(format!("connect to {addr}: {e}")).caused_by(e))
        })
    }
}

/// What a scripted server has seen: the number of the connection, and the head of the request.
pub type Seen = Arc<Mutex<Vec<(usize, String)>>>;

/// A server on a bare socket: each head is answered by what `script` says; an empty answer, or `close` in one, closes the connection.
pub async fn origin(script: impl Fn(&str) -> String + Send + Sync + 'static) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (seen, script) = (Seen::default(), Arc::new(script));
    let heads = Arc::clone(&seen);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut io, _) = listener.accept().await.unwrap();
            let (heads, script) = (Arc::clone(&heads), Arc::clone(&script));
            tokio::spawn(async move {
                while let Some(head) = read_head(&mut io).await {
                    let answer = script(&head);
                    heads.lock().unwrap().push((number, head));
                    if io.write_all(answer.as_bytes()).await.is_err() || answer.is_empty() || answer.contains("connection: close") {
                        return;
                    }
                    if answer.starts_with("HTTP/1.1 101") || answer.contains("x-tunnel") {
                        let (mut read, mut write) = io.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                        let _ = write.shutdown().await;
                        return;
                    }
                }
            });
        }
    });
    (addr, seen)
}

/// Up to the empty line, and the body if its length is told.
pub async fn read_head(io: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
        bytes.push(io.read_u8().await.ok()?);
    }
    let mut text = String::from_utf8(bytes).unwrap();
    if let Some(len) = text.to_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ").map(|v| v.trim().parse().unwrap())) {
        let mut body = vec![0; len];
        io.read_exact(&mut body).await.ok()?;
        text.push_str(&String::from_utf8(body).unwrap());
    }
    Some(text)
}

/// How a proxy reaches the next hop.
#[derive(Clone)]
pub enum Next {
    /// In the version of the request.
    AsIs(SocketAddr),
    /// HTTP/1 over HTTP/2.
    Mesh(Connection),
}

struct Proxy {
    next: Next,
    pool: Option<Pool<Dial>>,
    drain: drain::Watch,
}

/// Starts a proxy.
pub async fn proxy(next: Next, settings: server::Settings, drain: drain::Watch) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let pool = match &next {
        Next::AsIs(origin) => Some(Pool::new(Dial(*origin), PoolSettings::default())),
        Next::Mesh(_) => None,
    };
    let proxy = Arc::new(Proxy { next, pool, drain: drain.clone() });
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let (proxy, settings, drain) = (Arc::clone(&proxy), settings.clone(), drain.clone());
            tokio::spawn(async move {
                let (detected, prefix) = detect::detect(&mut io, Duration::from_secs(10)).await.unwrap();
                let Detected::Http(version) = detected else { return };
                let service = tower::service_fn(move |request| {
                    let proxy = Arc::clone(&proxy);
                    async move { proxy.call(request).await }
                });
                let service = EdgeLayer::outer(Told::Everything).layer(service);
                let _ = server::serve(Prefixed::new(prefix, io), version, service, &settings, drain).await;
            });
        }
    });
    addr
}

/// A proxy of one hop.
pub async fn one_hop(origin: SocketAddr) -> SocketAddr {
    let (signal, watch) = drain::channel();
    std::mem::forget(signal);
    proxy(Next::AsIs(origin), server::Settings::default(), watch).await
}

/// A client's proxy and a server's, HTTP/2 between them.
pub async fn two_hops(origin: SocketAddr) -> SocketAddr {
    let inbound = one_hop(origin).await;
    let connection = Connect::new(Dial(inbound), Default::default()).oneshot(()).await.unwrap();
    let (signal, watch) = drain::channel();
    std::mem::forget(signal);
    proxy(Next::Mesh(connection), server::Settings::default(), watch).await
}

impl Proxy {
    async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        if normalize::check_target(&request).is_err() {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(response);
        }
        normalize::mark_absolute_form(&mut request);
        let upgraded = orig_proto::downgrade(&mut request);
        normalize::set_authority(&mut request, None)?;
        let pending = upgrade::Pending::of(&mut request);
        if pending.is_none() {
            hop::strip_connection_headers(request.headers_mut());
        }
        let version = request.version();
        let mut response = match (&self.next, &self.pool) {
            (Next::Mesh(connection), _) => {
                let original = orig_proto::upgrade(&mut request);
                let sent = connection.clone().oneshot(request).await;
                let mut response = if original.is_some() { sent.map_err(orig_proto::downgrade_error)? } else { sent? };
                if let Some(version) = original {
                    orig_proto::restore(&mut response, version);
                }
                response
            }
            (Next::AsIs(_), Some(pool)) if version < Version::HTTP_2 => pool.clone().oneshot(request).await?,
            (Next::AsIs(origin), _) => {
                let connection = Connect::new(Dial(*origin), Default::default()).oneshot(()).await?;
                connection.oneshot(request).await?
            }
        };
        match pending {
            Some(pending) => pending.join(&mut response, self.drain.clone()),
            None => hop::strip_connection_headers(response.headers_mut()),
        }
        if upgraded == orig_proto::Upgraded::Yes {
            orig_proto::tell(&mut response);
        }
        Ok(response)
    }
}

/// Runs curl, and returns what it prints.
pub async fn curl(args: &[&str]) -> String {
    let out = Command::new("curl").args(["-sS", "-i", "--max-time", "10", "--noproxy", "*"]).args(args).output().await.unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    format!("{}{errors}", String::from_utf8_lossy(&out.stdout)).to_lowercase()
}

/// Says something on a bare connection, and returns everything that comes until the end.
pub async fn say(addr: SocketAddr, text: &str) -> String {
    let mut io = TcpStream::connect(addr).await.unwrap();
    io.write_all(text.as_bytes()).await.unwrap();
    io.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(10), io.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer.to_lowercase()
}

/// The heads that a server has seen.
pub fn heads(seen: &Seen) -> Vec<String> {
    seen.lock().unwrap().iter().map(|(_, head)| head.to_lowercase()).collect()
}

/// How many connections a server has seen requests on.
pub fn connection_count(seen: &Seen) -> usize {
    let mut numbers: Vec<_> = seen.lock().unwrap().iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.len()
}
