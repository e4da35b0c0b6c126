//! The objects of a cluster, found by what is asked for.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    ptr,
    sync::Arc,
};

use meshkit_manifest::{
    Cluster, Kind, Object,
    core::{EndpointSlice, Pod, Service},
    external::ExternalWorkload,
    meta::Metadata,
    policy::{ProxyProtocol, Server},
    profile::ServiceProfile,
};

use super::{SERVICE_NAME, ZONE, external, is_terminated};

/// A cluster with the look-ups that answers need. It is made once per change, in one pass over the objects, and shared by all answers.
#[derive(Debug, Default)]
pub struct View {
    cluster: Arc<Cluster>,
    services: HashMap<IpAddr, Vec<Arc<Service>>>,
    slices: HashMap<(String, String), Vec<Arc<EndpointSlice>>>,
    pods: HashMap<IpAddr, Vec<Arc<Pod>>>,
    host_pods: HashMap<SocketAddr, Vec<Arc<Pod>>>,
    workloads: HashMap<SocketAddr, Vec<Arc<ExternalWorkload>>>,
    /// Zones of nodes that have one.
    zones: HashMap<String, String>,
    /// Servers by namespace that make a port opaque.
    opaque: HashMap<String, Vec<Arc<Server>>>,
}

impl View {
    /// Looks at a cluster.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let mut view = Self::default();
        let mut workloads = Vec::new();
        for object in cluster.objects() {
            match object {
                Object::Service(service) => view.add_service(service),
                Object::EndpointSlice(slice) => view.add_slice(slice),
                Object::Pod(pod) => view.add_pod(pod),
                Object::ExternalWorkload(workload) => workloads.push(workload),
                Object::Node(node) => {
                    let zone = node.metadata.labels.get(ZONE).filter(|zone| !zone.is_empty());
                    view.zones.extend(zone.map(|zone| (node.metadata.name.clone(), zone.clone())));
                }
                Object::Server(server) if server.spec.proxy_protocol == Some(ProxyProtocol::Opaque) => {
                    view.opaque.entry(server.metadata.namespace.clone()).or_default().push(Arc::clone(server));
                }
                _ => {}
            }
        }
        for workload in &workloads {
            let ports = workload.spec.ports.iter().map(|p| p.port);
            for addr in ports.flat_map(|port| workload.spec.workload_ips.iter().map(move |w| SocketAddr::new(w.ip, port))) {
                view.workloads.entry(addr).or_default().push(Arc::clone(workload));
            }
        }
        view.add_external(&cluster, &workloads);
        view.cluster = cluster;
        view
    }

    /// The namespaces in which an object was added, changed or deleted since an earlier look; empty stands for objects of the whole cluster.
    #[must_use]
    pub fn changed_since(&self, earlier: &Self) -> HashSet<String> {
        let (mut old, mut new) = (earlier.cluster.objects().peekable(), self.cluster.objects().peekable());
        let mut changed = HashSet::new();
        // Both are in the order of their keys, and an object that did not change is the same object.
        let key = |object: &Object| (object.kind(), object.metadata().namespace.clone(), object.metadata().name.clone());
        loop {
            let object = match (old.peek(), new.peek()) {
                (None, None) => return changed,
                (Some(before), Some(after)) if ptr::eq(before.metadata(), after.metadata()) => {
                    old.next();
                    new.next();
                    continue;
                }
                (Some(before), Some(after)) => match key(before).cmp(&key(after)) {
                    Ordering::Less => old.next(),
                    Ordering::Greater => new.next(),
                    Ordering::Equal => old.next().and(new.next()),
                },
                (Some(_), None) => old.next(),
                (None, Some(_)) => new.next(),
            };
            changed.extend(object.map(|object| object.metadata().namespace.clone()));
        }
    }

    fn add_service(&mut self, service: &Arc<Service>) {
        let texts = service.spec.cluster_ip.iter().chain(&service.spec.cluster_ips);
        let mut ips: Vec<_> = texts.filter_map(|ip| ip.parse::<IpAddr>().ok()).collect();
        ips.sort_unstable();
        ips.dedup();
        for ip in ips {
            self.services.entry(ip).or_default().push(Arc::clone(service));
        }
    }

    fn add_slice(&mut self, slice: &Arc<EndpointSlice>) {
        let metadata = &slice.metadata;
        let owner = || metadata.owner_references.iter().find(|o| o.kind == "Service").map(|o| &o.name);
        if let Some(service) = metadata.labels.get(SERVICE_NAME).or_else(owner) {
            self.slices.entry((metadata.namespace.clone(), service.clone())).or_default().push(Arc::clone(slice));
        }
    }

    fn add_pod(&mut self, pod: &Arc<Pod>) {
        if is_terminated(pod) {
            return;
        }
        let status = &pod.status;
        if pod.spec.host_network {
            // Ports of such a Pod are ports of its node.
            let hosts = status.host_ip.or(status.pod_ip);
            for addr in hosts.into_iter().flat_map(|ip| pod.spec.ports().map(move |(_, port)| SocketAddr::new(ip, port))) {
                self.host_pods.entry(addr).or_default().push(Arc::clone(pod));
            }
            return;
        }
        let mut ips: Vec<_> = status.pod_ip.into_iter().chain(status.pod_ips.iter().map(|p| p.ip)).collect();
        ips.sort_unstable();
        ips.dedup();
        for ip in ips {
            self.pods.entry(ip).or_default().push(Arc::clone(pod));
        }
    }

    /// Slices of workloads outside, where no controller wrote any.
    fn add_external(&mut self, cluster: &Cluster, workloads: &[&Arc<ExternalWorkload>]) {
        if workloads.is_empty() {
            return;
        }
        let written =
            |slice: &Arc<EndpointSlice>| slice.metadata.labels.get(external::MANAGED_BY).is_some_and(|by| by == external::CONTROLLER);
        for service in cluster.services() {
            let key = (service.metadata.namespace.clone(), service.metadata.name.clone());
            if !self.slices.get(&key).is_some_and(|slices| slices.iter().any(written)) {
                let slices = external::slices(service, workloads.iter().copied());
                self.slices.entry(key).or_default().extend(slices.into_iter().map(Arc::new));
            }
        }
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.cluster.service(namespace, name)
    }

    pub(super) fn services_at(&self, ip: IpAddr) -> &[Arc<Service>] {
        self.services.get(&ip).map_or(&[], Vec::as_slice)
    }

    pub(super) fn slices(&self, namespace: &str, service: &str) -> &[Arc<EndpointSlice>] {
        self.slices.get(&(namespace.to_owned(), service.to_owned())).map_or(&[], Vec::as_slice)
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        self.cluster.pod(namespace, name)
    }

    /// Pods that have the address for themselves.
    pub(super) fn pods_at(&self, ip: IpAddr) -> &[Arc<Pod>] {
        self.pods.get(&ip).map_or(&[], Vec::as_slice)
    }

    /// Pods that listen on a port of their node.
    pub(super) fn host_pods_at(&self, addr: SocketAddr) -> &[Arc<Pod>] {
        self.host_pods.get(&addr).map_or(&[], Vec::as_slice)
    }

    pub(super) fn workload(&self, namespace: &str, name: &str) -> Option<&Arc<ExternalWorkload>> {
        match self.cluster.get(Kind::ExternalWorkload, namespace, name)? {
            Object::ExternalWorkload(workload) => Some(workload),
            _ => None,
        }
    }

    pub(super) fn workloads_at(&self, addr: SocketAddr) -> &[Arc<ExternalWorkload>] {
        self.workloads.get(&addr).map_or(&[], Vec::as_slice)
    }

    pub(super) fn profile(&self, namespace: &str, name: &str) -> Option<&Arc<ServiceProfile>> {
        match self.cluster.get(Kind::ServiceProfile, namespace, name)? {
            Object::ServiceProfile(profile) => Some(profile),
            _ => None,
        }
    }

    /// The zone of a node; empty if it has none.
    pub(super) fn zone(&self, node: &str) -> &str {
        self.zones.get(node).map_or("", String::as_str)
    }

    /// Servers that make a port of theirs opaque.
    pub(super) fn opaque_servers(&self, namespace: &str) -> &[Arc<Server>] {
        self.opaque.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Who made an object, in the end: a Deployment rather than its ReplicaSet. Kind and name; `None` if nobody did.
    pub(super) fn owner(&self, metadata: &Metadata) -> Option<(String, String)> {
        let of = |metadata: &Metadata| match metadata.owner_references.as_slice() {
            [only] => Some((only.kind.clone(), only.name.clone())),
            several => several.iter().find(|o| o.controller == Some(true)).map(|o| (o.kind.clone(), o.name.clone())),
        };
        let (kind, name) = of(metadata)?;
        let between = match kind.as_str() {
            "ReplicaSet" => self.cluster.get(Kind::ReplicaSet, &metadata.namespace, &name),
            "Job" => self.cluster.get(Kind::Job, &metadata.namespace, &name),
            _ => None,
        };
        between.and_then(|object| of(object.metadata())).or(Some((kind, name)))
    }
}
