//! Where a workload's traffic goes, as a function of the cluster's objects.

mod convert;
mod routes;

pub(crate) use routes::applies;

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use meshkit_core::{Authority, Backoff, grpc::Code};
use meshkit_manifest::{Cluster, annotations, core::Service};
use meshkit_policy::{
    Meta, Resource, http,
    outbound::OpaqueRoute,
    route::{Route, Rule as RouteRule},
    tls,
};
use meshkit_retry::Timeouts;
use meshkit_wire::{
    Refused,
    outbound::{Accrual, Backend, Dispatch, Distribution, Load, OpaqueRule, Overrides, Policy, Protocol, RouteBackend, Rule, Target},
};

use crate::inbound::{Mesh, Workload};

const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
const DEFAULT_OPAQUE_PORTS: &str = "25,587,3306,4444,5432,6379,9300,11211";
const ACCRUAL: &str = "balancer.linkerd.io/failure-accrual";

/// The policy of a destination, as a workload sees it.
///
/// # Errors
/// There is no such destination, or its name is malformed.
pub fn policy(cluster: &Cluster, mesh: &Mesh, source: &Workload, target: &Target) -> Result<Policy, Refused> {
    match target {
        Target::Authority(text) => {
            let authority = Authority::parse(text, 80).map_err(|e| Refused::new(Code::INVALID_ARGUMENT, e.to_string()))?;
            let service = named_service(cluster, &authority)?;
            Ok(of_service(cluster, mesh, source, service, authority.port()))
        }
        Target::Addr(addr) => {
            if let Some(service) = addressed_service(cluster, addr.ip()) {
                let declared = service.spec.ports.iter().any(|p| p.port == addr.port());
                return Ok(if declared { of_service(cluster, mesh, source, service, addr.port()) } else { undefined_port() });
            }
            if mesh.networks.iter().any(|net| net.contains(&addr.ip())) {
                return Err(not_found());
            }
            Ok(external(*addr))
        }
    }
}

fn not_found() -> Refused {
    Refused::new(Code::NOT_FOUND, "No such service")
}

/// The Service of a name such as `web.ns.svc.cluster.local`.
pub(crate) fn named_service<'a>(cluster: &'a Cluster, authority: &Authority) -> Result<&'a Arc<Service>, Refused> {
    let mut labels = authority.name().ok_or_else(not_found)?.split('.');
    let (Some(name), Some(namespace), Some("svc")) = (labels.next(), labels.next(), labels.next()) else {
        return Err(not_found());
    };
    cluster.service(namespace, name).ok_or_else(not_found)
}

/// The Service that has this cluster IP.
pub(crate) fn addressed_service(cluster: &Cluster, ip: IpAddr) -> Option<&Arc<Service>> {
    let ip = ip.to_string();
    cluster.services().find(|s| s.spec.cluster_ip.as_ref() == Some(&ip) || s.spec.cluster_ips.contains(&ip))
}

/// A port that a Service does not declare leads nowhere.
fn undefined_port() -> Policy {
    let meta = Meta::builtin("undefined-port");
    let policy = OpaqueRule { filters: [tls::Filter::Forbidden].into(), distribution: Distribution::Empty };
    Policy { parent: meta.clone(), protocol: Protocol::Opaque(Some(OpaqueRoute { meta, policy })) }
}

/// An address outside of the cluster is reached as it is.
fn external(addr: SocketAddr) -> Policy {
    let meta = Meta::builtin("egress-fallback");
    let endpoint = meshkit_core::Endpoint::new(addr);
    let backend = Arc::new(Backend { meta: meta.clone(), dispatch: Dispatch::Forward(endpoint), accrual: None });
    let http = || -> Arc<[_]> { [route(meta.clone(), Vec::new(), rule(first(Arc::clone(&backend))))].into() };
    let opaque = OpaqueRule { filters: [].into(), distribution: first(Arc::clone(&backend)) };
    let protocol = Protocol::Detect {
        timeout: DETECT_TIMEOUT,
        http1: http(),
        http2: http(),
        opaque: Some(OpaqueRoute { meta: meta.clone(), policy: opaque }),
    };
    Policy { parent: meta, protocol }
}

fn of_service(cluster: &Cluster, mesh: &Mesh, source: &Workload, service: &Service, port: u16) -> Policy {
    let parent = Parent::new(mesh, service, port);
    let (grpc, http) = (routes::grpc(cluster, source, &parent), routes::http(cluster, source, &parent));
    let declared = service.spec.ports.iter().find(|p| p.port == port);
    let protocol = match declared.and_then(|p| p.app_protocol.as_deref()) {
        Some("http") => Protocol::Http1(parent.http_or_default(http)),
        Some("kubernetes.io/h2c") if grpc.is_empty() => Protocol::Http2(parent.http_or_default(http)),
        Some("kubernetes.io/h2c") => Protocol::Grpc(grpc.into()),
        Some(_) => parent.opaque(),
        None if parent.is_opaque() => parent.opaque(),
        None if !grpc.is_empty() => Protocol::Grpc(grpc.into()),
        None => {
            let routes = parent.http_or_default(http);
            let opaque = match parent.opaque() {
                Protocol::Opaque(route) => route,
                _ => None,
            };
            Protocol::Detect { timeout: DETECT_TIMEOUT, http1: Arc::clone(&routes), http2: routes, opaque }
        }
    };
    Policy { parent: parent.meta.clone(), protocol }
}

/// A Service's port, and what its annotations say for all its routes.
struct Parent<'a> {
    service: &'a Service,
    port: u16,
    meta: Meta,
    domain: String,
    load: Load,
    accrual: Option<Accrual>,
    timeouts: Timeouts,
}

impl<'a> Parent<'a> {
    fn new(mesh: &Mesh, service: &'a Service, port: u16) -> Self {
        let notes = &service.metadata.annotations;
        // What a Service's annotations get wrong is not there: a webhook does not look at them.
        let timeouts = annotations::timeouts(notes).map(|t| Timeouts { request: t.request, response: t.response, idle: t.idle });
        Self {
            service,
            port,
            meta: service_meta(&service.metadata.namespace, &service.metadata.name, port),
            domain: mesh.domain.clone(),
            load: Load::default(),
            accrual: accrual(notes),
            timeouts: timeouts.unwrap_or_default(),
        }
    }

    /// A Service's port as a backend: what is special about its load and circuit is the parent's.
    fn backend(&self, namespace: &str, name: &str, port: u16) -> Arc<Backend> {
        let path = format!("{name}.{namespace}.svc.{}:{port}", self.domain);
        let dispatch = Dispatch::Balance { path, load: self.load };
        Arc::new(Backend { meta: service_meta(namespace, name, port), dispatch, accrual: self.accrual })
    }

    fn own(&self) -> Arc<Backend> {
        self.backend(&self.service.metadata.namespace, &self.service.metadata.name, self.port)
    }

    fn http_or_default(&self, routes: Vec<Route<http::Match, Rule<http::Filter>>>) -> Arc<[Route<http::Match, Rule<http::Filter>>]> {
        if !routes.is_empty() {
            return routes.into();
        }
        let mut rule = rule(first(self.own()));
        rule.timeouts = self.timeouts;
        [route(Meta::builtin("http"), vec![http::Match::prefix("/")], rule)].into()
    }

    fn opaque(&self) -> Protocol {
        let policy = OpaqueRule { filters: [].into(), distribution: first(self.own()) };
        Protocol::Opaque(Some(OpaqueRoute { meta: Meta::builtin("opaq"), policy }))
    }

    fn is_opaque(&self) -> bool {
        let ports = self.service.metadata.annotations.get(OPAQUE_PORTS).map_or(DEFAULT_OPAQUE_PORTS, String::as_str);
        crate::inbound::contains(ports, self.port)
    }
}

fn service_meta(namespace: &str, name: &str, port: u16) -> Meta {
    Meta::Resource(Arc::new(Resource {
        group: "core".to_owned(),
        kind: "Service".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        section: String::new(),
        port: NonZeroU16::new(port),
    }))
}

fn first<F>(backend: Arc<Backend>) -> Distribution<F> {
    Distribution::First([RouteBackend { backend, filters: [].into() }].into())
}

fn rule<F>(distribution: Distribution<F>) -> Rule<F> {
    Rule { filters: [].into(), distribution, timeouts: Timeouts::default(), retry: None, overrides: Overrides::PassedOn }
}

fn route<M, F>(meta: Meta, matches: Vec<M>, policy: Rule<F>) -> Route<M, Rule<F>> {
    Route { meta, hosts: Vec::new(), rules: vec![RouteRule { matches, policy }] }
}

/// `balancer.linkerd.io/failure-accrual` and what goes with it; a value that cannot be read is as if it were not there.
fn accrual(notes: &std::collections::BTreeMap<String, String>) -> Option<Accrual> {
    let mode = notes.get(ACCRUAL)?;
    let own = |suffix: &str| notes.get(&format!("{ACCRUAL}-consecutive-{suffix}")).map(String::as_str);
    let time = |suffix: &str, default: u64| match own(suffix) {
        Some(text) => annotations::duration(text).ok(),
        None => Some(Duration::from_secs(default)),
    };
    let max_failures = own("max-failures").map_or(Some(7), |text| text.parse().ok())?;
    let jitter = own("jitter-ratio").map_or(Some(0.5), |text| text.parse().ok())?;
    let backoff = Backoff::new(time("min-penalty", 1)?, time("max-penalty", 60)?, jitter).ok()?;
    match mode.as_str() {
        "consecutive" => Some(Accrual::Consecutive { max_failures, backoff }),
        "unified" => {
            let rate = |suffix: &str| notes.get(&format!("balancer.alpha.linkerd.io/failure-accrual-success-rate-{suffix}"));
            Some(Accrual::Unified {
                success_rate: rate("threshold").map_or(Some(0.8), |t| t.parse().ok())?,
                window: rate("window").map_or(Some(Duration::from_secs(10)), |t| annotations::duration(t).ok())?,
                min_requests: rate("min-requests").map_or(Some(5), |t| t.parse().ok())?,
                max_failures,
                backoff,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
