//! Connections to the workload.

mod gateway;
mod guard;
mod http;
mod profiles;
mod tcp;
mod verdicts;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use meshkit_core::{Endpoint, Identity, drain};
use meshkit_http::{detect, detect::Version, server};
use meshkit_policy::{
    Client, TlsState,
    inbound::{Policy, Protocol},
    rate_limit::InForce,
};
use meshkit_tls::{Prefixed, Snapshot, Tag, TlsIo, TransportHeader, accept, client_hello, transport_header::SessionProtocol};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{debug, info};

pub use self::gateway::Gateway;
pub(crate) use self::guard::{Guard, Guards};
use self::{gateway::Asked, profiles::Profiles};
use crate::{
    access_log::AccessLog,
    control::{Discovery, Policies, policies::Port},
    edge::InFlight,
    endpoint::{self, Application, EndpointService, Handles, Transport},
    metrics::{HttpHandle, Labels, Metrics, target, tls_server},
    net::Accepted,
};

/// Settings of the inbound side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The proxy's own inbound port: connections to it carry a transport header.
    pub port: u16,
    /// The port of the tap server, where there is one: it believes programs of its own machine, and what comes from the proxy would be one.
    pub tap_port: Option<u16>,
    /// What clients ask for in a handshake that is meant for the proxy.
    pub server_name: String,
    /// Addresses that connections may be meant for; empty is any.
    pub ips: Vec<IpAddr>,
    /// How long TLS and HTTP detection take, and reading a transport header.
    pub detect_timeout: Duration,
    /// Requests that wait for a response head.
    pub max_in_flight: usize,
    /// Limits of server connections.
    pub server: server::Settings,
    /// How the application is reached.
    pub endpoint: endpoint::Settings,
    /// How long the profile of a request's name is waited for; then it goes without.
    pub profile_timeout: Duration,
    /// How long a profile is kept while nobody uses it.
    pub idle_timeout: Duration,
    /// Takes a line for each request, if anybody wants them.
    pub access_log: Option<AccessLog>,
    /// What is served to other clusters, if anything.
    pub gateway: Option<Gateway>,
}

/// Accepts connections to the workload: finds out what they are, asks the policy, and forwards.
#[derive(Clone, Debug)]
pub struct Inbound(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    tls: watch::Receiver<Arc<Snapshot>>,
    policies: Policies,
    profiles: Profiles,
    metrics: Arc<Metrics>,
    drain: drain::Watch,
    in_flight: InFlight,
    apps: Mutex<HashMap<SocketAddr, Weak<App>>>,
    /// Services of this process, by their port.
    hosted: Mutex<HashMap<u16, Application>>,
}

/// The application's port.
#[derive(Debug)]
pub(crate) struct App {
    port: Arc<Port>,
    /// All connections to the port count together.
    limits: InForce,
    /// None where a service of this process answers, which takes requests only.
    transport: Option<Transport>,
    /// The application's connections, shared by all clients.
    service: EndpointService,
}

/// What is known of a connection when its bytes are forwarded.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    client: Client,
    /// The client's address as it is, for people: policies may see another.
    peer: SocketAddr,
    addr: SocketAddr,
    app: Arc<App>,
    /// The name that a gateway is asked for, in place of the application.
    asked: Option<Asked>,
}

impl Settings {
    /// Is it a port of the proxy that nothing is sent on to?
    fn is_own(&self, port: u16) -> bool {
        port == self.port || Some(port) == self.tap_port
    }
}

impl Inbound {
    /// An inbound side that serves nothing yet.
    #[must_use]
    pub fn new(settings: Settings, policies: Policies, discovery: Discovery, metrics: Metrics, drain: drain::Watch) -> Self {
        let profiles = Profiles::new(discovery, metrics.profiles.clone(), settings.profile_timeout, settings.idle_timeout);
        let tls = settings.endpoint.tls.clone();
        let in_flight = InFlight::new(settings.max_in_flight, "LINKERD2_PROXY_INBOUND_MAX_IN_FLIGHT");
        Self(Arc::new(Shared {
            settings,
            tls,
            policies,
            profiles,
            metrics: Arc::new(metrics),
            drain,
            in_flight,
            apps: Mutex::default(),
            hosted: Mutex::default(),
        }))
    }

    /// Lets a service of this process answer what is meant for a port.
    pub(crate) fn host(&self, port: u16, app: Application) {
        self.0.hosted.lock().unwrap_or_else(PoisonError::into_inner).insert(port, app);
    }

    /// Serves one connection to its end, and logs what went wrong with it.
    pub async fn serve(self, accepted: Accepted) {
        let (client, dst) = (accepted.client, accepted.original_dst);
        if let Err(error) = self.route(accepted).await {
            let label = if error.kind() == io::ErrorKind::TimedOut { "tls detection timeout" } else { "i/o" };
            let labels = target(dst).into_iter().chain([("error", label.to_owned())]);
            self.0.metrics.errors.inbound_tcp.handle(&Labels::new(labels)).incr();
            info!(client.addr = %client, server.addr = %dst, %error, "connection closed");
        }
    }

    async fn route(&self, accepted: Accepted) -> io::Result<()> {
        let Settings { port, ips, .. } = &self.0.settings;
        let Accepted { io, client, original_dst, policy_ip } = accepted;
        if !ips.is_empty() && !ips.contains(&original_dst.ip()) {
            let ip = original_dst.ip();
            return Err(io::Error::other(format!("inbound connections are not allowed on this IP address ({ip})")));
        }
        if original_dst.port() == *port {
            return self.direct(io, client, original_dst).await;
        }
        let app = self.app(original_dst);
        let policy = app.policy();
        let connection =
            |tls, app| Connection { client: Client { ip: policy_ip, tls }, peer: client, addr: original_dst, app, asked: None };
        if policy.protocol == Protocol::Opaque {
            return self.forward(io, connection(TlsState::NoTls, app)).await;
        }
        match self.detect_tls(io).await? {
            (client_hello::Detected::Hello(Some(sni)), io) if sni == self.0.settings.server_name => {
                let (io, tls) = self.accept(io, Tag::Plain).await?;
                let tls = TlsState::Terminated { client_id: tls.client_id };
                self.decide(io, connection(tls, app), &policy, Mesh::Terminated).await
            }
            (client_hello::Detected::Hello(sni), io) => {
                let tls = sni.map_or(TlsState::NoTls, |sni| TlsState::Passthrough { sni: sni.into() });
                self.decide(io, connection(tls, app), &policy, Mesh::None).await
            }
            (client_hello::Detected::NotTls, io) => self.decide(io, connection(TlsState::NoTls, app), &policy, Mesh::None).await,
        }
    }

    /// A connection to the proxy itself: mutual TLS with a transport header that says what it is for.
    async fn direct(&self, io: TcpStream, client: SocketAddr, dst: SocketAddr) -> io::Result<()> {
        let (detected, io) = self.detect_tls(io).await?;
        match detected {
            client_hello::Detected::Hello(Some(sni)) if sni == self.0.settings.server_name => {}
            _ => return Err(io::Error::other("direct connections must be mutually authenticated")),
        }
        let (io, tls) = self.accept(io, Tag::Header).await?;
        if tls.client_id.is_none() {
            return Err(io::Error::other("direct connections must be mutually authenticated"));
        }
        if tls.header == Tag::Plain {
            return Err(io::Error::other("direct connections require transport header negotiation"));
        }
        let read = timeout(self.0.settings.detect_timeout, TransportHeader::read(io)).await;
        let (header, io) = read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "Reading a transport header timed out"))??;
        self.count_header(&header, tls.client_id.as_ref());
        let tls = TlsState::Terminated { client_id: tls.client_id };
        let peer = client;
        let client = Client { ip: peer.ip(), tls };
        let connection = match &header.name {
            // A gateway's clients are admitted by the policy of the port that they come to.
            Some(name) => {
                let malformed = |e| io::Error::new(io::ErrorKind::InvalidData, format!("the transport header names {name:?}: {e}"));
                let name = meshkit_core::Authority::parse(name, header.port.get()).map_err(malformed)?;
                let asked = Some(Asked::of(self.0.settings.gateway.as_ref(), name));
                Connection { client, peer, addr: dst, app: self.app(dst), asked }
            }
            None => {
                let addr = SocketAddr::new(dst.ip(), header.port.get());
                Connection { client, peer, addr, app: self.app(addr), asked: None }
            }
        };
        match header.protocol {
            Some(SessionProtocol::Http1) => self.http(io, connection, Version::Http1).await,
            Some(SessionProtocol::Http2) => self.http(io, connection, Version::Http2).await,
            _ => self.forward(io, connection).await,
        }
    }

    /// What the bytes are, by the policy's word or by their own.
    async fn decide<I>(&self, mut io: I, connection: Connection, policy: &Policy, mesh: Mesh) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limit = match (&policy.protocol, mesh) {
            (Protocol::Opaque | Protocol::Tls, _) => return self.forward(io, connection).await,
            (Protocol::Http2 { .. } | Protocol::Grpc { .. }, _) => return self.http(io, connection, Version::Http2).await,
            (Protocol::Http1 { .. }, Mesh::None) => return self.http(io, connection, Version::Http1).await,
            // A peer proxy may carry HTTP/1 inside HTTP/2.
            (Protocol::Http1 { .. }, Mesh::Terminated) => self.0.settings.detect_timeout,
            (Protocol::Detect { timeout, .. }, _) => *timeout,
        };
        let begun = Instant::now();
        let found = detect::detect(&mut io, limit).await;
        let result = found.as_ref().map(|(detected, _)| *detected).map_err(|error| io::Error::from(error.kind()));
        self.0.metrics.inbound_detect.detected(server_labels(policy, connection.addr).into(), begun.elapsed(), &result);
        let (detected, front) = found?;
        let io = Prefixed::new(front, io);
        match detected {
            detect::Detected::Http(version) => self.http(io, connection, version).await,
            detect::Detected::Closed => {
                debug!(client.ip = %connection.client.ip, "socket closed before protocol detection");
                Ok(())
            }
            _ if matches!(policy.protocol, Protocol::Http1 { .. }) => self.http(io, connection, Version::Http1).await,
            _ => self.forward(io, connection).await,
        }
    }

    async fn http<I>(&self, io: I, connection: Connection, version: Version) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = self.count(io, &connection);
        let mut settings = self.0.settings.server.clone();
        settings.refusals = http::refusals(Arc::clone(&self.0), connection.clone());
        let service = http::Service::new(Arc::clone(&self.0), connection);
        let served = server::serve(io, version, service, &settings, self.0.drain.clone()).await;
        served.map_err(|error| io::Error::other(settings.explain(&error)))
    }

    async fn forward<I>(&self, io: I, connection: Connection) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        tcp::forward(&self.0, io, connection).await
    }

    fn count<I>(&self, io: I, connection: &Connection) -> crate::metrics::Counted<I> {
        self.0.count(io, connection)
    }

    async fn detect_tls(&self, io: TcpStream) -> io::Result<(client_hello::Detected, Prefixed<TcpStream>)> {
        let detected = client_hello::detect(io, self.0.settings.detect_timeout).await;
        detected.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "TLS detection timed out"))?
    }

    async fn accept(&self, io: Prefixed<TcpStream>, tag: Tag) -> io::Result<(TlsIo<Prefixed<TcpStream>>, meshkit_tls::ClientTls)> {
        let config = self.0.tls.borrow().server(tag).map_err(io::Error::other)?;
        let accepted = timeout(self.0.settings.detect_timeout, accept(io, config)).await;
        accepted.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake timed out"))?
    }

    fn count_header(&self, header: &TransportHeader, client: Option<&Identity>) {
        let protocol = match header.protocol {
            Some(SessionProtocol::Http1) => "http/1",
            Some(SessionProtocol::Http2) => "http/2",
            _ => "",
        };
        let labels = Labels::new([
            ("session_protocol", protocol),
            ("target_port", &header.port.to_string()),
            ("target_name", header.name.as_deref().unwrap_or_default()),
            ("client_id", client.map_or("", Identity::as_str)),
        ]);
        self.0.metrics.transport_headers.handle(&labels).incr();
    }

    fn app(&self, addr: SocketAddr) -> Arc<App> {
        let shared = &self.0;
        let mut apps = shared.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(app) = apps.get(&addr).and_then(Weak::upgrade) {
            return app;
        }
        apps.retain(|_, app| app.strong_count() > 0);
        let tcp = shared.metrics.tcp.handle(vec![
            ("direction", "inbound".to_owned()),
            ("peer", "dst".to_owned()),
            ("tls", "no_identity".to_owned()),
            ("no_tls_reason", "loopback".to_owned()),
        ]);
        let endpoint = Arc::new(Endpoint::new(addr));
        let hosted = shared.hosted.lock().unwrap_or_else(PoisonError::into_inner).get(&addr.port()).cloned();
        let (settings, handles) = (&shared.settings.endpoint, Handles { http: HttpHandle::nowhere(), tcp: tcp.clone() });
        let (transport, service) = match hosted {
            Some(hosted) => (None, EndpointService::hosted(hosted, endpoint, settings, handles)),
            None => (Some(Transport::new(Arc::clone(&endpoint), None, settings, tcp)), EndpointService::new(endpoint, settings, handles)),
        };
        let app = Arc::new(App { port: shared.policies.port(addr.port()), limits: InForce::default(), transport, service });
        apps.insert(addr, Arc::downgrade(&app));
        app
    }
}

/// Was the connection's TLS ended here?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mesh {
    Terminated,
    None,
}

impl Shared {
    /// Counts a client's connection; called once it is known what it is.
    fn count<I>(&self, io: I, connection: &Connection) -> crate::metrics::Counted<I> {
        let mut labels = vec![("direction", "inbound".to_owned()), ("peer", "src".to_owned())];
        labels.extend(target(connection.addr));
        labels.extend(tls_server(&connection.client.tls));
        labels.extend(server_labels(&connection.app.policy(), connection.addr));
        self.metrics.tcp.handle(labels).count(io)
    }
}

impl App {
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.port.policy().borrow())
    }
}

pub(crate) fn server_labels(policy: &Policy, addr: SocketAddr) -> [(&'static str, String); 4] {
    let port = policy.server.port().map_or(addr.port(), NonZeroU16::get);
    [
        ("srv_group", policy.server.group().to_owned()),
        ("srv_kind", policy.server.kind().to_owned()),
        ("srv_name", policy.server.name().to_owned()),
        ("srv_port", port.to_string()),
    ]
}
