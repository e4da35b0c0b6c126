//! The Destination API.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use futures_util::{StreamExt as _, stream};
use meshkit_core::{Endpoint, Update, grpc::Code};
use meshkit_manifest::Cluster;
use meshkit_wire::{
    Refused,
    destination::{Answers, Resolve},
    profile::Profile,
};
use tokio::sync::watch;

use crate::{
    model::{self, Mesh},
    target::Target,
};

/// Answers from the newest state of the cluster. A slow client gets the newest state, and never a queue of old ones.
#[derive(Clone, Debug)]
pub struct Service {
    cluster: watch::Receiver<Arc<Cluster>>,
    mesh: Arc<Mesh>,
}

type Known = BTreeMap<SocketAddr, Endpoint>;

impl Service {
    /// A service over a cluster that changes.
    #[must_use]
    pub fn new(cluster: watch::Receiver<Arc<Cluster>>, mesh: Mesh) -> Self {
        Self { cluster, mesh: Arc::new(mesh) }
    }
}

impl Resolve for Service {
    fn endpoints(&self, path: &str, _: &str) -> Result<(Answers<Update>, BTreeMap<String, String>), Refused> {
        let Target::Name(name) = Target::parse(path, &self.mesh.domain)? else {
            return Err(Refused::new(Code::INVALID_ARGUMENT, "IP queries not supported by Get API"));
        };
        model::endpoints(&self.cluster.borrow(), &self.mesh, &name)?;
        let labels = model::set_labels(&name);
        let mesh = Arc::clone(&self.mesh);
        let mut cluster = self.cluster.clone();
        cluster.mark_changed();
        let updates = stream::unfold((cluster, Known::new()), move |(mut cluster, known)| {
            let (mesh, name) = (Arc::clone(&mesh), name.clone());
            async move {
                loop {
                    cluster.changed().await.ok()?;
                    let now = Arc::clone(&cluster.borrow_and_update());
                    // A Service that is gone has no endpoints; it may come back.
                    let all = model::endpoints(&now, &mesh, &name).unwrap_or_default();
                    let updates = difference(&known, &all);
                    if !updates.is_empty() {
                        return Some((stream::iter(updates), (cluster, all)));
                    }
                }
            }
        });
        Ok((updates.flatten().boxed(), labels))
    }

    fn profile(&self, path: &str, _: &str) -> Result<Answers<Arc<Profile>>, Refused> {
        let target = Target::parse(path, &self.mesh.domain)?;
        model::profile(&self.cluster.borrow(), &self.mesh, &target)?;
        let mesh = Arc::clone(&self.mesh);
        let mut cluster = self.cluster.clone();
        cluster.mark_changed();
        let profiles = stream::unfold((cluster, None::<Arc<Profile>>), move |(mut cluster, known)| {
            let (mesh, target) = (Arc::clone(&mesh), target.clone());
            async move {
                loop {
                    cluster.changed().await.ok()?;
                    let now = Arc::clone(&cluster.borrow_and_update());
                    // What is gone stays as it was last known: the connections to it end by themselves.
                    let Ok(profile) = model::profile(&now, &mesh, &target) else { continue };
                    if known.as_deref() != Some(&profile) {
                        let profile = Arc::new(profile);
                        return Some((Arc::clone(&profile), (cluster, Some(profile))));
                    }
                }
            }
        });
        Ok(profiles.boxed())
    }
}

/// What leads from one state to the next: additions and changes first, so that there is never less than there could be.
fn difference(before: &Known, after: &Known) -> Vec<Update> {
    let added: Vec<_> = after.iter().filter(|(addr, e)| before.get(*addr) != Some(*e)).map(|(_, e)| e.clone()).collect();
    let gone: Vec<_> = before.keys().filter(|addr| !after.contains_key(*addr)).copied().collect();
    let add = (!added.is_empty()).then_some(Update::Add(added));
    let remove = (!gone.is_empty()).then_some(Update::Remove(gone));
    add.into_iter().chain(remove).collect()
}
