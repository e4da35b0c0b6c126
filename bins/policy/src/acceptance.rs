//! Whether a route, a limit or an EgressNetwork is taken, and why not.
//!
//! The same functions decide what is in force where there are no statuses (a folder), and what is written into statuses where there are some.
//!
//! Source of the semantics: the status controller of Linkerd 2.x, `policy-controller/k8s/status`. It differs in one point: a route whose
//! reference to a Server has a port, a section or another namespace is passed over by policies, and its status says so.

use ipnet::IpNet;
use meshkit_manifest::{
    core::Service,
    meta::Condition,
    policy::{Network, Reference},
    route::{BackendRef, ParentRef},
    traffic::{EgressNetwork, HTTPLocalRateLimitPolicy},
};

use crate::{
    model::Model,
    settings::Acceptance,
    view::{Attached, GROUP, Parent, ParentKind, Route},
};

/// Who writes the statuses.
pub const CONTROLLER: &str = "linkerd.io/policy-controller";

pub(crate) const ACCEPTED: &str = "Accepted";
const RESOLVED_REFS: &str = "ResolvedRefs";

/// What is to be said of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `Accepted` or `ResolvedRefs`.
    pub kind: &'static str,
    /// Does it hold?
    pub holds: bool,
    /// Why, as one word.
    pub reason: &'static str,
    /// Why, in words; often none.
    pub message: &'static str,
}

impl Verdict {
    const fn accepted() -> Self {
        Self { kind: ACCEPTED, holds: true, reason: "Accepted", message: "" }
    }

    const fn refused(reason: &'static str, message: &'static str) -> Self {
        Self { kind: ACCEPTED, holds: false, reason, message }
    }

    const fn resolved() -> Self {
        Self { kind: RESOLVED_REFS, holds: true, reason: "ResolvedRefs", message: "" }
    }

    const fn unresolved(reason: &'static str, message: &'static str) -> Self {
        Self { kind: RESOLVED_REFS, holds: false, reason, message }
    }
}

impl<'a> Model<'a> {
    /// Is a route taken at one of its parents? `None` if the parent is of a kind that is somebody else's.
    #[must_use]
    pub fn accepts_route(&self, route: &Route, reference: &ParentRef) -> Option<Verdict> {
        const NO_PARENT: &str = "NoMatchingParent";
        let parent = route.parent(reference)?;
        Some(match parent.kind {
            ParentKind::Server => match (route.inbound_fault(), self.view.server(&parent.namespace, &parent.name)) {
                (Some(fault), _) => Verdict::refused(NO_PARENT, fault),
                (None, None) => Verdict::refused(NO_PARENT, ""),
                (None, Some(_)) => Verdict::accepted(),
            },
            ParentKind::Service => match self.view.cluster().service(&parent.namespace, &parent.name) {
                None => Verdict::refused(NO_PARENT, ""),
                Some(service) if !has_cluster_ip(service) => Verdict::refused(NO_PARENT, "parent service must have a ClusterIP"),
                Some(_) => self.unless_conflicted(route, reference, &parent),
            },
            ParentKind::EgressNetwork => match self.view.egress_network(&parent.namespace, &parent.name) {
                None => Verdict::refused(NO_PARENT, ""),
                Some(network) if !self.accepts_egress(network).holds => {
                    Verdict::refused(NO_PARENT, "EgressNetwork parent has not been accepted")
                }
                Some(_) => self.unless_conflicted(route, reference, &parent),
            },
        })
    }

    /// Routes of other kinds at the very same parent, port included, come before some.
    fn unless_conflicted(&self, route: &Route, reference: &ParentRef, parent: &Parent) -> Verdict {
        let comes_before = |other: &Attached| other.reference().port == reference.port && other.route.precedence() < route.precedence();
        match self.view.attached(parent).iter().any(comes_before) {
            true => Verdict::refused("RouteReasonConflicted", ""),
            false => Verdict::accepted(),
        }
    }

    /// Are the backends of a route there, as far as one of its parents wants any? `None` for a Server, and for parents of somebody else.
    #[must_use]
    pub fn resolves_backends(&self, route: &Route, reference: &ParentRef) -> Option<Verdict> {
        let parent = route.parent(reference)?;
        if parent.kind == ParentKind::Server {
            return None;
        }
        // As upstream: without a namespace a backend stands in the route's, although traffic looks for it in the parent's.
        let namespace = |backend: &BackendRef| backend.namespace.as_ref().unwrap_or(&route.metadata().namespace).clone();
        let mut verdict = Verdict::resolved();
        for backend in route.backends() {
            let is_egress = backend.is(GROUP, "EgressNetwork");
            if !is_egress && !backend.is("core", "Service") {
                return Some(Verdict::unresolved("InvalidKind", ""));
            }
            if is_egress && parent.kind != ParentKind::EgressNetwork {
                let message = "EgressNetwork backend needs to be on a route that has an EgressNetwork parent";
                return Some(Verdict::unresolved("InvalidKind", message));
            }
            let exists = match is_egress {
                true => self.view.egress_network(&namespace(backend), &backend.name).is_some(),
                false => self.view.cluster().service(&namespace(backend), &backend.name).is_some(),
            };
            if !exists {
                verdict = Verdict::unresolved("BackendNotFound", "");
            }
        }
        Some(verdict)
    }

    /// Is a limit taken? Of several for one Server, the oldest.
    #[must_use]
    pub fn accepts_rate_limit(&self, limit: &HTTPLocalRateLimitPolicy) -> Verdict {
        let (namespace, target) = (&limit.metadata.namespace, &limit.spec.target_ref);
        if !targets_server(target) || self.view.server(namespace, &target.name).is_none() {
            return Verdict::refused("NoMatchingTarget", "");
        }
        let same = |other: &&std::sync::Arc<HTTPLocalRateLimitPolicy>| {
            targets_server(&other.spec.target_ref) && other.spec.target_ref.name == target.name
        };
        match self.view.rate_limits(namespace).iter().find(same) {
            Some(oldest) if oldest.metadata.name != limit.metadata.name => Verdict::refused("RateLimitReasonAlreadyExists", ""),
            _ => Verdict::accepted(),
        }
    }

    /// Is an EgressNetwork taken? Not if it has a part of the cluster.
    #[must_use]
    pub fn accepts_egress(&self, network: &EgressNetwork) -> Verdict {
        let networks = network.spec.networks.iter().flatten();
        let overlaps = |own: &Network| self.mesh.networks.iter().any(|cluster| overlaps(own, cluster));
        match networks.into_iter().any(overlaps) {
            true => Verdict::refused("EgressReasonNetworkOverlap", "networks overlap with clusterNetworks"),
            false => Verdict::accepted(),
        }
    }

    /// Is a route in force at one of its parents?
    pub(crate) fn is_route_in_force(&self, route: &Route, reference: &ParentRef) -> bool {
        match self.settings.acceptance {
            Acceptance::Decided => self.accepts_route(route, reference).is_some_and(|verdict| verdict.holds),
            Acceptance::Written => {
                let own = route.parent(reference);
                let mut told = route.status().parents.iter().filter(|told| told.controller_name == CONTROLLER);
                told.any(|told| {
                    route.parent(&told.parent_ref) == own && told.parent_ref.port == reference.port && is_accepted(&told.conditions)
                })
            }
        }
    }

    /// Is a limit in force?
    pub(crate) fn is_rate_limit_in_force(&self, limit: &HTTPLocalRateLimitPolicy) -> bool {
        match self.settings.acceptance {
            Acceptance::Decided => self.accepts_rate_limit(limit).holds,
            Acceptance::Written => is_accepted(&limit.status.conditions),
        }
    }
}

pub(crate) fn targets_server(target: &Reference) -> bool {
    target.is(GROUP, "Server")
}

fn is_accepted(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.kind == ACCEPTED && condition.is_true())
}

/// An API server gives every other Service an address; in a folder there may be none yet.
fn has_cluster_ip(service: &Service) -> bool {
    service.spec.kind.as_deref() != Some("ExternalName") && service.spec.cluster_ip.as_deref() != Some("None")
}

/// Do they have addresses in common? Of two networks, one is within the other or they have nothing in common.
fn overlaps(network: &Network, other: &IpNet) -> bool {
    let common = match (network.cidr.contains(other), other.contains(&network.cidr)) {
        (true, _) => other,
        (_, true) => &network.cidr,
        _ => return false,
    };
    !network.except.iter().any(|part| part.contains(common))
}

#[cfg(test)]
mod tests;
