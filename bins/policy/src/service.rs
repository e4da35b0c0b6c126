//! The policy APIs.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use meshkit_manifest::Cluster;
use meshkit_policy::inbound::Policy;
use meshkit_wire::{Refused, destination::Answers, inbound::Policies};
use tokio::sync::watch;

use crate::inbound::{self, Mesh, Workload};

/// Answers from the newest state of the cluster. A slow client gets the newest state, and never a queue of old ones.
#[derive(Clone, Debug)]
pub struct Service {
    cluster: watch::Receiver<Arc<Cluster>>,
    mesh: Arc<Mesh>,
}

impl Service {
    /// A service over a cluster that changes.
    #[must_use]
    pub fn new(cluster: watch::Receiver<Arc<Cluster>>, mesh: Mesh) -> Self {
        Self { cluster, mesh: Arc::new(mesh) }
    }
}

impl Policies for Service {
    fn policy(&self, workload: &str, port: u16) -> Result<Answers<Arc<Policy>>, Refused> {
        let workload = Workload::parse(workload)?;
        inbound::policy(&self.cluster.borrow(), &self.mesh, &workload, port)?;
        let mesh = Arc::clone(&self.mesh);
        let mut cluster = self.cluster.clone();
        cluster.mark_changed();
        let policies = stream::unfold((cluster, None::<Arc<Policy>>), move |(mut cluster, known)| {
            let (mesh, workload) = (Arc::clone(&mesh), workload.clone());
            async move {
                loop {
                    cluster.changed().await.ok()?;
                    let now = Arc::clone(&cluster.borrow_and_update());
                    // A workload that is gone keeps its policy to its end.
                    let Ok(policy) = inbound::policy(&now, &mesh, &workload, port) else { continue };
                    if known.as_deref() != Some(&policy) {
                        let policy = Arc::new(policy);
                        return Some((Arc::clone(&policy), (cluster, Some(policy))));
                    }
                }
            }
        });
        Ok(policies.boxed())
    }
}
