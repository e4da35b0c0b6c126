use std::{cmp::Ordering, collections::BTreeSet, ptr};

use meshkit_manifest::{Cluster, Kind, Object};

/// Where something has changed that policies look at. Other changes, such as those of endpoints or of the phase of a Pod, are not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Namespaces in which an inbound policy may have changed.
    pub inbound: BTreeSet<String>,
    /// Namespaces in which an outbound policy may have changed.
    pub outbound: BTreeSet<String>,
    /// Namespaces in which it may have changed which policy is a workload's.
    pub workloads: BTreeSet<String>,
}

impl Changes {
    /// What was added, changed or deleted between two states of a cluster.
    #[must_use]
    pub fn between(before: &Cluster, after: &Cluster) -> Self {
        let (mut old, mut new) = (before.objects().peekable(), after.objects().peekable());
        let mut changes = Self::default();
        // Both are in the order of their keys, and an object that did not change is the same object.
        loop {
            let object = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(a), Some(b)) if ptr::eq(a.metadata(), b.metadata()) => {
                    old.next();
                    new.next();
                    continue;
                }
                (Some(a), Some(b)) => match a.key().cmp(&b.key()) {
                    Ordering::Less => old.next(),
                    Ordering::Greater => new.next(),
                    Ordering::Equal => {
                        let (before, after) = (old.next(), new.next());
                        after.filter(|after| before.is_none_or(|before| differ(before, after)))
                    }
                },
                (Some(_), None) => old.next(),
                (None, Some(_)) => new.next(),
            };
            object.into_iter().for_each(|object| changes.add(object));
        }
    }

    /// Has nothing changed that the look-ups of a view are made of? Workloads are not among that.
    #[must_use]
    pub fn spare_policies(&self) -> bool {
        self.inbound.is_empty() && self.outbound.is_empty()
    }

    fn add(&mut self, object: &Object) {
        let namespace = || object.metadata().namespace.clone();
        match object.kind() {
            Kind::Pod | Kind::ExternalWorkload => drop(self.workloads.insert(namespace())),
            Kind::Namespace => drop(self.workloads.insert(object.metadata().name.clone())),
            Kind::Service | Kind::EgressNetwork | Kind::TLSRoute | Kind::TCPRoute => drop(self.outbound.insert(namespace())),
            Kind::PolicyHTTPRoute | Kind::HTTPRoute | Kind::GRPCRoute => {
                self.outbound.insert(namespace());
                self.inbound.insert(namespace());
            }
            Kind::Server
            | Kind::ServerAuthorization
            | Kind::AuthorizationPolicy
            | Kind::MeshTLSAuthentication
            | Kind::NetworkAuthentication
            | Kind::HTTPLocalRateLimitPolicy => drop(self.inbound.insert(namespace())),
            _ => {}
        }
    }
}

/// Pods change all the time, but hardly ever in what says which policy is theirs.
fn differ(before: &Object, after: &Object) -> bool {
    let (old, new) = (before.metadata(), after.metadata());
    let noted = old.labels != new.labels || old.annotations != new.annotations;
    match (before, after) {
        (Object::Pod(before), Object::Pod(after)) => noted || before.spec != after.spec,
        (Object::ExternalWorkload(before), Object::ExternalWorkload(after)) => noted || before.spec != after.spec,
        (Object::Namespace(_), Object::Namespace(_)) => noted,
        _ => true,
    }
}
