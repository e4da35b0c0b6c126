//! The objects of a cluster, found by what policies ask for.
//!
//! A view is made once per change that matters, in one pass over the objects, and shared by all answers. What does not depend on who asks
//! is done here: which route is attached to what, which object is older.

mod changes;
mod route;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use meshkit_manifest::{
    Cluster, Object,
    core::Service,
    meta::Metadata,
    policy::{AuthorizationPolicy, Server, ServerAuthorization},
    traffic::{EgressNetwork, HTTPLocalRateLimitPolicy},
};

pub use changes::Changes;
pub use route::Route;

/// The group of the mesh's own kinds.
pub(crate) const GROUP: &str = "policy.linkerd.io";

/// A cluster with the look-ups that answers need.
#[derive(Debug, Default)]
pub struct View {
    cluster: Arc<Cluster>,
    addresses: HashMap<IpAddr, Arc<Service>>,
    servers: HashMap<String, Vec<Arc<Server>>>,
    server_authorizations: HashMap<String, Vec<Arc<ServerAuthorization>>>,
    authorization_policies: HashMap<String, Vec<Arc<AuthorizationPolicy>>>,
    rate_limits: HashMap<String, Vec<Arc<HTTPLocalRateLimitPolicy>>>,
    egress_networks: HashMap<String, Vec<Arc<EgressNetwork>>>,
    routes: Vec<Route>,
    attached: HashMap<Parent, Vec<Attached>>,
}

/// What a route may be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parent {
    /// Its kind.
    pub kind: ParentKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The kinds of what a route may be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The three of the mesh.
pub enum ParentKind {
    /// Requests that come to Pods.
    Server,
    /// Requests that go to a Service.
    Service,
    /// Requests that leave the cluster.
    EgressNetwork,
}

/// A route at one of its parents.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The route.
    pub route: Route,
    reference: usize,
}

impl Attached {
    /// The reference to the parent.
    #[must_use]
    pub fn reference(&self) -> &meshkit_manifest::route::ParentRef {
        &self.route.parents()[self.reference]
    }
}

impl View {
    /// Looks at a cluster.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let mut view = Self::default();
        for object in cluster.objects() {
            view.add(object);
        }
        view.servers.values_mut().for_each(|all| all.sort_by(|a, b| age(&a.metadata).cmp(&age(&b.metadata))));
        view.rate_limits.values_mut().for_each(|all| all.sort_by(|a, b| age(&a.metadata).cmp(&age(&b.metadata))));
        view.egress_networks.values_mut().for_each(|all| all.sort_by(|a, b| age(&a.metadata).cmp(&age(&b.metadata))));
        // The sort is stable: of equals, the order of the kinds stays.
        view.routes.sort_by(|a, b| age(a.metadata()).cmp(&age(b.metadata())));
        for route in &view.routes {
            let is_inbound = route.inbound_fault().is_none();
            for (reference, parent) in route.parents().iter().enumerate().filter_map(|(nth, r)| Some((nth, route.parent(r)?))) {
                if parent.kind != ParentKind::Server || is_inbound {
                    view.attached.entry(parent).or_default().push(Attached { route: route.clone(), reference });
                }
            }
        }
        view.cluster = cluster;
        view
    }

    fn add(&mut self, object: &Object) {
        match object {
            Object::Service(service) => {
                let texts = service.spec.cluster_ip.iter().chain(&service.spec.cluster_ips);
                for ip in texts.filter_map(|text| text.parse::<IpAddr>().ok()) {
                    self.addresses.entry(ip).or_insert_with(|| Arc::clone(service));
                }
            }
            Object::Server(it) => self.servers.entry(it.metadata.namespace.clone()).or_default().push(Arc::clone(it)),
            Object::ServerAuthorization(it) => {
                self.server_authorizations.entry(it.metadata.namespace.clone()).or_default().push(Arc::clone(it));
            }
            Object::AuthorizationPolicy(it) => {
                self.authorization_policies.entry(it.metadata.namespace.clone()).or_default().push(Arc::clone(it));
            }
            Object::HTTPLocalRateLimitPolicy(it) => {
                self.rate_limits.entry(it.metadata.namespace.clone()).or_default().push(Arc::clone(it));
            }
            Object::EgressNetwork(it) => self.egress_networks.entry(it.metadata.namespace.clone()).or_default().push(Arc::clone(it)),
            other => self.routes.extend(Route::of(other)),
        }
    }

    /// The same look-ups over a cluster in which only workloads and other objects have changed that no look-up is made of.
    #[must_use]
    pub(crate) fn over(mut self, cluster: Arc<Cluster>) -> Self {
        self.cluster = cluster;
        self
    }

    /// All of its objects.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The Service that has this cluster IP.
    #[must_use]
    pub fn service_at(&self, ip: IpAddr) -> Option<&Arc<Service>> {
        self.addresses.get(&ip)
    }

    /// The Servers of a namespace, the oldest first.
    #[must_use]
    pub fn servers(&self, namespace: &str) -> &[Arc<Server>] {
        self.servers.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// A Server by its name.
    #[must_use]
    pub fn server(&self, namespace: &str, name: &str) -> Option<&Arc<Server>> {
        self.servers(namespace).iter().find(|server| server.metadata.name == name)
    }

    /// The ServerAuthorizations of a namespace, by name.
    #[must_use]
    pub fn server_authorizations(&self, namespace: &str) -> &[Arc<ServerAuthorization>] {
        self.server_authorizations.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// The AuthorizationPolicies of a namespace, by name.
    #[must_use]
    pub fn authorization_policies(&self, namespace: &str) -> &[Arc<AuthorizationPolicy>] {
        self.authorization_policies.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// The HTTPLocalRateLimitPolicies of a namespace, the oldest first.
    #[must_use]
    pub fn rate_limits(&self, namespace: &str) -> &[Arc<HTTPLocalRateLimitPolicy>] {
        self.rate_limits.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// The EgressNetworks of a namespace, the oldest first.
    #[must_use]
    pub fn egress_networks(&self, namespace: &str) -> &[Arc<EgressNetwork>] {
        self.egress_networks.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// An EgressNetwork by its name.
    #[must_use]
    pub fn egress_network(&self, namespace: &str, name: &str) -> Option<&Arc<EgressNetwork>> {
        self.egress_networks(namespace).iter().find(|network| network.metadata.name == name)
    }

    /// Every route, the oldest first.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The routes that name a parent, the oldest first; one that names it more than once is there more than once.
    #[must_use]
    pub fn attached(&self, parent: &Parent) -> &[Attached] {
        self.attached.get(parent).map_or(&[], Vec::as_slice)
    }

    /// The namespaces that inbound policies of a namespace look at: its own, and those of the authentications that its policies name.
    #[must_use]
    pub fn inbound_scope(&self, namespace: &str) -> BTreeSet<String> {
        let references = self.authorization_policies(namespace).iter().flat_map(|policy| &policy.spec.required_authentication_refs);
        references.filter_map(|reference| reference.namespace.clone()).chain([namespace.to_owned()]).collect()
    }

    /// The namespaces that outbound policies of a parent look at: its own, those of its routes, and those of their backends.
    #[must_use]
    pub fn outbound_scope(&self, parent: &Parent) -> BTreeSet<String> {
        let mut scope = BTreeSet::from([parent.namespace.clone()]);
        for Attached { route, .. } in self.attached(parent) {
            scope.insert(route.metadata().namespace.clone());
            scope.extend(route.backends().filter_map(|backend| backend.namespace.clone()));
        }
        scope
    }
}

/// Where an object stands among others: the older one first, those without a time last; then by name and namespace.
pub(crate) fn age(metadata: &Metadata) -> (bool, Option<&str>, &str, &str) {
    let made = metadata.creation_timestamp.as_deref();
    (made.is_none(), made, &metadata.name, &metadata.namespace)
}

#[cfg(test)]
mod tests;
