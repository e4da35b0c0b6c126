//! The HTTP server for probes, scrapes, the log level and whatever else a program wants to be asked.
//!
//! It runs on a thread of its own, so that a saturated program can still say what is wrong. [`Admin::serve`] accepts plaintext
//! connections; [`Admin::serve_with`] lets a program end TLS first.
//!
//! | path | methods | answer |
//! |---|---|---|
//! | `/live` | any | `live` |
//! | `/ready` | any | `ready`, or 503 until every latch of the [`Readiness`] is released |
//! | `/metrics` | any | the scrape, compressed if the client accepts gzip |
//! | `/proxy-log-level` | GET, PUT | the log filter; from this machine only |
//! | `/env.json` | GET | the settings the program was started with |
//! | `/shutdown` | POST | begins the drain, where enabled; from this machine only |

mod answer;
mod env;
mod opening;
mod readiness;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tracing::{Instrument, debug, warn};

use crate::{
    logs::Level,
    metrics::Registry,
    shutdown::{Trigger, Unheard},
};
use opening::Opening;

pub use readiness::{Latch, Readiness};

// How long a client may take to send a request head; also how long an idle connection stays open.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
// The longest request head, in bytes; a longer one is answered with 431. Eight KiB is the least that hyper allows.
const HEADER_MAX: u32 = 16 * 1024;
// The longest request body, in bytes: a log filter.
const BODY_MAX: usize = 64 * 1024;
// Further connections wait until one of these ends.
const CONNECTIONS_MAX: usize = 256;
// While the machine has no file descriptor left, accepting again at once would only burn its processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A response of the admin server.
pub type Reply = Response<Full<Bytes>>;

type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Route = Arc<dyn Fn(Request<Bytes>) -> Answering + Send + Sync>;

/// The admin server of one program. Clones are the same server with the same routes.
#[derive(Clone)]
#[must_use]
pub struct Admin {
    readiness: Readiness,
    registry: Registry,
    logs: Option<Level>,
    shutdown: Option<Trigger>,
    environment: Arc<BTreeMap<String, String>>,
    routes: Arc<HashMap<String, (Access, Route)>>,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // Everybody or nobody else.
pub enum Access {
    /// Whoever can connect.
    Anyone,
    /// Clients on this machine, told by their address: 127.0.0.1 or ::1.
    Local,
}

/// The address of the client, among the extensions of a request that a route of the program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // One address.
pub struct Client(pub SocketAddr);

impl Admin {
    /// A server that knows the state of the program and its metrics.
    pub fn new(readiness: Readiness, registry: Registry) -> Self {
        Self { readiness, registry, logs: None, shutdown: None, environment: Arc::default(), routes: Arc::default() }
    }

    /// Lets `/proxy-log-level` read and replace the filter. `None`, the default, answers 404: logs are off.
    pub fn logs(mut self, level: Option<Level>) -> Self {
        self.logs = level;
        self
    }

    /// Lets `/shutdown` stop the program. `None`, the default, answers 404.
    pub fn shutdown(mut self, trigger: Option<Trigger>) -> Self {
        self.shutdown = trigger;
        self
    }

    /// What `/env.json` tells, to anyone: of `vars` only those that are settings of the proxy (`LINKERD2_PROXY_*`,
    /// `MESH_PROXY_*`), for other programs' variables hold secrets.
    pub fn environment(mut self, vars: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, _): &(String, String)| name.starts_with("LINKERD2_PROXY_") || name.starts_with("MESH_PROXY_");
        self.environment = Arc::new(vars.into_iter().filter(ours).collect());
        self
    }

    /// Answers a path of the program, for every method. Paths that the server has itself come first.
    pub fn route<H, F>(mut self, path: &str, access: Access, answer: H) -> Self
    where
        H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let route: Route = Arc::new(move |request| Box::pin(answer(request)));
        Arc::make_mut(&mut self.routes).insert(path.to_owned(), (access, route));
        self
    }

    /// Accepts connections and serves them, for ever.
    ///
    /// # Cancel safety
    /// A drop closes the listener and every connection.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        self.serve_with(listener, |io| std::future::ready(Ok(io))).await
    }

    /// Accepts connections, opens each with `open`, which may end TLS or refuse it, and serves them, for ever.
    ///
    /// # Cancel safety
    /// A drop closes the listener and every connection.
    pub async fn serve_with<O, F, I>(self, listener: TcpListener, open: O) -> Infallible
    where
        O: Fn(TcpStream) -> F,
        F: Future<Output = io::Result<I>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await;
            let accepted = loop {
                tokio::select! {
                    accepted = listener.accept() => break accepted,
                    Some(_) = connections.join_next() => {}
                }
            };
            match accepted {
                Ok((io, client)) => {
                    let (admin, opening) = (self.clone(), open(io));
                    let serve = async move {
                        let _slot = slot;
                        let served = match opening.await {
                            Ok(io) => admin.serve_connection(io, client).await,
                            Err(error) => Err(error.into()),
                        };
                        if let Err(error) = served {
                            debug!(client.addr = %client, error, "admin connection failed");
                        }
                    };
                    connections.spawn(serve.in_current_span());
                }
                Err(error) => {
                    warn!(%error, "admin server cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection, HTTP/1 or HTTP/2, until it ends.
    ///
    /// # Errors
    /// The client broke the protocol or the connection, or was too slow.
    ///
    /// # Cancel safety
    /// A drop closes the connection.
    pub async fn serve_connection<I>(&self, io: I, client: SocketAddr) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT).max_buf_size(HEADER_MAX as usize);
        server.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_MAX).max_concurrent_streams(32);
        // HTTP/2 streams are tasks, so each has a clone of its own.
        let admin = self.clone();
        let service = service_fn(move |request| {
            let admin = admin.clone();
            async move { Ok::<_, Infallible>(admin.answer(request, client).await) }
        });
        server.serve_connection(TokioIo::new(Opening::new(io, HEADER_READ_TIMEOUT)), service).await
    }

    async fn answer(&self, request: Request<Incoming>, client: SocketAddr) -> Reply {
        let (mut head, body) = request.into_parts();
        head.extensions.insert(Client(client));
        match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => self.reply(Request::from_parts(head, body.to_bytes())).await,
            Err(_) => answer::text(http::StatusCode::PAYLOAD_TOO_LARGE, "the request body is cut off or longer than 64 KiB\n"),
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: Vec<&String> = self.routes.keys().collect();
        f.debug_struct("Admin").field("readiness", &self.readiness).field("routes", &routes).finish_non_exhaustive()
    }
}
