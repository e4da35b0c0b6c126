//! From a cluster that changes to answers that change, shared by all who ask the same.
//!
//! One task follows the cluster. A change is compared with the state before, and only those *distinct* answers are worked out anew in whose
//! namespaces something has changed that policies look at: once each, however many proxies ask, and in whichever words. Everybody who gets an
//! answer gets the same `Arc`. So a watcher costs a place in a channel, whatever the size of the answer; it is woken only if its own answer
//! differs; and if it is slow, it finds the newest answer and never a queue of old ones. An answer goes with its last watcher.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use meshkit_core::grpc::Code;
use meshkit_manifest::Cluster;
use meshkit_policy::inbound;
use meshkit_wire::{
    Refused,
    extension::FaultPlan,
    outbound::{self, Target},
};
use tokio::{sync::watch, task::AbortHandle};
use tracing::warn;

mod board;
#[cfg(test)]
mod churn;
#[cfg(test)]
mod tests;
mod topic;
mod watcher;

pub use watcher::Watcher;

use self::{
    board::Board,
    topic::{InboundFaults, InboundPolicy, OutboundFaults, OutboundPolicy, Topic},
};
use crate::{
    mesh::Mesh,
    model::Model,
    settings::Settings,
    view::{Changes, View},
    workload::Workload,
};

/// Answers that follow a cluster. Clones share everything.
#[derive(Clone, Debug)]
pub struct Index(Arc<Inner>);

/// What an index does at the moment, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Watchers.
    pub watchers: usize,
    /// Different questions that are watched.
    pub questions: usize,
    /// Different answers to them.
    pub answers: usize,
    /// Answers that were worked out since the index was made.
    pub worked_out: u64,
    /// Watchers that were refused because there were too many.
    pub refused: u64,
}

#[derive(Debug)]
struct Inner {
    mesh: Mesh,
    settings: Settings,
    cluster: watch::Receiver<Arc<Cluster>>,
    state: Mutex<State>,
    driver: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct State {
    cluster: watch::Receiver<Arc<Cluster>>,
    view: View,
    boards: Boards,
    watchers: usize,
    refused: u64,
    is_over: bool,
}

/// Questions of every kind.
#[derive(Debug, Default)]
struct Boards {
    inbound: Board<InboundPolicy>,
    outbound: Board<OutboundPolicy>,
    inbound_faults: Board<InboundFaults>,
    outbound_faults: Board<OutboundFaults>,
}

impl Index {
    /// An index over a cluster that changes.
    #[must_use]
    pub fn new(mut cluster: watch::Receiver<Arc<Cluster>>, mesh: Mesh, settings: Settings) -> Self {
        // The first question makes the first view.
        cluster.mark_changed();
        let (view, boards) = (View::default(), Boards::default());
        let state = State { cluster: cluster.clone(), view, boards, watchers: 0, refused: 0, is_over: false };
        Self(Arc::new(Inner { mesh, settings, cluster, state: Mutex::new(state), driver: OnceLock::new() }))
    }

    /// The same index with other settings. It starts anew: who watches the one before goes on watching it.
    #[must_use]
    pub fn settings(&self, settings: Settings) -> Self {
        Self::new(self.0.cluster.clone(), self.0.mesh.clone(), settings)
    }

    /// What is the same for every answer.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.0.mesh
    }

    pub(crate) fn cluster(&self) -> watch::Receiver<Arc<Cluster>> {
        self.0.cluster.clone()
    }

    pub(crate) fn rules(&self) -> (&Mesh, &Settings) {
        (&self.0.mesh, &self.0.settings)
    }

    /// What a workload's port allows. It ends with the cluster. A workload that goes away keeps its last policy.
    ///
    /// # Errors
    /// There is no such workload, or there are too many watchers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn inbound(&self, workload: &Workload, port: u16) -> Result<Watcher<inbound::Policy>, Refused> {
        self.watch::<InboundPolicy>((workload.clone(), port))
    }

    /// Where a client's traffic to a target goes. It ends with the cluster.
    ///
    /// # Errors
    /// There is no such target, or its name is malformed, or there are too many watchers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn outbound(&self, client: &Workload, target: &Target) -> Result<Watcher<outbound::Policy>, Refused> {
        self.watch::<OutboundPolicy>((client.namespace.clone(), target.clone()))
    }

    /// The planned trouble of a workload's port.
    ///
    /// # Errors
    /// As for [`Self::inbound`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn inbound_faults(&self, workload: &Workload, port: u16) -> Result<Watcher<FaultPlan>, Refused> {
        self.watch::<InboundFaults>((workload.clone(), port))
    }

    /// The planned trouble of a client's traffic to a target.
    ///
    /// # Errors
    /// As for [`Self::outbound`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn outbound_faults(&self, client: &Workload, target: &Target) -> Result<Watcher<FaultPlan>, Refused> {
        self.watch::<OutboundFaults>((client.namespace.clone(), target.clone()))
    }

    /// What it does at the moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.0.current();
        let Boards { inbound, outbound, inbound_faults, outbound_faults } = &state.boards;
        let counts = Counts { watchers: state.watchers, refused: state.refused, ..Counts::default() };
        outbound_faults.count(inbound_faults.count(outbound.count(inbound.count(counts))))
    }

    fn watch<T: Topic>(&self, question: T::Question) -> Result<Watcher<T::Answer>, Refused> {
        self.drive();
        let mut state = self.0.current();
        let State { view, boards, watchers, refused, .. } = &mut *state;
        let max = self.0.settings.max_watchers;
        if *watchers >= max {
            if *refused == 0 {
                warn!(setting = "max_watchers", max, "a watcher is refused: there are too many");
            }
            *refused += 1;
            let what = format!("{max} watchers are there, and more are not allowed: see the setting max_watchers");
            return Err(Refused::new(Code::RESOURCE_EXHAUSTED, what));
        }
        let answers = T::board(boards).ask(&Model::new(view, &self.0.mesh, &self.0.settings), &question)?;
        *watchers += 1;
        state.end_if_over();
        let inner = Arc::clone(&self.0);
        Ok(Watcher::new(answers, move || {
            let mut state = inner.lock();
            state.watchers -= 1;
            T::board(&mut state.boards).leave(&question);
        }))
    }

    /// Starts the task that follows the cluster, unless it runs.
    fn drive(&self) {
        self.0.driver.get_or_init(|| {
            let (inner, mut cluster) = (Arc::downgrade(&self.0), self.0.cluster.clone());
            let follow = async move {
                while cluster.changed().await.is_ok() {
                    let Some(inner) = inner.upgrade() else { return };
                    drop(inner.current());
                }
                if let Some(inner) = inner.upgrade() {
                    let mut state = inner.current();
                    state.is_over = true;
                    state.end_if_over();
                }
            };
            tokio::spawn(follow).abort_handle()
        });
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left a state that the next change mends.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, in step with the cluster.
    fn current(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let newest = {
            let cluster = state.cluster.borrow_and_update();
            cluster.has_changed().then(|| Arc::clone(&cluster))
        };
        if let Some(cluster) = newest {
            state.refresh(cluster, &self.mesh, &self.settings);
        }
        state
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.get() {
            driver.abort();
        }
    }
}

impl State {
    fn refresh(&mut self, cluster: Arc<Cluster>, mesh: &Mesh, settings: &Settings) {
        let changes = Changes::between(self.view.cluster(), &cluster);
        self.view = match changes.spare_policies() {
            true => mem::take(&mut self.view).over(cluster),
            false => View::new(cluster),
        };
        let model = Model::new(&self.view, mesh, settings);
        let Boards { inbound, outbound, inbound_faults, outbound_faults } = &mut self.boards;
        inbound.refresh(&model, &changes);
        outbound.refresh(&model, &changes);
        inbound_faults.refresh(&model, &changes);
        outbound_faults.refresh(&model, &changes);
    }

    /// Nothing follows the present answers when the cluster has ended.
    fn end_if_over(&mut self) {
        if self.is_over {
            self.boards = Boards::default();
        }
    }
}
