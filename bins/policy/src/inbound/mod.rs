//! What a workload's port allows, as a function of the cluster's objects.
//!
//! Source of the semantics: `policy-controller/k8s/index/src/inbound` and `policy-controller/grpc/src/inbound.rs` of Linkerd 2.x. In short:
//!
//! - Of several Servers that select a port, the oldest counts. A port with a Server allows whom authorizations of the Server name, and whom
//!   its `accessPolicy` names; the workload's default policy means nothing there. A port without one has the default policy.
//! - HTTPRoutes and GRPCRoutes of a Server take the place of the route `default`, and of the route `probe` for what the kubelet asks. Who may
//!   call on every route is said by the Server; authorizations of a route come on top.
//! - A policy that names something that does not exist permits nobody.

mod authorizations;
mod rate_limit;
mod remarks;
mod routes;

use std::{collections::BTreeSet, time::Duration};

use meshkit_core::grpc::Code;
use meshkit_manifest::{
    Kind, Object,
    core::Pod,
    external::ExternalWorkload,
    meta::{IntOrString, LabelSelector, Metadata},
    policy::{ProxyProtocol, Server},
};
use meshkit_policy::{
    DefaultPolicy, Meta, Resource,
    inbound::{Policy, Protocol},
};
use meshkit_wire::Refused;

use crate::{
    model::Model,
    settings::contains,
    view::GROUP,
    workload::{Unit, Workload},
};

const DEFAULT_POLICY: &str = "config.linkerd.io/default-inbound-policy";
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
const REQUIRE_IDENTITY: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A port of a workload, without what does not matter for its policy: all replicas of a Deployment have the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    namespace: String,
    ruler: Ruler,
    /// Paths that the kubelet asks for.
    probes: BTreeSet<String>,
    /// Servers that would say who may call if an older one did not.
    hidden: Vec<String>,
    /// A default policy that the workload or its namespace asks for, and nobody knows.
    unknown: Option<String>,
}

/// What says who may call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Ruler {
    /// A Server of this name.
    Server(String),
    /// No object.
    Default(DefaultPolicy, Stream),
}

/// What becomes of a port about which no object says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stream {
    Detected,
    Opaque,
}

/// Whose ports there are.
#[derive(Clone, Copy, Debug)]
enum Host<'a> {
    Pod(&'a Pod),
    External(&'a ExternalWorkload),
}

impl Port {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Server that says who may call, if there is one.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        match &self.ruler {
            Ruler::Server(name) => Some(name),
            Ruler::Default(..) => None,
        }
    }
}

impl Model<'_> {
    /// A workload's port. It need not be one that the workload declares.
    ///
    /// # Errors
    /// There is no such workload.
    pub fn port(&self, workload: &Workload, port: u16) -> Result<Port, Refused> {
        let host = self.host(workload)?;
        let namespace = workload.namespace.clone();
        let selecting = self.view.servers(&namespace).iter().filter(|server| host.is_selected(server, port));
        let mut names = selecting.map(|server| server.metadata.name.clone());
        let (ruler, unknown) = match names.next() {
            Some(oldest) => (Ruler::Server(oldest), None),
            None => self.default_of(host.metadata(), port),
        };
        let hidden = names.collect();
        Ok(Port { namespace, ruler, probes: host.probes(port), hidden, unknown })
    }

    fn host(&self, workload: &Workload) -> Result<Host<'_>, Refused> {
        let (kind, name) = match &workload.unit {
            Unit::Pod(name) => (Kind::Pod, name),
            Unit::External(name) => (Kind::ExternalWorkload, name),
        };
        match self.view.cluster().get(kind, &workload.namespace, name) {
            Some(Object::Pod(pod)) => Ok(Host::Pod(pod)),
            Some(Object::ExternalWorkload(external)) => Ok(Host::External(external)),
            _ => Err(Refused::new(Code::NOT_FOUND, "unknown server")),
        }
    }

    /// What says who may call where no Server does, and the name of a default policy that nobody knows.
    fn default_of(&self, metadata: &Metadata, port: u16) -> (Ruler, Option<String>) {
        // The injector copies annotations of a namespace to its Pods. Sources without an injector may tell of the namespace itself.
        let namespace = match self.view.cluster().get(Kind::Namespace, "", &metadata.namespace) {
            Some(Object::Namespace(namespace)) => Some(&namespace.metadata.annotations),
            _ => None,
        };
        let note = |key: &str| metadata.annotations.get(key).or_else(|| namespace?.get(key));
        let lists = |key: &str| note(key).is_some_and(|list| contains(list, port));
        let asked = note(DEFAULT_POLICY);
        let known = asked.and_then(|name| name.parse().ok());
        let unknown = asked.filter(|_| known.is_none()).cloned();
        let mut default = known.unwrap_or(self.mesh.default_policy);
        if lists(REQUIRE_IDENTITY) {
            default = match default {
                DefaultPolicy::AllUnauthenticated => DefaultPolicy::AllAuthenticated,
                DefaultPolicy::ClusterUnauthenticated => DefaultPolicy::ClusterAuthenticated,
                other => other,
            };
        }
        (Ruler::Default(default, if lists(OPAQUE_PORTS) { Stream::Opaque } else { Stream::Detected }), unknown)
    }

    /// What a port allows.
    #[must_use]
    pub fn inbound(&self, port: &Port) -> Policy {
        match &port.ruler {
            Ruler::Server(name) => match self.view.server(&port.namespace, name) {
                Some(server) => self.of_server(port, server),
                // It stood in another view. Nobody may call what nothing is known of.
                None => self.of_default(port, DefaultPolicy::Deny, Stream::Detected),
            },
            Ruler::Default(default, stream) => self.of_default(port, *default, *stream),
        }
    }

    fn of_default(&self, port: &Port, default: DefaultPolicy, stream: Stream) -> Policy {
        let mut policy = default.policy(&self.mesh.networks, DETECT_TIMEOUT);
        policy.protocol = match stream {
            Stream::Opaque => Protocol::Opaque,
            // `deny` is detection without authorizations here: HTTP clients learn that they are denied.
            Stream::Detected => Protocol::Detect { timeout: DETECT_TIMEOUT, routes: self.default_http_routes(port), rate_limit: None },
        };
        policy
    }

    fn of_server(&self, port: &Port, server: &Server) -> Policy {
        let (routes, rate_limit) = (|| self.server_http_routes(port, server), || self.rate_limit(server));
        let protocol = match server.spec.proxy_protocol.unwrap_or_default() {
            ProxyProtocol::Unknown => Protocol::Detect { timeout: DETECT_TIMEOUT, routes: routes(), rate_limit: rate_limit() },
            ProxyProtocol::Http1 => Protocol::Http1 { routes: routes(), rate_limit: rate_limit() },
            ProxyProtocol::Http2 => Protocol::Http2 { routes: routes(), rate_limit: rate_limit() },
            ProxyProtocol::Grpc => Protocol::Grpc { routes: self.server_grpc_routes(server) },
            ProxyProtocol::Opaque => Protocol::Opaque,
            ProxyProtocol::Tls => Protocol::Tls,
        };
        // What cannot be read was refused at the door, and permits nobody.
        let access = server.spec.access_policy.as_deref().and_then(|name| name.parse::<DefaultPolicy>().ok());
        let granted = access.map(|access| access.policy(&self.mesh.networks, DETECT_TIMEOUT).authorizations);
        let named = self.server_authorizations(server);
        Policy {
            protocol,
            server: meta("server", &server.metadata),
            authorizations: named.into_iter().chain(granted.iter().flat_map(|g| g.iter().cloned())).collect(),
        }
    }
}

impl Host<'_> {
    fn metadata(&self) -> &Metadata {
        match self {
            Self::Pod(pod) => &pod.metadata,
            Self::External(external) => &external.metadata,
        }
    }

    fn is_selected(&self, server: &Server, port: u16) -> bool {
        let selects = |selector: &Option<LabelSelector>| selector.as_ref().is_some_and(|s| s.matches(&self.metadata().labels));
        let is_meant = match self {
            Self::Pod(_) => selects(&server.spec.pod_selector),
            Self::External(_) => selects(&server.spec.external_workload_selector),
        };
        is_meant && self.is_port(&server.spec.port, port)
    }

    /// Several ports may have one name: containers do not know each other.
    fn is_port(&self, wanted: &IntOrString, port: u16) -> bool {
        match (wanted, self) {
            (IntOrString::Int(number), _) => *number == i64::from(port),
            (IntOrString::String(name), Self::Pod(pod)) => pod.spec.ports().any(|(known, number)| (known, number) == (name, port)),
            (IntOrString::String(name), Self::External(external)) => {
                external.spec.ports.iter().any(|known| (&known.name, known.port) == (name, port))
            }
        }
    }

    fn probes(&self, port: u16) -> BTreeSet<String> {
        match self {
            Self::Pod(pod) => {
                let paths = pod.spec.probes().filter(|(of, _)| *of == port).map(|(_, path)| path.split('?').next().unwrap_or(path));
                paths.map(str::to_owned).collect()
            }
            Self::External(_) => BTreeSet::new(),
        }
    }
}

/// An object of the mesh's group, as policies name it.
fn meta(kind: &str, metadata: &Metadata) -> Meta {
    let resource = Resource {
        group: GROUP.to_owned(),
        kind: kind.to_owned(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        ..Resource::default()
    };
    Meta::Resource(resource.into())
}

#[cfg(test)]
mod tests;
