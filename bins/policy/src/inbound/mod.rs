//! What a workload's port allows, as a function of the cluster's objects.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ipnet::IpNet;
use meshkit_core::{Identity, grpc::Code};
use meshkit_manifest::{
    Cluster, Kind, Object,
    core::Pod,
    policy::{AuthorizationPolicy, MeshTLSAuthentication, ProxyProtocol, Reference, Server, ServerAuthorization},
};
use meshkit_policy::{
    Authentication, Authorization, DefaultPolicy, Meta, Resource,
    authorization::Suffix,
    http::Match,
    inbound::{Policy, Protocol, RoutePolicy, default_route},
    net::Network,
    route::{PathMatch, Route, Rule},
};
use meshkit_wire::Refused;
use serde::Deserialize;

const GROUP: &str = "policy.linkerd.io";
const DEFAULT_POLICY: &str = "config.linkerd.io/default-inbound-policy";
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is the same for every answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Namespace of the control plane.
    pub namespace: String,
    /// DNS domain of the cluster.
    pub domain: String,
    /// The last part of every identity.
    pub trust_domain: String,
    /// Networks of the cluster.
    pub networks: Vec<IpNet>,
    /// Where probes come from.
    pub probe_networks: Vec<IpNet>,
    /// What a port without a Server allows.
    pub default_policy: DefaultPolicy,
}

/// What a proxy calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Workload {
    /// Its namespace.
    pub ns: String,
    /// Its Pod.
    pub pod: String,
}

impl Workload {
    /// Reads `{"ns":…,"pod":…}` or the older `ns:pod`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let old = || {
            let (ns, pod) = text.split_once(':')?;
            (!ns.is_empty() && !pod.is_empty() && !text.contains('{')).then(|| Self { ns: ns.to_owned(), pod: pod.to_owned() })
        };
        let parsed = serde_json::from_str(text.trim()).ok().or_else(old);
        parsed.ok_or_else(|| Refused::new(Code::INVALID_ARGUMENT, format!("{text:?} is not a workload")))
    }
}

/// What a workload's port allows.
///
/// # Errors
/// There is no such workload.
pub fn policy(cluster: &Cluster, mesh: &Mesh, workload: &Workload, port: u16) -> Result<Policy, Refused> {
    let pod = pod(cluster, workload)?;
    match server(cluster, pod, port) {
        Some(server) => Ok(of_server(cluster, mesh, pod, port, server)),
        None => Ok(without_server(mesh, pod, port)),
    }
}

/// The Pod of a workload.
pub(crate) fn pod<'a>(cluster: &'a Cluster, workload: &Workload) -> Result<&'a Arc<Pod>, Refused> {
    cluster.pod(&workload.ns, &workload.pod).ok_or_else(|| Refused::new(Code::NOT_FOUND, "unknown server"))
}

/// The Server that selects the Pod's port: the oldest, then the first by name.
pub(crate) fn server<'a>(cluster: &'a Cluster, pod: &Pod, port: u16) -> Option<&'a Arc<Server>> {
    let servers = cluster.objects().filter_map(|object| match object {
        Object::Server(server) => Some(server),
        _ => None,
    });
    let selects = |server: &&Arc<Server>| {
        let same = server.metadata.namespace == pod.metadata.namespace;
        let selected = server.spec.pod_selector.as_ref().is_some_and(|s| s.matches(&pod.metadata.labels));
        same && selected && server.spec.port.port(pod.spec.ports()) == Some(port)
    };
    let age = |server: &&Arc<Server>| {
        let created = server.metadata.creation_timestamp.clone();
        (created.is_none(), created, server.metadata.name.clone())
    };
    servers.filter(selects).min_by_key(age)
}

fn without_server(mesh: &Mesh, pod: &Pod, port: u16) -> Policy {
    let annotation = pod.metadata.annotations.get(DEFAULT_POLICY).and_then(|name| name.parse().ok());
    let default = annotation.unwrap_or(mesh.default_policy);
    let mut policy = default.policy(&mesh.networks, DETECT_TIMEOUT);
    if pod.metadata.annotations.get(OPAQUE_PORTS).is_some_and(|ports| contains(ports, port)) {
        policy.protocol = Protocol::Opaque;
    } else {
        // `deny` is detection without authorizations here: HTTP clients learn that they are denied.
        policy.protocol = Protocol::Detect { timeout: DETECT_TIMEOUT, routes: routes(mesh, pod, port), rate_limit: None };
    }
    policy
}

fn of_server(cluster: &Cluster, mesh: &Mesh, pod: &Pod, port: u16, server: &Arc<Server>) -> Policy {
    let routes = || routes(mesh, pod, port);
    let protocol = match server.spec.proxy_protocol.unwrap_or_default() {
        ProxyProtocol::Unknown => Protocol::Detect { timeout: DETECT_TIMEOUT, routes: routes(), rate_limit: None },
        ProxyProtocol::Http1 => Protocol::Http1 { routes: routes(), rate_limit: None },
        ProxyProtocol::Http2 => Protocol::Http2 { routes: routes(), rate_limit: None },
        ProxyProtocol::Grpc => Protocol::Grpc { routes: [default_route([].into())].into() },
        ProxyProtocol::Opaque => Protocol::Opaque,
        ProxyProtocol::Tls => Protocol::Tls,
    };
    let access = server.spec.access_policy.as_deref().and_then(|name| name.parse::<DefaultPolicy>().ok());
    let granted = access.map(|access| access.policy(&mesh.networks, DETECT_TIMEOUT).authorizations);
    let authorizations = authorizations(cluster, mesh, server);
    Policy {
        protocol,
        server: meta("server", &server.metadata.namespace, &server.metadata.name),
        authorizations: authorizations.into_iter().chain(granted.iter().flat_map(|g| g.iter().cloned())).collect(),
    }
}

/// The route for everything, and one for each probe that the Pod declares on the port.
fn routes(mesh: &Mesh, pod: &Pod, port: u16) -> Arc<[meshkit_policy::inbound::HttpRoute]> {
    let paths: BTreeSet<_> =
        pod.spec.probes().filter(|(p, _)| *p == port).map(|(_, path)| path.split('?').next().unwrap_or(path)).collect();
    let mut all = vec![default_route([].into())];
    if let Some(Rule { matches, .. }) = all[0].rules.first_mut() {
        matches.push(Match::prefix("/"));
    }
    if !paths.is_empty() && !mesh.probe_networks.is_empty() {
        let probes = Authorization {
            networks: mesh.probe_networks.iter().copied().map(Network::from).collect(),
            authentication: Authentication::Unauthenticated,
            meta: Meta::builtin("probe"),
        };
        let exact =
            |path: &&str| Match { path: Some(PathMatch::Exact((*path).to_owned())), method: Some(http::Method::GET), ..Match::default() };
        let policy = RoutePolicy { authorizations: [probes].into(), filters: [].into() };
        let rule = Rule { matches: paths.iter().map(exact).collect(), policy };
        all.push(Route { meta: Meta::builtin("probe"), hosts: Vec::new(), rules: vec![rule] });
    }
    all.into()
}

/// Everybody whom an object lets call the Server.
fn authorizations(cluster: &Cluster, mesh: &Mesh, server: &Server) -> Vec<Authorization> {
    let of = |object: &Object| match object {
        Object::ServerAuthorization(authorization) => of_server_authorization(mesh, authorization, server),
        Object::AuthorizationPolicy(policy) => of_policy(cluster, mesh, policy, server),
        _ => None,
    };
    cluster.objects().filter_map(of).collect()
}

fn of_server_authorization(mesh: &Mesh, authorization: &ServerAuthorization, server: &Server) -> Option<Authorization> {
    let (metadata, spec) = (&authorization.metadata, &authorization.spec);
    let by_name = spec.server.name.as_ref() == Some(&server.metadata.name);
    let by_labels = spec.server.selector.as_ref().is_some_and(|s| s.matches(&server.metadata.labels));
    if metadata.namespace != server.metadata.namespace || !(by_name || by_labels) {
        return None;
    }
    let networks = match &spec.client.networks {
        Some(networks) => networks.iter().map(network).collect(),
        None => mesh.networks.iter().copied().map(Network::from).collect(),
    };
    let authentication = match &spec.client.mesh_tls {
        _ if spec.client.unauthenticated => Authentication::Unauthenticated,
        Some(tls) if tls.unauthenticated_tls => Authentication::TlsUnauthenticated,
        Some(tls) => {
            let accounts = tls.service_accounts.iter().map(|account| {
                let namespace = account.namespace.as_ref().unwrap_or(&metadata.namespace);
                mesh.account(namespace, &account.name)
            });
            identities(tls.identities.iter().cloned().chain(accounts))?
        }
        None => return None,
    };
    Some(Authorization { networks, authentication, meta: meta("serverauthorization", &metadata.namespace, &metadata.name) })
}

/// A policy whose references do not all exist grants nothing.
fn of_policy(cluster: &Cluster, mesh: &Mesh, policy: &AuthorizationPolicy, server: &Server) -> Option<Authorization> {
    let namespace = &policy.metadata.namespace;
    if *namespace != server.metadata.namespace {
        return None;
    }
    let target = &policy.spec.target_ref;
    let targets = match target.kind.to_ascii_lowercase().as_str() {
        "server" => target.name == server.metadata.name,
        "namespace" => target.name == *namespace,
        _ => false,
    };
    if !targets {
        return None;
    }
    let (mut networks, mut authentication) = (Network::all(), Authentication::Unauthenticated);
    for reference in &policy.spec.required_authentication_refs {
        let namespace = reference.namespace.as_ref().unwrap_or(namespace);
        match reference.kind.to_ascii_lowercase().as_str() {
            "networkauthentication" => match cluster.get(Kind::NetworkAuthentication, namespace, &reference.name)? {
                Object::NetworkAuthentication(found) => networks = found.spec.networks.iter().map(network).collect(),
                _ => return None,
            },
            "meshtlsauthentication" => match cluster.get(Kind::MeshTLSAuthentication, namespace, &reference.name)? {
                Object::MeshTLSAuthentication(found) => authentication = mesh_tls(mesh, found)?,
                _ => return None,
            },
            "serviceaccount" => authentication = identities([mesh.account(namespace, &reference.name)])?,
            _ => return None,
        }
    }
    Some(Authorization { networks, authentication, meta: meta("authorizationpolicy", namespace, &policy.metadata.name) })
}

fn mesh_tls(mesh: &Mesh, authentication: &MeshTLSAuthentication) -> Option<Authentication> {
    let referred = |reference: &Reference| match reference.kind.as_str() {
        "Namespace" => format!("*.{}.serviceaccount.identity.{}.{}", reference.name, mesh.namespace, mesh.trust_domain),
        _ => mesh.account(reference.namespace.as_ref().unwrap_or(&authentication.metadata.namespace), &reference.name),
    };
    let spec = &authentication.spec;
    identities(spec.identities.iter().cloned().chain(spec.identity_refs.iter().map(referred)))
}

/// Names, with `*` for any and `*.suffix` for any below. `None` if there is no name that could match.
fn identities(names: impl IntoIterator<Item = String>) -> Option<Authentication> {
    let (mut exact, mut suffixes) = (BTreeSet::new(), Vec::new());
    for name in names {
        match name.strip_prefix('*') {
            Some("") => suffixes.push(Suffix::of_labels::<&str>(&[])),
            Some(suffix) => suffixes.push(Suffix::of_labels(&suffix.trim_start_matches('.').split('.').collect::<Vec<_>>())),
            None => exact.extend(name.parse::<Identity>().ok()),
        }
    }
    let some = !(exact.is_empty() && suffixes.is_empty());
    some.then_some(Authentication::TlsAuthenticated { identities: exact, suffixes })
}

fn network(network: &meshkit_manifest::policy::Network) -> Network {
    Network { net: network.cidr, except: network.except.clone() }
}

fn meta(kind: &str, namespace: &str, name: &str) -> Meta {
    Meta::Resource(Arc::new(Resource {
        group: GROUP.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Resource::default()
    }))
}

impl Mesh {
    fn account(&self, namespace: &str, name: &str) -> String {
        format!("{name}.{namespace}.serviceaccount.identity.{}.{}", self.namespace, self.trust_domain)
    }
}

/// Is the port in a list of ports and ranges?
pub(crate) fn contains(list: &str, port: u16) -> bool {
    list.split(',').map(str::trim).any(|item| match item.split_once('-') {
        Some((low, high)) => matches!((low.parse::<u16>(), high.parse::<u16>()), (Ok(low), Ok(high)) if (low..=high).contains(&port)),
        None => item.parse() == Ok(port),
    })
}

#[cfg(test)]
mod tests;
