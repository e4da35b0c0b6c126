//! The Destination API.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use meshkit_core::{Update, grpc::Code};
use meshkit_manifest::Cluster;
use meshkit_wire::{
    Refused,
    destination::{Answers, Resolve},
    profile::Profile,
};
use tokio::sync::watch;

use crate::{
    index::{Endpoints, Index},
    model::Mesh,
    settings::Settings,
    target::{Context, Target},
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

impl Resolve for Service {
    fn endpoints(&self, path: &str, context: &str) -> Result<(Answers<Update>, BTreeMap<String, String>), Refused> {
        let Target::Name(name) = Target::parse(path, &self.index.mesh().domain)? else {
            return Err(Refused::new(Code::INVALID_ARGUMENT, "IP queries not supported by Get API"));
        };
        let mut answers = self.index.endpoints(&name, &Context::parse(context))?;
        let labels = self.index.set_labels(&name);
        answers.mark_changed();
        // The stream keeps the index: a connection may outlive the server that took it.
        let state = (answers, None::<Arc<Endpoints>>, self.index.clone());
        let updates = stream::unfold(state, async |(mut answers, known, index)| {
            answers.changed().await.ok()?;
            let now = Arc::clone(&answers.borrow_and_update());
            let updates = known.map_or_else(|| now.from_nothing(), |known| now.since(&known));
            Some((stream::iter(updates), (answers, Some(now), index)))
        });
        Ok((updates.flatten().boxed(), labels))
    }

    fn profile(&self, path: &str, context: &str) -> Result<Answers<Arc<Profile>>, Refused> {
        let target = Target::parse(path, &self.index.mesh().domain)?;
        let mut answers = self.index.profile(&target, &Context::parse(context))?;
        answers.mark_changed();
        let state = (answers, None::<Arc<Profile>>, self.index.clone());
        let profiles = stream::unfold(state, async |(mut answers, mut known, index)| {
            loop {
                answers.changed().await.ok()?;
                let now = Arc::clone(&answers.borrow_and_update());
                // Another subject may have an equal profile.
                if known.replace(Arc::clone(&now)).is_none_or(|known| known != now) {
                    return Some((now, (answers, known, index)));
                }
            }
        });
        Ok(profiles.boxed())
    }
}
