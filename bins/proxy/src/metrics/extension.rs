//! What goes beyond the compatible APIs: trust anchors and digests of discovery.

use std::sync::Arc;

use meshkit_runtime::metrics::{Counter, Kind, Registry};
use meshkit_tls::Store;

use crate::control::anchors::fingerprints;

/// `mesh_identity_trust_anchors*`: whose signatures are believed.
#[derive(Clone, Debug)]
pub struct TrustAnchorCounters {
    refused: Arc<Counter>,
}

/// `mesh_discovery_*`: whether what was heard of endpoints is all that was told.
#[derive(Clone, Debug)]
pub struct DigestCounters {
    told: Arc<Counter>,
    lost: Arc<Counter>,
}

impl TrustAnchorCounters {
    /// Registers the families. Of `mesh_identity_trust_anchors` there is a series for each anchor of the store: 64 at most.
    #[must_use]
    pub fn register(registry: &Registry, store: &Arc<Store>) -> Self {
        let snapshots = store.subscribe();
        registry.open().collect(move |out| {
            let snapshot = Arc::clone(&snapshots.borrow());
            let help = "Trust anchors in use, by their SHA-256";
            out.family("mesh_identity_trust_anchors", help, Kind::Gauge, None, |out| {
                for fingerprint in fingerprints(snapshot.anchors()) {
                    out.with(&[("fingerprint", &fingerprint)], |out| out.integer(1));
                }
            });
        });
        let refused = registry.open().counter("mesh_identity_trust_anchors_refused", "Bundles of trust anchors that cannot be used");
        Self { refused }
    }

    pub(crate) fn refused(&self) {
        self.refused.incr();
    }
}

impl DigestCounters {
    /// Registers the families.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let scope = registry.open().prefix("mesh_discovery");
        Self {
            told: scope.counter("digests", "Digests of endpoints that the destination controller told"),
            lost: scope
                .counter("lost_updates", "Targets that were subscribed to anew, for their endpoints were not those of the controller"),
        }
    }

    pub(crate) fn told(&self) {
        self.told.incr();
    }

    pub(crate) fn lost(&self) {
        self.lost.incr();
    }
}
