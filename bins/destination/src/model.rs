//! The answers, as functions of the cluster's objects.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
};

use meshkit_core::{Endpoint, Identity, ProtocolHint, grpc::Code};
use meshkit_manifest::{
    Cluster,
    core::{Pod, Service, SliceEndpoint},
};
use meshkit_policy::{Meta, Resource};
use meshkit_retry::budget;
use meshkit_wire::{Refused, profile::Profile};

use crate::target::{Name, Target};

/// Marks a Pod that has a proxy.
const CONTROL_PLANE_NS: &str = "linkerd.io/control-plane-ns";
/// Ports whose bytes are not looked at.
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// Ports of a Pod whose proxy stands aside.
const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";
/// Opaque where nobody says otherwise: protocols in which the server speaks first.
const DEFAULT_OPAQUE_PORTS: &str = "25,587,3306,4444,5432,6379,9300,11211";
/// Where a proxy takes transport headers, unless its environment says otherwise.
const INBOUND_PORT: u16 = 4143;

/// What is the same for every answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Namespace of the control plane.
    pub namespace: String,
    /// DNS domain of the cluster.
    pub domain: String,
    /// The last part of every identity.
    pub trust_domain: String,
}

/// The ready endpoints of a Service's port.
///
/// # Errors
/// There is no such Service.
pub fn endpoints(cluster: &Cluster, mesh: &Mesh, name: &Name) -> Result<BTreeMap<SocketAddr, Endpoint>, Refused> {
    let service = service(cluster, name)?;
    // A port that the Service does not declare is taken for the endpoints' own.
    let declared = service.spec.ports.iter().find(|p| p.port == name.port).map(|p| p.name.as_str());
    let mut all = BTreeMap::new();
    for slice in cluster.slices(&name.namespace, &name.service) {
        let port = match declared {
            Some(wanted) => slice.ports.iter().find(|p| p.name == wanted).map(|p| p.port),
            None => Some(name.port),
        };
        let Some(port) = port else { continue };
        let ready = slice.endpoints.iter().filter(|e| e.conditions.ready.unwrap_or(true));
        let meant = |e: &&SliceEndpoint| name.instance.is_none() || e.hostname == name.instance;
        for endpoint in ready.filter(meant) {
            let Some(ip) = endpoint.addresses.first() else { continue };
            let addr = SocketAddr::new(*ip, port);
            let described = match &endpoint.target_ref {
                Some(target) if target.kind == "Pod" => match cluster.pod(&target.namespace, &target.name) {
                    Some(pod) => pod_endpoint(mesh, pod, addr, endpoint.zone.as_deref()),
                    None => continue,
                },
                Some(_) => continue,
                None => Endpoint::new(addr),
            };
            all.insert(addr, described);
        }
    }
    Ok(all)
}

/// The labels that all endpoints of a Service have.
#[must_use]
pub fn set_labels(name: &Name) -> BTreeMap<String, String> {
    let pairs = [("service", &name.service), ("namespace", &name.namespace)];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.clone())).collect()
}

/// What is known of a destination.
///
/// # Errors
/// A name that does not exist.
pub fn profile(cluster: &Cluster, mesh: &Mesh, target: &Target) -> Result<Profile, Refused> {
    match target {
        Target::Name(name) if name.instance.is_some() => {
            let endpoint = endpoints(cluster, mesh, name)?.into_values().next();
            let endpoint = endpoint.ok_or_else(|| Refused::new(Code::NOT_FOUND, format!("no endpoint {:?}", name.instance)))?;
            Ok(endpoint_profile(cluster, endpoint))
        }
        Target::Name(name) => Ok(service_profile(service(cluster, name)?, mesh, name.port)),
        Target::Addr(addr) => {
            let ip = addr.ip().to_string();
            let owns = |s: &&Arc<Service>| s.spec.cluster_ip.as_ref() == Some(&ip) || s.spec.cluster_ips.contains(&ip);
            if let Some(service) = cluster.services().find(owns) {
                return Ok(service_profile(service, mesh, addr.port()));
            }
            let endpoint = match running(cluster, addr.ip()) {
                Some(pod) => pod_endpoint(mesh, pod, *addr, None),
                None => Endpoint::new(*addr),
            };
            Ok(endpoint_profile(cluster, endpoint))
        }
    }
}

fn service<'a>(cluster: &'a Cluster, name: &Name) -> Result<&'a Arc<Service>, Refused> {
    let found = cluster.service(&name.namespace, &name.service);
    found.ok_or_else(|| Refused::new(Code::NOT_FOUND, format!("Service {}.{} not found", name.service, name.namespace)))
}

fn running(cluster: &Cluster, ip: IpAddr) -> Option<&Arc<Pod>> {
    let alive = |p: &&Arc<Pod>| !matches!(p.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    cluster.pods().filter(|p| p.status.pod_ip == Some(ip) && !p.spec.host_network).find(alive)
}

fn endpoint_profile(cluster: &Cluster, endpoint: Endpoint) -> Profile {
    let annotations = running(cluster, endpoint.addr.ip()).map(|pod| &pod.metadata.annotations);
    let ports = annotations.and_then(|a| a.get(OPAQUE_PORTS)).map_or(DEFAULT_OPAQUE_PORTS, String::as_str);
    let opaque = contains(ports, endpoint.addr.port());
    Profile { opaque, budget: Some(budget::Params::default()), endpoint: Some(endpoint), ..Profile::default() }
}

fn service_profile(service: &Service, mesh: &Mesh, port: u16) -> Profile {
    let (name, namespace) = (&service.metadata.name, &service.metadata.namespace);
    if !service.spec.ports.iter().any(|p| p.port == port) {
        return Profile::default();
    }
    let ports = service.metadata.annotations.get(OPAQUE_PORTS).map_or(DEFAULT_OPAQUE_PORTS, String::as_str);
    Profile {
        name: Some(format!("{name}.{namespace}.svc.{}", mesh.domain).into()),
        opaque: contains(ports, port),
        budget: Some(budget::Params::default()),
        parent: Some(Meta::Resource(Arc::new(Resource {
            group: "core".to_owned(),
            kind: "Service".to_owned(),
            namespace: namespace.clone(),
            name: name.clone(),
            section: String::new(),
            port: NonZeroU16::new(port),
        }))),
        ..Profile::default()
    }
}

/// An endpoint with a Pod behind it: who it is, what it speaks, what it is labelled with.
fn pod_endpoint(mesh: &Mesh, pod: &Pod, addr: SocketAddr, zone: Option<&str>) -> Endpoint {
    let metadata = &pod.metadata;
    let account = pod.spec.service_account();
    let control_plane = metadata.labels.get(CONTROL_PLANE_NS);
    let mut labels = BTreeMap::from([
        ("pod".to_owned(), metadata.name.clone()),
        ("serviceaccount".to_owned(), account.to_owned()),
        ("zone".to_owned(), zone.unwrap_or_default().to_owned()),
        ("zone_locality".to_owned(), "unknown".to_owned()),
    ]);
    if let Some(owner) = metadata.owner_references.first() {
        let kind = if owner.kind == "Job" { "k8s_job".to_owned() } else { owner.kind.to_lowercase() };
        labels.insert(kind, owner.name.clone());
    }
    labels.extend(control_plane.map(|ns| ("control_plane_ns".to_owned(), ns.clone())));
    let hash = metadata.labels.get("pod-template-hash");
    labels.extend(hash.map(|hash| ("pod_template_hash".to_owned(), hash.clone())));
    let mut endpoint = Endpoint::new(addr).labels(labels);

    let skipped = metadata.annotations.get(SKIP_INBOUND_PORTS).is_some_and(|ports| contains(ports, addr.port()));
    let Some(control_plane) = control_plane.filter(|_| !skipped) else { return endpoint };
    let ports = metadata.annotations.get(OPAQUE_PORTS).map_or(DEFAULT_OPAQUE_PORTS, String::as_str);
    endpoint.protocol = if contains(ports, addr.port()) { ProtocolHint::Opaque } else { ProtocolHint::Http2 };
    endpoint.tagged_port = NonZeroU16::new(inbound_port(pod));
    // A Pod of another control plane has a proxy, and an identity that means nothing here.
    if *control_plane == mesh.namespace {
        let name = format!("{account}.{}.serviceaccount.identity.{}.{}", metadata.namespace, mesh.namespace, mesh.trust_domain);
        if let Ok(identity) = name.parse::<Identity>() {
            endpoint = endpoint.identity(identity);
        }
    }
    endpoint
}

fn inbound_port(pod: &Pod) -> u16 {
    let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let proxy = containers.into_iter().find(|c| c.name == "linkerd-proxy");
    let listen = proxy.and_then(|c| c.env.iter().find(|e| e.name == "LINKERD2_PROXY_INBOUND_LISTEN_ADDR"));
    let addr = listen.and_then(|e| e.value.as_ref()).and_then(|value| value.parse::<SocketAddr>().ok());
    addr.map_or(INBOUND_PORT, |addr| addr.port())
}

/// Is the port in a list of ports and ranges? What is neither is passed over.
fn contains(list: &str, port: u16) -> bool {
    list.split(',').map(str::trim).any(|item| match item.split_once('-') {
        Some((low, high)) => matches!((low.parse::<u16>(), high.parse::<u16>()), (Ok(low), Ok(high)) if (low..=high).contains(&port)),
        None => item.parse() == Ok(port),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use meshkit_manifest::{Event, Manifest};

    use super::*;

    const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web-svc, namespace: ns}
spec: {clusterIP: 10.96.0.7, ports: [{name: http, port: 80, targetPort: 8080}, {name: db, port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: ns, labels: {linkerd.io/control-plane-ns: linkerd}, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web}]}
spec: {serviceAccountName: web, containers: []}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: ns}
spec: {containers: []}
status: {podIP: 10.0.0.2, phase: Running}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-svc-1, namespace: ns, labels: {kubernetes.io/service-name: web-svc}}
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, hostname: web-1, targetRef: {kind: Pod, namespace: ns, name: web-1}}
- {addresses: [10.0.0.2], targetRef: {kind: Pod, namespace: ns, name: web-2}}
- {addresses: [10.0.0.3], conditions: {ready: false}, targetRef: {kind: Pod, namespace: ns, name: web-2}}
- {addresses: [10.0.0.4], targetRef: {kind: Pod, namespace: ns, name: gone}}
";

    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        cluster.apply(Event::Reset(Manifest::parse(Path::new("x"), OBJECTS).unwrap().objects), |_| true);
        cluster
    }

    fn mesh() -> Mesh {
        Mesh { namespace: "linkerd".to_owned(), domain: "cluster.local".to_owned(), trust_domain: "td.local".to_owned() }
    }

    fn target(path: &str) -> Target {
        Target::parse(path, "cluster.local").unwrap()
    }

    fn resolve(path: &str) -> Result<Vec<Endpoint>, Code> {
        let Target::Name(name) = target(path) else { panic!() };
        endpoints(&cluster(), &mesh(), &name).map(|all| all.into_values().collect()).map_err(|e| e.code())
    }

    #[test]
    fn ready_endpoints_are_told_with_who_they_are() {
        let all = resolve("web-svc.ns.svc.cluster.local:80").unwrap();
        assert_eq!(all.len(), 2);
        let (meshed, plain) = (&all[0], &all[1]);
        assert_eq!(meshed.addr, "10.0.0.1:8080".parse().unwrap());
        assert_eq!(meshed.tls.as_ref().unwrap().identity.as_str(), "web.ns.serviceaccount.identity.linkerd.td.local");
        assert_eq!((meshed.protocol, meshed.tagged_port.map(NonZeroU16::get)), (ProtocolHint::Http2, Some(4143)));
        assert_eq!(meshed.labels.get("deployment").map(String::as_str), Some("web"));
        assert_eq!((plain.tls.as_ref(), plain.protocol, plain.tagged_port), (None, ProtocolHint::Unknown, None));
    }

    #[test]
    fn an_endpoint_may_be_named_and_a_service_must_exist() {
        assert_eq!(resolve("web-1.web-svc.ns.svc.cluster.local:80").unwrap().len(), 1);
        assert_eq!(resolve("nothing.ns.svc.cluster.local:80"), Err(Code::NOT_FOUND));
        assert_eq!(resolve("web-svc.ns.svc.cluster.local:9090").unwrap()[0].addr.port(), 9090, "an undeclared port is the endpoints' own");
    }

    #[test]
    fn profiles_of_services_pods_and_strangers() {
        let profile = |path: &str| super::profile(&cluster(), &mesh(), &target(path)).unwrap();
        let service = profile("10.96.0.7:80");
        assert_eq!(service.name.as_deref(), Some("web-svc.ns.svc.cluster.local"));
        assert!(!service.opaque);
        assert!(profile("10.96.0.7:5432").opaque, "a default opaque port");
        assert_eq!(profile("10.96.0.7:81"), Profile::default(), "a port that is not declared has an empty profile");
        assert!(profile("10.0.0.1:8080").endpoint.unwrap().tls.is_some());
        assert!(profile("192.168.0.1:443").endpoint.unwrap().tls.is_none());
    }
}
