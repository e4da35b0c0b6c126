//! Where a workload's traffic goes, as a function of the cluster's objects.
//!
//! Source of the semantics: `policy-controller/k8s/index/src/outbound` and `policy-controller/grpc/src/outbound` of Linkerd 2.x. In short:
//!
//! - A name stands for a Service, whether there is one or not. An address is a Service's, or one that an EgressNetwork has, or outside of the
//!   cluster; an address of the cluster that no Service has is no destination.
//! - Routes of the destination's own namespace are for everybody, those of another namespace for the clients of that namespace.
//! - What a Service's port says it speaks comes first; where it says nothing, the kinds of its routes decide.
//! - A backend that cannot be used keeps its share of the traffic, and fails it. No grant is asked for across namespaces.
//!
//! It differs in this: a reference to a parent without a port names its kind as well, and what a route does to headers of responses is done to
//! responses.

mod backend;
mod connections;
mod destination;
mod grpc;
mod http;
mod parent;
mod remarks;

use std::{net::SocketAddr, num::NonZeroU16, sync::Arc, time::Duration};

use meshkit_core::Endpoint;
use meshkit_policy::{
    Meta, Resource,
    outbound::OpaqueRoute,
    route::{Route as Routed, Rule as RoutedRule},
    tls,
};
use meshkit_retry::{Params, Timeouts};
use meshkit_wire::outbound::{Backend, Dispatch, Distribution, OpaqueRule, Overrides, Policy, Protocol, RouteBackend, Rule};

pub use destination::{Destination, Subject};

use self::parent::Parent;
use crate::{model::Model, view::Route};

const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Model<'_> {
    /// The policy of a destination.
    #[must_use]
    pub fn outbound(&self, subject: &Subject) -> Policy {
        match &subject.destination {
            Destination::Service { namespace, name, port } => self.of_parent(&Parent::service(self, namespace, name, *port), subject),
            Destination::UndefinedPort { namespace, name, port } => undefined_port(parent::service_meta(namespace, name, *port)),
            Destination::Egress { namespace, name, addr } => self.of_parent(&Parent::egress(self, namespace, name, *addr), subject),
            Destination::External(addr) => external(*addr),
        }
    }

    fn of_parent(&self, parent: &Parent<'_>, subject: &Subject) -> Policy {
        let all = self.routes(subject);
        // A route that cannot be understood is none, and decides nothing.
        let (grpc, http) = (self.grpc_routes(parent, &all), self.http_routes(parent, &all));
        let (tls, tcp) = (self.tls_routes(parent, &all), self.tcp_route(parent, &all));
        let opaque = |tcp: Option<_>| Protocol::Opaque(Some(tcp.unwrap_or_else(|| parent.default_tcp_route())));
        let protocol = match parent.app_protocol() {
            Some("http") => Protocol::Http1(self.http_with_default(parent, http)),
            Some("kubernetes.io/h2c") if grpc.is_empty() => Protocol::Http2(self.http_with_default(parent, http)),
            Some("kubernetes.io/h2c") => Protocol::Grpc(self.grpc_with_default(parent, grpc)),
            // Also what nobody knows.
            Some(_) => opaque(tcp),
            None if parent.is_opaque() => opaque(tcp),
            None if !grpc.is_empty() => Protocol::Grpc(self.grpc_with_default(parent, grpc)),
            None if http.is_empty() && !tls.is_empty() => Protocol::Tls(Self::tls_with_default(parent, tls)),
            None if http.is_empty() && tcp.is_some() => opaque(tcp),
            None => {
                let routes = self.http_with_default(parent, http);
                let opaque = Some(parent.default_tcp_route());
                Protocol::Detect { timeout: DETECT_TIMEOUT, http1: Arc::clone(&routes), http2: routes, opaque }
            }
        };
        Policy { parent: parent.meta.clone(), protocol }
    }

    /// The routes of a destination that are in force for a client, the oldest first.
    pub(crate) fn routes(&self, subject: &Subject) -> Vec<&Route> {
        let Some((parent, port)) = subject.destination.parent() else { return Vec::new() };
        let mut found: Vec<&Route> = Vec::new();
        for attached in self.view.attached(&parent) {
            let (reference, route) = (attached.reference(), &attached.route);
            let namespace = &route.metadata().namespace;
            let is_visible = *namespace == parent.namespace || subject.viewer.as_ref() == Some(namespace);
            let is_meant = is_visible && reference.port.is_none_or(|named| named == port);
            // A route may name its parent more than once; then it stands there one after the other.
            let is_known = found.last().is_some_and(|last| last.key() == route.key());
            if is_meant && !is_known && self.is_route_in_force(route, reference) {
                found.push(route);
            }
        }
        found
    }
}

/// A port that a Service does not declare leads nowhere.
fn undefined_port(parent: Meta) -> Policy {
    let policy = OpaqueRule { filters: [tls::Filter::Forbidden].into(), distribution: Distribution::Empty };
    Policy { parent, protocol: Protocol::Opaque(Some(OpaqueRoute { meta: Meta::builtin("undefined-port"), policy })) }
}

/// An address outside of the cluster is reached as it is.
fn external(addr: SocketAddr) -> Policy {
    let meta = Meta::builtin("egress-fallback");
    let backend = Arc::new(Backend { meta: meta.clone(), dispatch: Dispatch::Forward(Endpoint::new(addr)), accrual: None });
    let rule = rule(first(Arc::clone(&backend)), Timeouts::default(), None, Overrides::PassedOn);
    let http: Arc<[_]> = [default_route(meta.clone(), vec![meshkit_policy::http::Match::default()], rule)].into();
    let opaque = OpaqueRule { filters: [].into(), distribution: first(backend) };
    let protocol = Protocol::Detect {
        timeout: DETECT_TIMEOUT,
        http1: Arc::clone(&http),
        http2: http,
        opaque: Some(OpaqueRoute { meta: meta.clone(), policy: opaque }),
    };
    Policy { parent: meta, protocol }
}

fn first<F>(backend: Arc<Backend>) -> Distribution<F> {
    Distribution::First([RouteBackend { backend, filters: [].into() }].into())
}

fn rule<F>(distribution: Distribution<F>, timeouts: Timeouts, retry: Option<Params>, overrides: Overrides) -> Rule<F> {
    Rule { filters: [].into(), distribution, timeouts, retry, overrides }
}

fn default_route<M, F>(meta: Meta, matches: Vec<M>, policy: Rule<F>) -> Routed<M, Rule<F>> {
    Routed { meta, hosts: Vec::new(), rules: vec![RoutedRule { matches, policy }] }
}

fn object(group: &str, kind: &str, namespace: &str, name: &str, port: u16) -> Meta {
    Meta::Resource(Arc::new(Resource {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        section: String::new(),
        port: NonZeroU16::new(port),
    }))
}

#[cfg(test)]
mod tests;
