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
    faults,
    inbound::{self, Mesh, Workload},
    outbound,
};

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

impl Service {
    /// Answers as the cluster changes, each different from the one before.
    fn follow<T, F>(&self, answer: F) -> Result<Answers<Arc<T>>, Refused>
    where
        T: PartialEq + Send + Sync + 'static,
        F: Fn(&Cluster, &Mesh) -> Result<T, Refused> + Send + Sync + 'static,
    {
        answer(&self.cluster.borrow(), &self.mesh)?;
        let (mesh, answer) = (Arc::clone(&self.mesh), Arc::new(answer));
        let mut cluster = self.cluster.clone();
        cluster.mark_changed();
        let answers = stream::unfold((cluster, None::<Arc<T>>), move |(mut cluster, known)| {
            let (mesh, answer) = (Arc::clone(&mesh), Arc::clone(&answer));
            async move {
                loop {
                    cluster.changed().await.ok()?;
                    let now = Arc::clone(&cluster.borrow_and_update());
                    // What is gone keeps its last answer to its end.
                    let Ok(next) = answer(&now, &mesh) else { continue };
                    if known.as_deref() != Some(&next) {
                        let next = Arc::new(next);
                        return Some((Arc::clone(&next), (cluster, Some(next))));
                    }
                }
            }
        });
        Ok(answers.boxed())
    }
}

impl Policies for Service {
    fn policy(&self, workload: &str, port: u16) -> Result<Answers<Arc<Policy>>, Refused> {
        let workload = Workload::parse(workload)?;
        self.follow(move |cluster, mesh| inbound::policy(cluster, mesh, &workload, port))
    }
}

impl wire::Policies for Service {
    fn policy(&self, workload: &str, target: &wire::Target) -> Result<Answers<Arc<wire::Policy>>, Refused> {
        let (workload, target) = (Workload::parse(workload)?, target.clone());
        self.follow(move |cluster, mesh| outbound::policy(cluster, mesh, &workload, &target))
    }
}

impl Planned for Service {
    fn outbound(&self, workload: &str, target: &wire::Target) -> Result<Answers<Arc<FaultPlan>>, Refused> {
        let (workload, target) = (Workload::parse(workload)?, target.clone());
        self.follow(move |cluster, _| faults::outbound(cluster, &workload, &target))
    }

    fn inbound(&self, workload: &str, port: u16) -> Result<Answers<Arc<FaultPlan>>, Refused> {
        let workload = Workload::parse(workload)?;
        self.follow(move |cluster, _| faults::inbound(cluster, &workload, port))
    }
}
