//! The proxy's metric families, under the names that the compatible system's dashboards know.

mod balancer;
mod connection;
mod control;
pub(crate) mod exchange;
mod extension;
mod failure;
mod fault;
mod follow;
mod http;
mod inbound;
mod profile;
pub(crate) mod route;
mod tcp;
mod trace;

use std::{sync::Arc, time::SystemTime};

use meshkit_core::{Clock, Identity};
use meshkit_policy::TlsState;
use meshkit_runtime::metrics::{Counter, Family, FloatGauge, Registry, Unit};

pub use balancer::BalancerFamilies;
pub(crate) use balancer::BalancerHandle;
pub(crate) use connection::RouteConnection;
pub use connection::{ConnectionFamilies, DetectFamilies};
pub use control::ControlFamilies;
pub(crate) use control::{Resolution, TRACE_COLLECTOR};
pub use exchange::{Count, Exchange, Took};
pub use extension::{DigestCounters, TrustAnchorCounters};
pub(crate) use failure::Failure;
pub use fault::FaultFamilies;
pub(crate) use fault::FaultHandle;
pub(crate) use follow::{End, Followed, Listen};
pub use http::{Edge, HttpFamilies, HttpHandle};
pub use inbound::{InboundFamilies, InboundHandle};
pub use profile::ProfileFamilies;
pub(crate) use profile::{ProfileHandle, decided};
pub use route::{BackendHandle, Kind, RouteFamilies, RouteHandle};
pub use tcp::{Counted, TcpFamilies, TcpHandle};
pub(crate) use trace::TraceCounters;

/// Labels that are put together once, where the handle is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[(String, String)]>);

impl Labels {
    /// These pairs, in their order.
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl meshkit_runtime::metrics::Labels for Labels {
    fn write(&self, out: &mut meshkit_runtime::metrics::LabelWriter<'_>) {
        self.0.iter().for_each(|(key, value)| out.pair(key, value));
    }
}

/// Everything that the data path counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests and responses.
    pub http: HttpFamilies,
    /// Connections and their bytes.
    pub tcp: TcpFamilies,
    /// Requests that the policy allows, refuses, or finds no route for.
    pub authz: AuthzFamilies,
    /// Errors of the proxy itself.
    pub errors: ErrorFamilies,
    /// Routes of outbound policies.
    pub routes: ByKind<RouteFamilies>,
    /// Routes of inbound policies.
    pub inbound: ByKind<InboundFamilies>,
    /// Routes of service profiles.
    pub profiles: ProfileFamilies,
    /// Planned trouble.
    pub faults: FaultFamilies,
    /// Balancers.
    pub balancers: Balancers,
    /// Connections of outbound policies.
    pub connections: ConnectionFamilies,
    /// Detection of HTTP, inbound.
    pub inbound_detect: DetectFamilies,
    /// Detection of HTTP, outbound.
    pub outbound_detect: DetectFamilies,
    /// `inbound_tcp_transport_header_connections_total`
    pub transport_headers: Family<Labels, Counter>,
}

/// Families for HTTP and for gRPC.
#[derive(Clone, Debug)]
pub struct ByKind<F> {
    /// For HTTP.
    pub http: F,
    /// For gRPC.
    pub grpc: F,
}

/// Families of balancers, by what they balance.
#[derive(Clone, Debug)]
pub struct Balancers {
    /// Requests.
    pub http: BalancerFamilies,
    /// Connections.
    pub tcp: BalancerFamilies,
    /// Connections that are TLS, ended by the server.
    pub tls: BalancerFamilies,
}

/// Verdicts of the inbound policy.
#[derive(Clone, Debug)]
pub struct AuthzFamilies {
    /// `inbound_http_authz_allow_total`
    pub http_allow: Family<Labels, Counter>,
    /// `inbound_http_authz_deny_total`
    pub http_deny: Family<Labels, Counter>,
    /// `inbound_http_route_not_found_total`
    pub http_not_found: Family<Labels, Counter>,
    /// `inbound_http_local_ratelimit_total`
    pub http_rate_limited: Family<Labels, Counter>,
    /// `inbound_tcp_authz_allow_total`
    pub tcp_allow: Family<Labels, Counter>,
    /// `inbound_tcp_authz_deny_total`
    pub tcp_deny: Family<Labels, Counter>,
    /// `inbound_tcp_authz_terminate_total`
    pub tcp_terminate: Family<Labels, Counter>,
}

/// Errors of the proxy itself.
#[derive(Clone, Debug)]
pub struct ErrorFamilies {
    /// `inbound_http_errors_total`
    pub inbound_http: Family<Labels, Counter>,
    /// `inbound_tcp_errors_total`
    pub inbound_tcp: Family<Labels, Counter>,
    /// `outbound_http_errors_total`
    pub outbound_http: Family<Labels, Counter>,
    /// `outbound_tcp_errors_total`
    pub outbound_tcp: Family<Labels, Counter>,
}

impl Metrics {
    /// Registers the families.
    #[must_use]
    pub fn register(registry: &Registry, clock: &Arc<dyn Clock>) -> Self {
        let legacy = registry.legacy();
        let balancers = |prefix| BalancerFamilies::register(registry, prefix, Arc::clone(clock));
        let counter = |name: &str, help| legacy.counter_family(name, help);
        Self {
            http: HttpFamilies::register(registry, None),
            tcp: TcpFamilies::register(registry),
            authz: AuthzFamilies {
                http_allow: counter("inbound_http_authz_allow_total", "HTTP requests that an authorization allowed"),
                http_deny: counter("inbound_http_authz_deny_total", "HTTP requests that no authorization allowed"),
                http_not_found: counter("inbound_http_route_not_found_total", "HTTP requests for which there was no route"),
                http_rate_limited: counter("inbound_http_local_ratelimit_total", "HTTP requests that a local rate limit refused"),
                tcp_allow: counter("inbound_tcp_authz_allow_total", "Connections that an authorization allowed"),
                tcp_deny: counter("inbound_tcp_authz_deny_total", "Connections that no authorization allowed"),
                tcp_terminate: counter("inbound_tcp_authz_terminate_total", "Connections ended because their authorization was withdrawn"),
            },
            errors: ErrorFamilies {
                inbound_http: counter("inbound_http_errors_total", "Inbound requests that the proxy itself failed"),
                inbound_tcp: counter("inbound_tcp_errors_total", "Inbound connections that the proxy itself failed"),
                outbound_http: counter("outbound_http_errors_total", "Outbound requests that the proxy itself failed"),
                outbound_tcp: counter("outbound_tcp_errors_total", "Outbound connections that the proxy itself failed"),
            },
            routes: ByKind { http: RouteFamilies::register(registry, Kind::Http), grpc: RouteFamilies::register(registry, Kind::Grpc) },
            inbound: ByKind {
                http: InboundFamilies::register(registry, Kind::Http),
                grpc: InboundFamilies::register(registry, Kind::Grpc),
            },
            profiles: ProfileFamilies::register(registry),
            faults: FaultFamilies::register(registry),
            balancers: Balancers {
                http: balancers("outbound_http_balancer"),
                tcp: balancers("outbound_tcp_balancer"),
                tls: balancers("outbound_tls_balancer"),
            },
            connections: ConnectionFamilies::register(registry),
            inbound_detect: DetectFamilies::register(registry, "inbound"),
            outbound_detect: DetectFamilies::register(registry, "outbound"),
            transport_headers: registry.open().counter_family(
                "inbound_tcp_transport_header_connections",
                "Connections that said in a transport header what they are for",
            ),
        }
    }
}

/// Registers `rustls_info`: which ciphers and key exchanges this proxy has, and whose.
pub(crate) fn tls_info(registry: &Registry, provider: &meshkit_tls::rustls::crypto::CryptoProvider) {
    let list = |names: Vec<&str>| names.into_iter().map(|name| format!("{name},")).collect::<String>();
    let suites = provider.cipher_suites.iter().filter_map(|suite| suite.suite().as_str()).collect();
    let exchanges = provider.kx_groups.iter().filter_map(|group| group.name().as_str()).collect();
    let labels = Labels::new([
        ("tls_suites", list(suites)),
        ("tls_kx_groups", list(exchanges)),
        ("tls_rand", format!("{:?}", provider.secure_random)),
        ("tls_key_provider", format!("{:?}", provider.key_provider)),
        ("tls_fips", provider.fips().to_string()),
    ]);
    registry.open().gauge_family("rustls_info", "The TLS library's algorithms").handle(&labels).set(1);
}

/// The state of the proxy's own certificate.
#[derive(Clone, Debug)]
pub struct Certificates {
    expires: Arc<FloatGauge>,
    refreshed: Arc<FloatGauge>,
    refreshes: Family<Labels, Counter>,
}

impl Certificates {
    /// Registers the families.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let scope = registry.open().prefix("control_identity");
        let seconds = scope.clone().unit(Unit::Seconds);
        Self {
            expires: seconds.float_gauge("cert_expiration_timestamp", "When the certificate ends, as a Unix time"),
            refreshed: seconds.float_gauge("cert_refresh_timestamp", "When the certificate was issued, as a Unix time"),
            refreshes: scope.counter_family("cert_refreshes", "Requests for a certificate, by their result"),
        }
    }

    pub(crate) fn refreshed(&self, not_after: SystemTime, now: SystemTime) {
        let secs = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.expires.set(secs(not_after));
        self.refreshed.set(secs(now));
        self.refreshes.handle(&Labels::new([("result", "ok")])).incr();
    }

    pub(crate) fn failed(&self) {
        self.refreshes.handle(&Labels::new([("result", "error")])).incr();
    }
}

/// The labels of a server's side of TLS.
pub(crate) fn tls_server(tls: &TlsState) -> Vec<(&'static str, String)> {
    match tls {
        TlsState::Terminated { client_id } => {
            vec![("tls", "true".to_owned()), ("client_id", client_id.as_ref().map(Identity::to_string).unwrap_or_default())]
        }
        TlsState::Passthrough { sni } => vec![("tls", "opaque".to_owned()), ("sni", sni.to_string())],
        TlsState::NoTls => vec![("tls", "no_identity".to_owned()), ("no_tls_reason", "no_tls_from_remote".to_owned())],
    }
}

/// The labels of an address that is connected to.
pub(crate) fn target(addr: std::net::SocketAddr) -> [(&'static str, String); 3] {
    [("target_addr", addr.to_string()), ("target_ip", addr.ip().to_string()), ("target_port", addr.port().to_string())]
}
