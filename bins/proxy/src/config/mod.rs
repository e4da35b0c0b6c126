//! What a proxy is told: plain values, whoever makes them.
//!
//! Each group has the defaults of the Linkerd proxy. [`Config::from_env`] reads `LINKERD2_PROXY_*` and `MESH_PROXY_*` settings
//! over them; a program that embeds the proxy fills in the values by itself. Beside the groups with defaults there is what nobody
//! can guess: who the proxy is ([`Identity`]) and where the control plane is ([`Control`]).

pub mod env;
mod inbound;
mod outbound;
mod runtime;
pub mod syntax;
pub(crate) mod transport;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use meshkit_core::Backoff;

pub use crate::{control::Controller, net::accept::SocketOptions};
pub use env::EnvError;
pub use inbound::Inbound;
pub use outbound::Outbound;
pub use runtime::{AccessLog, Runtime};
pub use syntax::{DnsSuffix, PortRanges};
pub use transport::{Accept, Connect, FlowControl, Http1Pool, Http2Client, Http2Server, KeepAlive, Limits, Queue};

/// Everything a proxy is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Where it listens.
    pub listeners: Listeners,
    /// How it treats what comes to the application.
    pub inbound: Inbound,
    /// How it treats what the application sends.
    pub outbound: Outbound,
    /// HTTP/2 towards peers.
    pub http2_client: Http2Client,
    /// Bounds on what a peer may send.
    pub limits: Limits,
    /// Name resolution.
    pub dns: Dns,
    /// The control plane.
    pub control: Control,
    /// Who the proxy is.
    pub identity: Identity,
    /// The admin server.
    pub admin: Admin,
    /// Who may watch requests; default: nobody.
    pub tap: Option<Tap>,
    /// Where spans go; default: nowhere, and trace headers pass untouched.
    pub tracing: Option<Tracing>,
    /// Threads, logs and the end of the process.
    pub runtime: Runtime,
    /// What was wrong with the settings without being worth a refusal. A program logs each as a warning.
    pub warnings: Vec<EnvError>,
}

/// Where a proxy listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listeners {
    /// For what the application sends: one or two addresses, default `127.0.0.1:4140`.
    pub outbound: Vec<SocketAddr>,
    /// For what comes to the application: default `0.0.0.0:4143`.
    pub inbound: SocketAddr,
    /// For tap: default `0.0.0.0:4190`.
    pub control: SocketAddr,
    /// For the admin server: default `127.0.0.1:4191`.
    pub admin: SocketAddr,
    /// Where nothing redirects connections: the file that maps listen addresses to destinations. Default: none.
    pub file: Option<PathBuf>,
}

/// The control plane, and what it is asked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Control {
    /// Serves endpoints and profiles.
    pub destination: Controller,
    /// Serves policies.
    pub policy: Controller,
    /// Limits on watches; they do not apply to a plaintext controller on this machine. Default: none.
    pub stream_limits: StreamLimits,
    /// Told to the destination API with each question; opaque to the proxy. Default: empty.
    pub context: String,
    /// Told to the policy API with each question.
    pub workload: String,
    /// Names that may have a profile: default `svc.cluster.local.`.
    pub profile_suffixes: Vec<DnsSuffix>,
    /// Addresses that may have an outbound profile: default none.
    pub profile_networks: Vec<IpNet>,
    /// What counts as the cluster in default policies: default nothing.
    pub cluster_networks: Vec<IpNet>,
}

/// Limits on watches of the control plane, in rising order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // The three of the proxy whose settings these are.
pub struct StreamLimits {
    /// Until the first item.
    pub initial: Option<Duration>,
    /// Without any item.
    pub idle: Option<Duration>,
    /// In all.
    pub lifetime: Option<Duration>,
}

/// Who the proxy is, and who may say so.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Identity {
    /// The name in the certificate.
    pub name: meshkit_core::Identity,
    /// The name that clients ask for in their handshake.
    pub server_name: String,
    /// Certificates of the authorities that are trusted, PEM.
    pub trust_anchors: String,
    /// Where certificates come from.
    pub source: CertificateSource,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CertificateSource {
    /// The identity controller of the mesh.
    Controller {
        /// Where it is.
        controller: Controller,
        /// The folder with `key.p8` and `csr.der`.
        dir: PathBuf,
        /// The token that proves to the controller who asks; read for each request.
        token_file: PathBuf,
        /// The shortest time until a renewal: default 10 s.
        min_refresh: Duration,
        /// The longest time until a renewal: default 24 h.
        max_refresh: Duration,
    },
    /// A SPIFFE Workload API.
    WorkloadApi {
        /// The Unix socket it listens on.
        socket: PathBuf,
        /// Between attempts: default 100 ms to 1 s, jitter 0.1.
        backoff: Backoff,
    },
}

/// The admin server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admin {
    /// Does `POST /shutdown` work? Default: no.
    pub shutdown_endpoint: bool,
    /// How long an idle series stays in the scrape: default 10 m.
    pub metrics_retain_idle: Duration,
}

/// Who may watch requests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // One identity.
pub struct Tap {
    /// The only identity that may.
    pub client: meshkit_core::Identity,
}

/// Bounds on how long answers of the resolver are believed. Default: what the answers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // Two ends.
pub struct Dns {
    /// At least this long.
    pub min_ttl: Option<Duration>,
    /// At most this long.
    pub max_ttl: Option<Duration>,
}

/// Where spans go, and what they say about the process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tracing {
    /// An OTLP/gRPC collector.
    pub collector: Controller,
    /// `service.name`, unless another source says otherwise.
    pub service_name: Option<String>,
    /// A file of `key=value` lines.
    pub attributes_file: Option<PathBuf>,
    /// Attributes that win over those of the file.
    pub extra: Vec<(String, String)>,
    /// Attributes that win over all others.
    pub resource: Vec<(String, String)>,
    /// `host.name`.
    pub host_name: Option<String>,
}

impl Tracing {
    /// Spans go to this collector, without a word about whose they are.
    #[must_use]
    pub fn new(collector: Controller) -> Self {
        Self { collector, service_name: None, attributes_file: None, extra: Vec::new(), resource: Vec::new(), host_name: None }
    }
}

impl Config {
    /// The defaults, for a proxy with this identity and this control plane.
    #[must_use]
    pub fn new(identity: Identity, control: Control) -> Self {
        Self {
            listeners: Listeners::default(),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            http2_client: Http2Client::default(),
            limits: Limits::default(),
            dns: Dns::default(),
            control,
            identity,
            admin: Admin::default(),
            tap: None,
            tracing: None,
            runtime: Runtime::default(),
            warnings: Vec::new(),
        }
    }
}

impl Identity {
    /// An identity whose clients ask for it by its own name.
    #[must_use]
    pub fn new(name: meshkit_core::Identity, trust_anchors: String, source: CertificateSource) -> Self {
        let server_name = name.as_dns().unwrap_or_default().to_owned();
        Self { name, server_name, trust_anchors, source }
    }
}

impl CertificateSource {
    /// An identity controller, asked at the default times.
    #[must_use]
    pub const fn controller(controller: Controller, dir: PathBuf, token_file: PathBuf) -> Self {
        let (min_refresh, max_refresh) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));
        Self::Controller { controller, dir, token_file, min_refresh, max_refresh }
    }

    /// A SPIFFE agent that listens on a Unix socket.
    #[must_use]
    pub const fn workload_api(socket: PathBuf, backoff: Backoff) -> Self {
        Self::WorkloadApi { socket, backoff }
    }
}

impl Control {
    /// The defaults, for these controllers and this workload.
    #[must_use]
    pub fn new(destination: Controller, policy: Controller, workload: String) -> Self {
        Self {
            destination,
            policy,
            stream_limits: StreamLimits::default(),
            context: String::new(),
            workload,
            profile_suffixes: syntax::dns_suffixes("svc.cluster.local.").expect("svc.cluster.local. is a DNS name"),
            profile_networks: Vec::new(),
            cluster_networks: Vec::new(),
        }
    }

    /// The limits on watches of this controller.
    #[must_use]
    pub fn limits_of(&self, controller: &Controller) -> StreamLimits {
        if controller.identity.is_none() { StreamLimits::default() } else { self.stream_limits }
    }
}

impl Tracing {
    /// What the spans say about the process, given the text of the attributes file.
    #[must_use]
    pub fn attributes(&self, file: &str) -> BTreeMap<String, String> {
        let named = |name: &str, value: &Option<String>| value.clone().map(|value| (name.to_owned(), value));
        // A later one wins.
        let service = named("service.name", &self.service_name).into_iter();
        let all = service.chain(syntax::attributes(file)).chain(self.extra.iter().cloned()).chain(self.resource.iter().cloned());
        let mut attributes: BTreeMap<_, _> = named("host.name", &self.host_name).into_iter().collect();
        attributes.extend(all);
        attributes
    }
}

impl Default for Listeners {
    fn default() -> Self {
        let on = |ip: Ipv4Addr, port| SocketAddr::new(ip.into(), port);
        Self {
            outbound: vec![on(Ipv4Addr::LOCALHOST, 4140)],
            inbound: on(Ipv4Addr::UNSPECIFIED, 4143),
            control: on(Ipv4Addr::UNSPECIFIED, 4190),
            admin: on(Ipv4Addr::LOCALHOST, 4191),
            file: None,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { shutdown_endpoint: false, metrics_retain_idle: Duration::from_secs(600) }
    }
}
