//! The backends of a rule. One that cannot be used keeps its weight, and fails what it is given.

use std::sync::Arc;

use meshkit_manifest::route::{BackendRef, HttpFilter};
use meshkit_policy::Meta;
use meshkit_wire::outbound::{Backend, Distribution, RouteBackend};

use super::{
    first,
    parent::{Parent, Use, egress_meta, service_meta},
};
use crate::{convert::Unsupported, model::Model, view::GROUP};

/// What a kind of route does to what goes to a backend.
pub(super) struct Filters<F> {
    pub(super) usage: Use,
    pub(super) read: fn(&HttpFilter) -> Result<F, Unsupported>,
    /// The filter that fails everything, with a message.
    pub(super) fail: fn(String) -> F,
}

/// Why a backend takes nothing.
struct Unusable {
    meta: Meta,
    message: String,
}

impl Unusable {
    fn new(meta: Meta, message: impl Into<String>) -> Self {
        Self { meta, message: message.into() }
    }

    /// A backend that no object stands for.
    fn invalid(message: String) -> Self {
        Self::new(Meta::builtin("invalid"), message)
    }
}

impl Model<'_> {
    /// Where a rule's traffic goes: to its parent if it names no backend.
    pub(super) fn distribution<F>(&self, parent: &Parent<'_>, references: &[BackendRef], filters: &Filters<F>) -> Distribution<F> {
        let backend = |reference: &BackendRef| {
            let used = self.backend(parent, reference, filters).unwrap_or_else(|unusable| RouteBackend {
                backend: parent.failing(unusable.meta, filters.usage),
                filters: [(filters.fail)(unusable.message)].into(),
            });
            (used, reference.weight.unwrap_or(1))
        };
        match references {
            [] => first(parent.own(filters.usage)),
            some => Distribution::Random(some.iter().map(backend).collect()),
        }
    }

    fn backend<F>(&self, parent: &Parent<'_>, reference: &BackendRef, filters: &Filters<F>) -> Result<RouteBackend<F>, Unusable> {
        let (is_service, is_egress) = (reference.is("core", "Service"), reference.is(GROUP, "EgressNetwork"));
        if !is_service && !is_egress {
            let (group, kind) = (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or_default());
            return Err(Unusable::invalid(format!("unsupported backend type {group} {kind}")));
        }
        let missing_port = || Unusable::invalid(format!("missing port for backend Service {}", reference.name));
        let port = if is_service { reference.port.ok_or_else(missing_port)? } else { reference.port.unwrap_or(parent.port) };
        let unsupported =
            |Unsupported(what)| Unusable::invalid(format!("unsupported backend filter: {}", what.trim_start_matches("filter ")));
        let own = reference.filters.iter().map(filters.read).collect::<Result<_, _>>().map_err(unsupported)?;
        // As upstream: without a namespace a backend stands in the parent's, although the status of the route looks for it in the route's.
        let namespace = reference.namespace.as_deref().unwrap_or(parent.namespace);
        let backend = match is_service {
            true => self.service_backend(parent, (namespace, &reference.name, port), filters.usage)?,
            false => self.egress_backend(parent, (namespace, &reference.name, port), filters.usage)?,
        };
        Ok(RouteBackend { backend, filters: own })
    }

    fn service_backend(
        &self,
        parent: &Parent<'_>,
        (namespace, name, port): (&str, &str, u16),
        usage: Use,
    ) -> Result<Arc<Backend>, Unusable> {
        match self.view.cluster().service(namespace, name) {
            Some(_) => Ok(parent.balance(namespace, name, port, usage)),
            None => Err(Unusable::new(service_meta(namespace, name, port), format!("Service not found {name}"))),
        }
    }

    /// An EgressNetwork is a backend of its own routes only: it stands for the address that was asked for.
    fn egress_backend(
        &self,
        parent: &Parent<'_>,
        (namespace, name, port): (&str, &str, u16),
        usage: Use,
    ) -> Result<Arc<Backend>, Unusable> {
        let unusable = |message: &str| Err(Unusable::new(egress_meta(namespace, name, port), message));
        if self.view.egress_network(namespace, name).is_none() {
            return unusable(&format!("EgressNetwork not found {name}"));
        }
        match parent.egress {
            None => unusable("EgressNetwork backends attach to EgressNetwork parents only"),
            Some((_, addr)) if (namespace, name) == (parent.namespace, parent.name) => Ok(parent.forward(addr, usage)),
            Some(_) => unusable("Route with EgressNetwork backend needs to have the same EgressNetwork as a parent"),
        }
    }
}
