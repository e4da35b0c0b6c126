//! Connections that the workload opens.

mod backends;
mod client;
mod connections;
mod destination;
mod destinations;
mod http;
mod logical;
mod profile;
mod routes;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ::http::{Request, Response, uri::Authority};
use meshkit_core::{Cause, Error, Identity, drain};
use meshkit_http::{Body, copy, detect, server};
use meshkit_tls::{Prefixed, client_hello};
use meshkit_wire::outbound::{Backend, Protocol, Target};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tracing::{debug, info};

use crate::{
    control::Discovery,
    edge::InFlight,
    endpoint,
    metrics::{Counted, Labels, Metrics, route::parent_labels, target},
    net::Accepted,
};

pub use client::Client;
pub(crate) use destination::Destination;
use destinations::Destinations;

/// Settings of the outbound side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who sends: planned trouble may be for some callers only.
    pub id: Identity,
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
    /// Connections that wait for an endpoint.
    pub tcp_queue_capacity: usize,
    /// How long they wait.
    pub failfast: Duration,
    /// Requests that wait for a response head.
    pub max_in_flight: usize,
    /// Destinations that are known at a time.
    pub max_destinations: usize,
    /// Is the host of a request a label of its route's metrics?
    pub hostname_labels: bool,
    /// Does a request's header, and not its connection's destination, say where it goes?
    pub mode: Mode,
    /// Limits of server connections.
    pub server: server::Settings,
    /// How endpoints are reached.
    pub endpoint: endpoint::Settings,
    /// Refuse to connect to loopback addresses, which would lead back here.
    pub loopback: Vec<IpAddr>,
}

/// What says where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The proxy is a sidecar, or stands beside an ingress controller.
pub enum Mode {
    /// The address that its connection was meant for.
    Sidecar,
    /// Its header `l5d-dst-override`, and without one its connection's address.
    Ingress,
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
    in_flight: InFlight,
    destinations: Destinations<Destination>,
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
        let in_flight = InFlight::new(settings.max_in_flight, "LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT");
        let destinations = Destinations::new(settings.idle_timeout, settings.max_destinations, discovery.watches.away.clone());
        Self(Arc::new(Shared { settings, discovery, metrics, drain, in_flight, destinations }))
    }

    /// What is known of a destination, shared by everybody who goes there.
    pub(crate) fn destination(&self, target: Target) -> Result<Arc<Destination>, Error> {
        self.0.destination(target)
    }

    /// Sends a request that did not come from the workload.
    pub(crate) async fn send(&self, destination: &Destination, request: Request<Body>) -> Result<Response<Body>, Error> {
        destination.discovered(self.0.settings.discovery_timeout).await;
        destination.send(request).await.map_err(crate::edge::located)
    }

    /// Carries bytes that did not come from the workload, and are not looked at.
    pub(crate) async fn carry<I>(&self, io: I, destination: &Destination) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        destination.discovered(self.0.settings.discovery_timeout).await;
        self.forward(io, destination).await
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
        let Settings { loopback, discovery_timeout, detect_timeout, mode, .. } = &self.0.settings;
        if loopback.contains(&original_dst.ip()) {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("{original_dst} would lead back to this workload")));
        }
        let destination = self.0.destination(Target::Addr(original_dst)).map_err(io::Error::other)?;
        destination.discovered(*discovery_timeout).await;
        let Some(known) = destination.snapshot() else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("nothing is known of {original_dst}")));
        };
        let parent = &known.policy.parent;
        let is = |protocol| self.0.metrics.connections.protocol(protocol, parent);
        match &known.policy.protocol {
            _ if *mode == Mode::Ingress => is("detect"),
            _ if known.is_opaque() => {
                is("opaq");
                return self.forward(self.count(io, original_dst), &destination).await;
            }
            Protocol::Tls(_) => {
                is("tls");
                let found = client_hello::detect(io, *detect_timeout).await;
                let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "SNI detection timed out");
                return match found.map_err(timed_out)?? {
                    (client_hello::Detected::Hello(Some(name)), io) => {
                        let server = destination.connect_tls(&name).await.map_err(io::Error::other)?;
                        self.copy(self.count(io, original_dst), server).await
                    }
                    _ => Err(io::Error::new(io::ErrorKind::InvalidData, "Could not find SNI")),
                };
            }
            Protocol::Http1(_) => {
                is("http/1");
                return self.http(self.count(io, original_dst), detect::Version::Http1, destination, (client, alias)).await;
            }
            Protocol::Http2(_) | Protocol::Grpc(_) => {
                is("http/2");
                return self.http(self.count(io, original_dst), detect::Version::Http2, destination, (client, alias)).await;
            }
            Protocol::Detect { .. } | Protocol::Opaque(_) => is("detect"),
        }
        let mut io = self.count(io, original_dst);
        let begun = Instant::now();
        let found = detect::detect(&mut io, *detect_timeout).await;
        let result = found.as_ref().map(|(detected, _)| *detected).map_err(|error| io::Error::from(error.kind()));
        self.0.metrics.outbound_detect.detected(parent_labels(parent).into(), begun.elapsed(), &result);
        let (detected, front) = found?;
        let io = Prefixed::new(front, io);
        match detected {
            detect::Detected::Http(version) => self.http(io, version, destination, (client, alias)).await,
            detect::Detected::Closed => {
                debug!(client.addr = %client, "socket closed before protocol detection");
                Ok(())
            }
            _ => self.forward(io, &destination).await,
        }
    }

    async fn http<I>(
        &self,
        io: I,
        version: detect::Version,
        to: Arc<Destination>,
        (client, alias): (SocketAddr, Option<Arc<Alias>>),
    ) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut settings = self.0.settings.server.clone();
        settings.refusals = http::refusals(Arc::clone(&self.0), client);
        let service = http::Service::new(Arc::clone(&self.0), to, alias, client);
        let served = server::serve(io, version, service, &settings, self.0.drain.clone()).await;
        served.map_err(|error| io::Error::other(settings.explain(&error)))
    }

    async fn forward<I>(&self, io: I, destination: &Destination) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let server = destination.connect().await.map_err(io::Error::other)?;
        self.copy(io, server).await
    }

    async fn copy<I>(&self, io: I, mut server: connections::Forwarded) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let _held = self.0.drain.clone();
        copy::duplex(io, &mut server.io).await.map(|_| ())
    }

    fn count<I>(&self, io: I, dst: SocketAddr) -> Counted<I> {
        let mut labels = vec![("direction", "outbound".to_owned()), ("peer", "src".to_owned())];
        labels.extend(target(dst));
        labels.extend([("tls", "no_identity".to_owned()), ("no_tls_reason", "loopback".to_owned())]);
        self.0.metrics.tcp.handle(labels).count(io)
    }
}

impl Shared {
    /// What is known of a destination, shared by everybody who goes there.
    fn destination(&self, target: Target) -> Result<Arc<Destination>, Error> {
        self.destinations.of(target, |target| Destination::new(target, &self.settings, &self.discovery, &self.metrics))
    }
}

fn no_dispatcher(backend: &Backend) -> Error {
    let meta = &backend.meta;
    Error::new(Cause::NoBackend).message(format!("backend for {} {}/{} has no dispatcher", meta.kind(), meta.namespace(), meta.name()))
}
