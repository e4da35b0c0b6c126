//! From a cluster that changes to answers that change, shared by all who ask the same.
//!
//! One task follows the cluster. On each change it looks at the objects once, and works out once each *distinct* answer in whose namespaces
//! something has changed: however many proxies ask, and in whichever words. Everybody who gets an answer gets the same `Arc`, together with
//! what has changed since the answer before. So a watcher costs a place in a channel, whatever the size of the answer; it is woken only if its
//! own answer differs; and if it is slow, it finds the newest answer and never a queue of old ones.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use meshkit_core::Update;
use meshkit_manifest::Cluster;
use meshkit_wire::{Refused, profile::Profile};
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    model::{EndpointSet, Mesh, Model, Scope, Subject, View},
    settings::Settings,
    target::{Context, Name, Target},
};
use topics::{EndpointTopics, ProfileTopics};
use watched::Watched;

#[cfg(test)]
mod churn;
#[cfg(test)]
mod tests;
mod topics;
mod watched;

/// Answers that follow a cluster. Clones share everything.
#[derive(Clone, Debug)]
pub struct Index(Arc<Inner>);

/// The endpoints of a name, and how they came about.
#[derive(Debug, PartialEq)]
pub struct Endpoints {
    /// All of them.
    pub set: EndpointSet,
    /// Tells one answer of an index from every other.
    number: u64,
    /// The number of the answer before.
    before: Option<u64>,
    /// What leads from the answer before to this one.
    step: Vec<Update>,
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
    endpoints: Watched<(Name, String), Endpoints>,
    endpoint_topics: EndpointTopics,
    profiles: Watched<(Target, String), Profile>,
    profile_topics: ProfileTopics,
    is_over: bool,
}

impl Index {
    /// An index over a cluster that changes.
    #[must_use]
    pub fn new(mut cluster: watch::Receiver<Arc<Cluster>>, mesh: Mesh, settings: Settings) -> Self {
        // The first question makes the first view.
        cluster.mark_changed();
        let state = State {
            cluster: cluster.clone(),
            view: View::default(),
            endpoints: Watched::default(),
            endpoint_topics: EndpointTopics::default(),
            profiles: Watched::default(),
            profile_topics: ProfileTopics::default(),
            is_over: false,
        };
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

    /// The endpoints of a name as seen by a client. It ends with the cluster. A Service that goes away has no endpoints; it may come back.
    ///
    /// # Errors
    /// There is no such Service, or none whose endpoints are known here; or too many questions are watched.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn endpoints(&self, name: &Name, client: &Context) -> Result<watch::Receiver<Arc<Endpoints>>, Refused> {
        self.drive();
        let mut state = self.0.current();
        let State { view, endpoints, endpoint_topics, .. } = &mut *state;
        let model = Model::new(view, &self.0.mesh, &self.0.settings);
        model.resolvable(name)?;
        let question = (name.clone(), client.node_name.clone());
        let answer = || endpoint_topics.answer(&model, name, model.scope(name, client));
        let answers = endpoints.subscribe(question, answer, self.0.settings.max_questions);
        state.end_if_over();
        answers
    }

    /// The profile of a name or an address as seen by a client. It ends with the cluster. What goes away keeps its last profile: the
    /// connections to it end by themselves.
    ///
    /// # Errors
    /// The name stands for nothing, or the address for more than one thing; or too many questions are watched.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn profile(&self, target: &Target, client: &Context) -> Result<watch::Receiver<Arc<Profile>>, Refused> {
        self.drive();
        let mut state = self.0.current();
        let State { view, profiles, profile_topics, .. } = &mut *state;
        let model = Model::new(view, &self.0.mesh, &self.0.settings);
        let subject = model.subject(target, client)?;
        let question = (target.clone(), client.ns.clone());
        let answers = profiles.subscribe(question, || profile_topics.answer(&model, subject).0, self.0.settings.max_questions);
        state.end_if_over();
        answers
    }

    /// The labels that all endpoints of a name have.
    #[must_use]
    pub fn set_labels(&self, name: &Name) -> BTreeMap<String, String> {
        let state = self.0.current();
        Model::new(&state.view, &self.0.mesh, &self.0.settings).set_labels(name)
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

impl Endpoints {
    /// What leads a client from what it knows to these endpoints. It is worked out anew only for a client that missed an answer.
    #[must_use]
    pub fn since(&self, known: &Self) -> Vec<Update> {
        match self.before == Some(known.number) {
            true => self.step.clone(),
            false => known.set.updates_to(&self.set),
        }
    }

    /// What leads a client that knows nothing to these endpoints.
    #[must_use]
    pub fn from_nothing(&self) -> Vec<Update> {
        EndpointSet::default().updates_to(&self.set)
    }
}

impl Inner {
    /// The state, in step with the cluster.
    fn current(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left a state that the next change mends.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = {
            let cluster = state.cluster.borrow_and_update();
            cluster.has_changed().then(|| Arc::clone(&cluster))
        };
        if let Some(cluster) = newest {
            state.refresh(View::new(cluster), &self.mesh, &self.settings);
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
    fn refresh(&mut self, view: View, mesh: &Mesh, settings: &Settings) {
        let changed = view.changed_since(&self.view);
        self.endpoint_topics.next(changed.clone());
        self.profile_topics.next(changed);
        self.view = view;
        let model = Model::new(&self.view, mesh, settings);
        let topics = &mut self.endpoint_topics;
        self.endpoints.refresh(|(name, node), _| {
            let scope: Scope = model.scope(name, &Context { node_name: node.clone(), ..Context::default() });
            topics.answer(&model, name, scope)
        });
        topics.forget();
        let topics = &mut self.profile_topics;
        self.profiles.refresh(|(target, ns), known| {
            let subject: Result<Subject, _> = model.subject(target, &Context { ns: ns.clone(), ..Context::default() });
            let Ok(subject) = subject else { return Arc::clone(known) };
            let (profile, is_in_force) = topics.answer(&model, subject);
            if is_in_force { profile } else { Arc::clone(known) }
        });
        topics.forget();
    }

    /// Nothing follows the present answers when the cluster has ended.
    fn end_if_over(&mut self) {
        if self.is_over {
            drop((mem::take(&mut self.endpoints), mem::take(&mut self.profiles)));
        }
    }
}
