//! Connections that the workload opens.

mod destination;
mod http;
mod routes;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::http::uri::Authority;
use meshkit_core::drain;
use meshkit_http::{copy, detect, server};
use meshkit_tls::Prefixed;
use tokio::{net::TcpStream, time::Instant};
use tracing::{debug, info};

use crate::{
    control::Discovery,
    endpoint,
    metrics::{Labels, Metrics, target},
    net::Accepted,
};

pub(crate) use destination::Destination;

/// Settings of the outbound side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The workload's own addresses: endpoints there are reached in plaintext, and without a detour.
    pub local_ips: Vec<IpAddr>,
    /// How long HTTP detection takes.
    pub detect_timeout: Duration,
    /// How long what is known of a destination is kept while nobody uses it.
    pub idle_timeout: Duration,
    /// How long a first answer of the control plane is waited for.
    pub discovery_timeout: Duration,
    /// Requests that wait for an endpoint.
    pub queue_capacity: usize,
    /// How long they wait.
    pub failfast: Duration,
    /// Limits of server connections.
    pub server: server::Settings,
    /// How endpoints are reached.
    pub endpoint: endpoint::Settings,
    /// Refuse to connect to loopback addresses, which would lead back here.
    pub loopback: Vec<IpAddr>,
}

/// Accepts what the workload sends: finds out where it goes, and sends it there.
#[derive(Clone, Debug)]
pub struct Outbound(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    discovery: Discovery,
    metrics: Metrics,
    drain: drain::Watch,
    destinations: Mutex<HashMap<SocketAddr, Cached>>,
}

#[derive(Debug)]
struct Cached {
    destination: Arc<Destination>,
    used_at: Instant,
}

/// The name that a listener stands for, where nothing redirects connections.
#[derive(Clone, Debug)]
pub struct Alias {
    /// What a client that knows no better takes for the authority: the listener's address.
    pub listen: Authority,
    /// What it stands for.
    pub name: Authority,
}

impl Outbound {
    /// An outbound side that serves nothing yet.
    #[must_use]
    pub fn new(settings: Settings, discovery: Discovery, metrics: Metrics, drain: drain::Watch) -> Self {
        Self(Arc::new(Shared { settings, discovery, metrics, drain, destinations: Mutex::default() }))
    }

    /// Serves one connection to its end, and logs what went wrong with it.
    pub async fn serve(self, accepted: Accepted, alias: Option<Arc<Alias>>) {
        let (client, dst) = (accepted.client, accepted.original_dst);
        if let Err(error) = self.route(accepted, alias).await {
            let labels = target(dst).into_iter().chain([("error", "i/o".to_owned())]);
            self.0.metrics.errors.outbound_tcp.handle(&Labels::new(labels)).incr();
            info!(client.addr = %client, server.addr = %dst, %error, "connection closed");
        }
    }

    async fn route(&self, accepted: Accepted, alias: Option<Arc<Alias>>) -> io::Result<()> {
        let Accepted { io, client, original_dst, .. } = accepted;
        if self.0.settings.loopback.contains(&original_dst.ip()) {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("{original_dst} would lead back to this workload")));
        }
        let destination = self.destination(original_dst);
        destination.discovered(self.0.settings.discovery_timeout).await;
        let mut labels = vec![("direction", "outbound".to_owned()), ("peer", "src".to_owned())];
        labels.extend(target(original_dst));
        labels.extend([("tls", "no_identity".to_owned()), ("no_tls_reason", "loopback".to_owned())]);
        let mut io: crate::metrics::Counted<TcpStream> = self.0.metrics.tcp.handle(labels).count(io);

        if let Some(refusal) = destination.refusal() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal.to_string()));
        }
        if destination.is_opaque() {
            return self.forward(io, &destination).await;
        }
        let (detected, front) = detect::detect(&mut io, self.0.settings.detect_timeout).await?;
        let io = Prefixed::new(front, io);
        match detected {
            detect::Detected::Http(version) => {
                let service = http::Service::new(Arc::clone(&self.0), destination, alias);
                let served = server::serve(io, version, service, &self.0.settings.server, self.0.drain.clone()).await;
                served.map_err(|error| io::Error::other(error.to_string()))
            }
            detect::Detected::Closed => {
                debug!(client.addr = %client, "socket closed before protocol detection");
                Ok(())
            }
            _ => self.forward(io, &destination).await,
        }
    }

    async fn forward<I>(&self, io: I, destination: &Destination) -> io::Result<()>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let server = destination.connect().await.map_err(io::Error::other)?;
        let _held = self.0.drain.clone();
        copy::duplex(io, server).await.map(|_| ())
    }

    /// What is known of a destination, shared by everybody who goes there.
    fn destination(&self, addr: SocketAddr) -> Arc<Destination> {
        let now = Instant::now();
        let mut destinations = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = self.0.settings.idle_timeout;
        destinations.retain(|_, cached| {
            if Arc::strong_count(&cached.destination) > 1 {
                cached.used_at = now;
            }
            now.saturating_duration_since(cached.used_at) < idle
        });
        let make =
            || Cached { destination: Arc::new(Destination::new(addr, &self.0.settings, &self.0.discovery, &self.0.metrics)), used_at: now };
        let cached = destinations.entry(addr).or_insert_with(make);
        cached.used_at = now;
        Arc::clone(&cached.destination)
    }
}
