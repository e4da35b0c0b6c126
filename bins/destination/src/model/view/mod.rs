//! The objects of a cluster, as far as answers need them, found by what is asked for.
//!
//! Objects are read when they come and let go: what stays of a Pod and its place in a slice is a few hundred bytes. A change says which Services
//! and addresses may have other answers than before; a change of what no answer needs says nothing.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use meshkit_manifest::{Cluster, Kind, external::ExternalWorkload, meta::Metadata, policy::Server, profile::ServiceProfile};

use super::external;

mod apply;
mod changed;
mod pod;
mod pods;
mod pool;
mod service;
mod slice;
#[cfg(test)]
mod tests;

pub use changed::Changed;
pub(crate) use changed::ServiceKey;
pub(crate) use pod::{Pod, State};
pub(crate) use pods::{Pods, Slot};
pub(crate) use pool::{Pool, Text};
pub(crate) use service::{Kind as ServiceKind, Service};
pub(crate) use slice::{Gateway, Member, Site, Slice, Target};

/// The objects of a cluster, found by what is asked for.
#[derive(Debug, Default)]
pub struct View {
    pools: Pools,
    namespaces: HashMap<Text, Namespace>,
    pods: Pods,
    services: HashMap<IpAddr, Vec<Arc<Service>>>,
    workloads: HashMap<SocketAddr, Vec<Arc<ExternalWorkload>>>,
    /// Zones of nodes that have one.
    zones: HashMap<Text, Text>,
}

/// Values that many objects have.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    texts: Pool<str>,
    templates: Pool<pod::Template>,
    places: Pool<pod::Place>,
    sites: Pool<Site>,
    ports: Pool<[(Text, u16)]>,
}

#[derive(Debug, Default)]
struct Namespace {
    services: HashMap<Text, Entry>,
    /// The Services of slices, by the names of the slices.
    slices: HashMap<Box<str>, Text>,
    workloads: BTreeMap<String, Arc<ExternalWorkload>>,
    profiles: HashMap<String, Arc<ServiceProfile>>,
    /// Servers that make a port opaque.
    opaque: BTreeMap<String, Arc<Server>>,
    /// Who made those that make Pods, by kind and name.
    makers: HashMap<(Kind, Box<str>), (Text, Text)>,
    /// Services that are made up of others, and the one of this cluster.
    unions: HashMap<Text, Text>,
}

/// A Service, or what slices tell of one that is not there yet.
#[derive(Debug)]
struct Entry {
    key: Arc<ServiceKey>,
    service: Option<Arc<Service>>,
    /// In the order of their names.
    slices: Vec<Slice>,
}

impl View {
    /// Looks at a cluster.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        let mut view = Self::default();
        let mut changed = Changed::default();
        cluster.objects().for_each(|object| view.set(object.clone(), &mut changed));
        view
    }

    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.namespaces.get(namespace)?.services.get(name)?.service.as_ref()
    }

    pub(crate) fn services_at(&self, ip: IpAddr) -> &[Arc<Service>] {
        self.services.get(&ip).map_or(&[], Vec::as_slice)
    }

    /// The slices of a Service that somebody wrote.
    pub(crate) fn slices(&self, namespace: &str, service: &str) -> &[Slice] {
        let entry = self.namespaces.get(namespace).and_then(|here| here.services.get(service));
        entry.map_or(&[], |entry| entry.slices.as_slice())
    }

    /// Slices of workloads outside, where no controller wrote any.
    pub(crate) fn external_slices(&self, service: &Service) -> Vec<Slice> {
        let ServiceKey { namespace, name } = &*service.key;
        let here = self.namespaces.get(namespace).filter(|here| !here.workloads.is_empty());
        let Some(here) = here.filter(|_| !self.slices(namespace, name).iter().any(|slice| slice.is_external)) else { return Vec::new() };
        let slices = external::slices(&service.manifest(), here.workloads.values());
        // They mention no Pods.
        slices.iter().map(|slice| Slice::read(slice, &service.key, &mut Pools::default(), &mut Pods::default())).collect()
    }

    pub(crate) const fn pods(&self) -> &Pods {
        &self.pods
    }

    pub(crate) fn workload(&self, namespace: &str, name: &str) -> Option<&Arc<ExternalWorkload>> {
        self.namespaces.get(namespace)?.workloads.get(name)
    }

    pub(crate) fn workloads_at(&self, addr: SocketAddr) -> &[Arc<ExternalWorkload>] {
        self.workloads.get(&addr).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn profile(&self, namespace: &str, name: &str) -> Option<&Arc<ServiceProfile>> {
        self.namespaces.get(namespace)?.profiles.get(name)
    }

    /// The zone of a node; empty if it has none.
    pub(crate) fn zone(&self, node: &str) -> &str {
        self.zones.get(node).map_or("", |zone| zone)
    }

    /// Servers that make a port of theirs opaque.
    pub(crate) fn opaque_servers(&self, namespace: &str) -> impl Iterator<Item = &Server> {
        self.namespaces.get(namespace).into_iter().flat_map(|here| here.opaque.values()).map(|server| &**server)
    }

    /// Who made an object, in the end: a Deployment rather than its ReplicaSet.
    pub(crate) fn maker<'a>(&'a self, namespace: &str, owner: (&'a str, &'a str)) -> (&'a str, &'a str) {
        let kind = match owner.0 {
            "ReplicaSet" => Kind::ReplicaSet,
            "Job" => Kind::Job,
            _ => return owner,
        };
        let maker = self.namespaces.get(namespace).and_then(|here| here.makers.get(&(kind, owner.1.into())));
        maker.map_or(owner, |(kind, name)| (kind, name))
    }

    /// Who made the workload; kind and name, `None` if nobody did.
    pub(crate) fn owner<'a>(&'a self, metadata: &'a Metadata) -> Option<(&'a str, &'a str)> {
        pod::owner(metadata).map(|owner| self.maker(&metadata.namespace, owner))
    }
}
