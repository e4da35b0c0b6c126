//! The policy APIs.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use meshkit_manifest::Cluster;
use meshkit_policy::inbound::Policy;
use meshkit_wire::{
    Refused,
    destination::Answers,
    extension::{FaultPlan, Planned},
    inbound::Policies,
    outbound as wire,
};
use tokio::sync::watch;

use crate::{
    index::{Index, Watcher},
    mesh::Mesh,
    settings::Settings,
    workload::Workload,
};

/// Answers from the newest state of the cluster. A slow client gets the newest state, and never a queue of old ones.
#[derive(Clone, Debug)]
pub struct Service {
    index: Index,
}

impl Service {
    /// A service over a cluster that changes.
    #[must_use]
    pub fn new(cluster: watch::Receiver<Arc<Cluster>>, mesh: Mesh) -> Self {
        Self { index: Index::new(cluster, mesh, Settings::default()) }
    }

    /// Answers by other settings than the defaults.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { index: self.index.settings(settings) }
    }

    /// The answers that the service gives.
    #[must_use]
    pub const fn index(&self) -> &Index {
        &self.index
    }
}

impl Policies for Service {
    fn policy(&self, workload: &str, port: u16) -> Result<Answers<Arc<Policy>>, Refused> {
        self.index.inbound(&Workload::parse(workload)?, port).map(follow)
    }
}

impl wire::Policies for Service {
    fn policy(&self, workload: &str, target: &wire::Target) -> Result<Answers<Arc<wire::Policy>>, Refused> {
        self.index.outbound(&Workload::parse(workload)?, target).map(follow)
    }
}

impl Planned for Service {
    fn outbound(&self, workload: &str, target: &wire::Target) -> Result<Answers<Arc<FaultPlan>>, Refused> {
        self.index.outbound_faults(&Workload::parse(workload)?, target).map(follow)
    }

    fn inbound(&self, workload: &str, port: u16) -> Result<Answers<Arc<FaultPlan>>, Refused> {
        self.index.inbound_faults(&Workload::parse(workload)?, port).map(follow)
    }
}

/// The answer that there is, and all that follow.
fn follow<A: Send + Sync + 'static>(mut watcher: Watcher<A>) -> Answers<Arc<A>> {
    let first = watcher.seen();
    // The watcher keeps the index: a connection may outlive the server that took it.
    let further = stream::unfold(watcher, async |mut watcher| Some((watcher.next().await?, watcher)));
    stream::once(async { first }).chain(further).boxed()
}
