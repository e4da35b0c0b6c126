//! How the control plane is reached: `control_*`.

use std::{sync::Arc, time::Duration};

use meshkit_core::Clock;
use meshkit_runtime::metrics::{Counter, Family, Registry};

use super::{BalancerFamilies, BalancerHandle, HttpFamilies, HttpHandle, Labels};

/// The families of the clients of the control plane.
#[derive(Clone, Debug)]
pub struct ControlFamilies {
    registry: Registry,
    clock: Arc<dyn Clock>,
    http: HttpFamilies,
    resolutions: Family<Labels, Counter>,
}

/// The client of what is no part of the control plane: its balancer has a name of its own.
pub(crate) const TRACE_COLLECTOR: &str = "trace_collector";

/// What a lookup of a controller's name came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    Found,
    NotFound,
}

impl ControlFamilies {
    /// Registers the families.
    #[must_use]
    pub fn register(registry: &Registry, clock: &Arc<dyn Clock>) -> Self {
        Self {
            registry: registry.clone(),
            clock: Arc::clone(clock),
            http: HttpFamilies::register(registry, Some("control")),
            resolutions: registry.open().counter_family("control_dns_resolutions", "Lookups of the names of controllers"),
        }
    }

    /// The handles of one controller's calls. The server is the identity that must answer.
    pub(crate) fn calls(&self, addr: &str, server: Option<&str>) -> HttpHandle {
        let tls = match server {
            Some(id) => [("tls", "true"), ("server_id", id)],
            None => [("tls", "no_identity"), ("no_tls_reason", "loopback")],
        };
        self.http.handle(&Labels::new([("addr", addr)].into_iter().chain(tls)), None)
    }

    /// The handles of one controller's balancer.
    pub(crate) fn balancer(&self, client: &str, addr: &str, patience: Duration) -> BalancerHandle {
        let prefix = match client {
            TRACE_COLLECTOR => "opentelemetry_balancer".to_owned(),
            controller => format!("control_{controller}_balancer"),
        };
        let families = BalancerFamilies::register(&self.registry, &prefix, Arc::clone(&self.clock));
        families.handle(vec![("addr", addr.to_owned())], patience)
    }

    /// Counts a lookup.
    pub(crate) fn resolved(&self, client: &str, record_type: &str, resolution: Resolution) {
        let result = match resolution {
            Resolution::Found => "ok",
            Resolution::NotFound => "not_found",
        };
        self.resolutions.handle(&Labels::new([("client", client), ("record_type", record_type), ("result", result)])).incr();
    }
}
