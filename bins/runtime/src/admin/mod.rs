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
//! | `/logs.json` | GET, QUERY | the log from now on, through a filter in the query or the body; from this machine only |
//! | `/env.json` | GET | the settings the program was started with |
//! | `/shutdown` | POST | begins the drain, where enabled; from this machine only |

mod answer;
mod body;
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
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tracing::{Instrument, debug, warn};

use crate::{
    logs::Level,
    metrics::Registry,
    shutdown::{Trigger, Unheard},
};
use opening::Opening;

pub use body::Body;
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
pub type Reply = Response<Body>;

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
    /// Does the program end? What would never end by itself then does.
    ending: Arc<watch::Sender<bool>>,
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

/// Says which requests of one connection are admitted. `()` admits all.
pub trait Admit: Send + Sync {
    /// Asked before a request is answered, except for `/live` and `/ready`.
    ///
    /// # Errors
    /// The request is refused; this is the answer to it.
    fn admit(&self, head: &mut Parts) -> Result<(), Box<Reply>>;
}

/// A connection that was opened.
#[allow(clippy::exhaustive_structs)] // What [`Admin::serve_with`] needs.
pub struct Opened<I> {
    /// The connection, without its TLS.
    pub io: I,
    /// Who admits its requests.
    pub admit: Arc<dyn Admit>,
}

impl Admit for () {
    fn admit(&self, _: &mut Parts) -> Result<(), Box<Reply>> {
        Ok(())
    }
}

impl<I> fmt::Debug for Opened<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

impl Admin {
    /// A server that knows the state of the program and its metrics.
    pub fn new(readiness: Readiness, registry: Registry) -> Self {
        let (environment, routes, ending) = (Arc::default(), Arc::default(), Arc::new(watch::Sender::new(false)));
        Self { readiness, registry, logs: None, shutdown: None, environment, routes, ending }
    }

    /// Lets `/proxy-log-level` read and replace the filter, and `/logs.json` read the log. `None`, the default, answers 404: logs are off.
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
    pub fn route<H, F, B>(mut self, path: &str, access: Access, answer: H) -> Self
    where
        H: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Into<Body>,
    {
        let route: Route = Arc::new(move |request| {
            let answering = answer(request);
            Box::pin(async move { answering.await.map(Into::into) })
        });
        Arc::make_mut(&mut self.routes).insert(path.to_owned(), (access, route));
        self
    }

    /// Ends the answers that would never end by themselves, those of `/logs.json`, and waits until they have. Those that are asked for later
    /// end at once.
    ///
    /// # Cancel safety
    /// They end all the same.
    pub async fn end_streams(&self) {
        self.ending.send_replace(true);
        self.ending.closed().await;
    }

    /// Accepts connections and serves them, for ever.
    ///
    /// # Cancel safety
    /// A drop closes the listener and every connection.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        self.serve_with(listener, |io, _| std::future::ready(Ok(Opened { io, admit: Arc::new(()) }))).await
    }

    /// Accepts connections, opens each with `open`, which may end TLS or refuse it and says who admits its requests, and serves them, for ever.
    ///
    /// # Cancel safety
    /// A drop closes the listener and every connection.
    pub async fn serve_with<O, F, I>(self, listener: TcpListener, open: O) -> Infallible
    where
        O: Fn(TcpStream, SocketAddr) -> F,
        F: Future<Output = io::Result<Opened<I>>> + Send + 'static,
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
                    let (admin, opening) = (self.clone(), open(io, client));
                    let serve = async move {
                        let _slot = slot;
                        let served = match opening.await {
                            Ok(Opened { io, admit }) => admin.serve_admitted(io, client, admit).await,
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
        self.serve_admitted(io, client, Arc::new(())).await
    }

    async fn serve_admitted<I>(
        &self,
        io: I,
        client: SocketAddr,
        admit: Arc<dyn Admit>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT).max_buf_size(HEADER_MAX as usize);
        server.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_MAX).max_concurrent_streams(32);
        // HTTP/2 streams are tasks, so each has a clone of its own.
        let admin = self.clone();
        let service = service_fn(move |request| {
            let (admin, admit) = (admin.clone(), Arc::clone(&admit));
            async move { Ok::<_, Infallible>(admin.answer(request, client, &*admit).await) }
        });
        server.serve_connection(TokioIo::new(Opening::new(io, HEADER_READ_TIMEOUT)), service).await
    }

    /// Answers a request that came another way than over a connection of this server, from a client that is not of this machine. Who may
    /// send it is the caller's to know.
    ///
    /// # Cancel safety
    /// Nothing is answered.
    pub async fn respond<B>(&self, request: Request<B>) -> Reply
    where
        B: hyper::body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let (mut head, body) = request.into_parts();
        head.extensions.remove::<Client>();
        self.read(head, body).await
    }

    async fn answer(&self, request: Request<Incoming>, client: SocketAddr, admit: &dyn Admit) -> Reply {
        let (mut head, body) = request.into_parts();
        // Whoever watches over the program must learn of it, whatever the policy is: it would be ended otherwise.
        if !matches!(head.uri.path(), "/live" | "/ready")
            && let Err(refusal) = admit.admit(&mut head)
        {
            return *refusal;
        }
        head.extensions.insert(Client(client));
        self.read(head, body).await
    }

    async fn read<B>(&self, head: Parts, body: B) -> Reply
    where
        B: hyper::body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
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
