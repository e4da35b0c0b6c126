//! Who may look: the one identity that the settings name, and programs on this machine.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use meshkit_core::{Identity, grpc::Code};
use meshkit_tls::{Snapshot, Tag, accept, client_hello};
use meshkit_wire::{
    Refused,
    tap::{self, Events, Observe},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tower::Service as _;
use tracing::{debug, info};

use super::Taps;

/// How long a hello and a handshake may take.
const TLS_LIMIT: Duration = Duration::from_secs(1);
/// Connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// Whoever looks is asked so often whether it is still there, and may take as long to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Serves taps.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) taps: Taps,
    /// Who may look.
    pub(crate) client: Identity,
    /// What clients ask for in their handshake.
    pub(crate) server_name: String,
    pub(crate) tls: watch::Receiver<Arc<Snapshot>>,
}

/// The taps as one connection may see them.
struct Admitted {
    taps: Taps,
    admission: Admission,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Granted,
    Denied,
}

impl Server {
    /// Runs for as long as it is polled.
    pub(crate) async fn run(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((io, client)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        server.connection(io, client).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    debug!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, io: TcpStream, client: SocketAddr) {
        let _ = io.set_nodelay(true);
        match client_hello::detect(io, TLS_LIMIT).await {
            Ok(Ok((client_hello::Detected::NotTls, io))) => {
                let admission = if is_local(client.ip()) { Admission::Granted } else { Admission::Denied };
                self.serve(io, client, admission).await;
            }
            Ok(Ok((client_hello::Detected::Hello(Some(name)), io))) if name == self.server_name => {
                let config = match self.tls.borrow().server(Tag::Plain) {
                    Ok(config) => config,
                    Err(error) => return info!(client.addr = %client, %error, "a tap cannot be served yet"),
                };
                match timeout(TLS_LIMIT, accept(io, config)).await {
                    Ok(Ok((io, tls))) => {
                        let admission = if tls.client_id.as_ref() == Some(&self.client) { Admission::Granted } else { Admission::Denied };
                        if admission == Admission::Denied {
                            info!(client.addr = %client, client.id = ?tls.client_id, wanted = %self.client, "unauthorized client of the tap");
                        }
                        self.serve(io, client, admission).await;
                    }
                    Ok(Err(error)) => info!(client.addr = %client, %error, "a handshake with the tap failed"),
                    Err(_) => info!(client.addr = %client, "a handshake with the tap took too long"),
                }
            }
            Ok(Ok(_)) => info!(client.addr = %client, "a client of the tap asks for another server"),
            Ok(Err(error)) => debug!(client.addr = %client, %error, "a client of the tap is gone"),
            Err(_) => info!(client.addr = %client, "a client of the tap says nothing"),
        }
    }

    async fn serve<I>(self, io: I, client: SocketAddr, admission: Admission)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let taps = tap::server(Arc::new(Admitted { taps: self.taps, admission }));
        // Ready at once, and at all times.
        let service = hyper::service::service_fn(move |request: Request<Incoming>| taps.clone().call(request));
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new()).keep_alive_interval(Some(KEEP_ALIVE)).keep_alive_timeout(KEEP_ALIVE).max_concurrent_streams(16);
        if let Err(error) = server.serve_connection(TokioIo::new(io), service).await {
            debug!(client.addr = %client, %error, "a connection to the tap ended");
        }
    }
}

/// Other addresses of 127.0.0.0/8 are hosts of their own where a mesh runs on one machine.
fn is_local(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

impl tap::Tap for Admitted {
    fn observe(&self, observe: Observe) -> Result<Events, Refused> {
        match self.admission {
            Admission::Granted => self.taps.observe(observe),
            Admission::Denied => Err(Refused::new(Code::UNAUTHENTICATED, "Unauthorized client")),
        }
    }
}
