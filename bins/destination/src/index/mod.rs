//! From objects that change to answers that change, shared by all who ask the same.
//!
//! A change of an object says which Services and addresses may have other answers. Only what is asked about these is worked out again, each
//! *distinct* answer once: however many proxies ask, and in whichever words. Everybody who gets an answer gets the same `Arc`, together with
//! what has changed since the answer before and the bytes that say so. So a watcher costs a place in a channel, whatever the size of the answer;
//! it is woken only if its own answer differs; and if it is slow, it finds the newest answer and never a queue of old ones.
//!
//! Changes that come faster than they can be told are told together.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use meshkit_manifest::{Cluster, Event, Key};
use meshkit_wire::Refused;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use crate::{
    model::{Mesh, Model},
    observe::Observe,
    settings::Settings,
    target::{Context, Name, Target},
};
use profiles::Place;
use questions::{FEW, Question};
use state::{Followed, State};

mod answer;
mod channel;
#[cfg(test)]
mod churn;
mod endpoints;
#[cfg(test)]
mod orders;
mod profiles;
mod questions;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod threads;

pub use answer::{Described, Endpoints};
pub use channel::{Ended, Receiver};

/// Answers that follow the objects of a cluster. Clones share everything.
#[derive(Clone, Debug)]
pub struct Index(Arc<Inner>);

/// A question that somebody waits for, and what it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Watched {
    /// What is asked for.
    pub target: Target,
    /// What counts of the client: its node where endpoints are asked for, its namespace where a profile is.
    pub client: String,
    /// How many wait for it.
    pub watcher_count: usize,
    /// How many answers it has had.
    pub answer_count: u64,
    /// How many endpoints it has now, and whether the Service exists; `None` for a profile.
    pub endpoints: Option<(usize, bool)>,
}

#[derive(Debug)]
struct Inner {
    mesh: Mesh,
    settings: Settings,
    observe: Arc<dyn Observe>,
    cluster: Option<watch::Receiver<Arc<Cluster>>>,
    state: Mutex<State>,
    /// Wakes the task that tells what has changed.
    behind: Arc<Notify>,
    /// How many watchers have left since somebody looked.
    left: AtomicUsize,
    driver: OnceLock<AbortHandle>,
}

impl Index {
    /// An index over a cluster that somebody else keeps. It ends with it.
    #[must_use]
    pub fn new(cluster: watch::Receiver<Arc<Cluster>>, mesh: Mesh, settings: Settings) -> Self {
        Self::of(Some(cluster), mesh, settings, Arc::new(()))
    }

    /// An index that is fed by [`apply`](Self::apply), and keeps of the objects only what answers need.
    #[must_use]
    pub fn fed(mesh: Mesh, settings: Settings) -> Self {
        Self::of(None, mesh, settings, Arc::new(()))
    }

    fn of(cluster: Option<watch::Receiver<Arc<Cluster>>>, mesh: Mesh, settings: Settings, observe: Arc<dyn Observe>) -> Self {
        let state = State::new(cluster.clone().map(Followed::new));
        let (behind, left, driver) = (Arc::new(Notify::new()), AtomicUsize::new(0), OnceLock::new());
        Self(Arc::new(Inner { mesh, settings, observe, cluster, state: Mutex::new(state), behind, left, driver }))
    }

    /// The same index with other settings. It starts anew and knows no objects but those of a cluster that it follows: who watches the one
    /// before goes on watching it.
    #[must_use]
    pub fn settings(&self, settings: Settings) -> Self {
        Self::of(self.0.cluster.clone(), self.0.mesh.clone(), settings, Arc::clone(&self.0.observe))
    }

    /// The same index, of which `observe` hears. It starts anew as with [`settings`](Self::settings).
    #[must_use]
    pub fn observe(&self, observe: Arc<dyn Observe>) -> Self {
        Self::of(self.0.cluster.clone(), self.0.mesh.clone(), self.0.settings.clone(), observe)
    }

    /// What is the same for every answer.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.0.mesh
    }

    pub(crate) fn limits(&self) -> (&Settings, &dyn Observe) {
        (&self.0.settings, &*self.0.observe)
    }

    /// Takes in a change of a source that tells only of the objects that `source` names. Watchers are told in a moment, and of changes that
    /// come together together.
    pub fn apply(&self, event: Event, source: impl Fn(&Key) -> bool) {
        let mut state = self.0.lock();
        state.apply(event, source);
        if state.endpoints.count() + state.profiles.count() == 0 {
            state.forget_changes();
        }
        if state.is_behind() {
            self.0.behind.notify_one();
        }
    }

    /// The endpoints of a name as seen by a client. It ends with the cluster. A Service that goes away has no endpoints; it may come back.
    ///
    /// # Errors
    /// There is no such Service, or none whose endpoints are known here; or too many questions are watched.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn endpoints(&self, name: &Name, client: &Context) -> Result<Receiver<Endpoints>, Refused> {
        self.drive();
        let mut state = self.0.lock();
        state.follow();
        state.refresh_nodes();
        let key = state.key(name);
        state.refresh_service(&key, &self.0);
        let question = question(&mut state, name, &client.node_name);
        let State { view, endpoints, .. } = &mut *state;
        let model = Model::new(view, &self.0.mesh, &self.0.settings);
        model.resolvable(name)?;
        let answers = endpoints.subscribe(&key, question, &model, self.0.settings.max_questions);
        state.end_if_over();
        answers.inspect_err(|_| self.0.observe.refused("max_questions"))
    }

    /// The profile of a name or an address as seen by a client. It ends with the cluster. What goes away keeps its last profile: the
    /// connections to it end by themselves.
    ///
    /// # Errors
    /// The name stands for nothing, or the address for more than one thing; or too many questions are watched.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn profile(&self, target: &Target, client: &Context) -> Result<Receiver<Described>, Refused> {
        self.drive();
        let mut state = self.0.lock();
        state.follow();
        let (place, question) = match target {
            Target::Name(name) => (Place::Service(state.key(name)), question(&mut state, name, &client.ns)),
            Target::Addr(addr) => {
                let client = state.texts.text(&client.ns);
                (Place::Ip(addr.ip()), Question { port: addr.port(), instance: None, client })
            }
        };
        state.refresh_place(&place, &self.0);
        let State { view, profiles, .. } = &mut *state;
        let model = Model::new(view, &self.0.mesh, &self.0.settings);
        let subject = model.subject(target, client)?;
        let answers = profiles.subscribe(&place, question, subject, &model, self.0.settings.max_questions);
        state.end_if_over();
        answers.inspect_err(|_| self.0.observe.refused("max_questions"))
    }

    /// Every question that somebody waits for, for whoever counts them.
    #[must_use]
    pub fn watched(&self) -> Vec<Watched> {
        let state = self.0.lock();
        let endpoints = state.endpoints.iter().map(|(key, question, asked)| {
            let answer = asked.sender.borrow();
            Watched {
                target: Target::Name(endpoints::name(key, question)),
                client: question.client.to_string(),
                watcher_count: asked.sender.receiver_count(),
                answer_count: asked.answer_count,
                endpoints: Some((answer.set.len(), answer.exists)),
            }
        });
        let profiles = state.profiles.iter().map(|(target, question, asked)| Watched {
            target,
            client: question.client.to_string(),
            watcher_count: asked.sender.receiver_count(),
            answer_count: asked.answer_count,
            endpoints: None,
        });
        endpoints.chain(profiles).filter(|watched| watched.watcher_count > 0).collect()
    }

    /// Ends all answers: whoever listens is told that there will be no more, and comes back elsewhere. For a server that stops.
    pub fn end(&self) {
        let mut state = self.0.lock();
        state.is_over = true;
        state.end_if_over();
    }

    /// A watcher has left. What nobody waits for is given back when enough have.
    pub(crate) fn leave(&self) {
        let left = self.0.left.fetch_add(1, Ordering::Relaxed) + 1;
        if left < FEW {
            return;
        }
        let mut state = self.0.lock();
        if left * 2 >= state.endpoints.count() + state.profiles.count() {
            self.0.left.store(0, Ordering::Relaxed);
            state.endpoints.sweep();
            state.profiles.sweep();
        }
    }

    /// Starts the task that tells what has changed, unless it runs.
    fn drive(&self) {
        self.0.driver.get_or_init(|| {
            let (inner, behind, mut cluster) = (Arc::downgrade(&self.0), Arc::clone(&self.0.behind), self.0.cluster.clone());
            let follow = async move {
                loop {
                    let Some(now) = inner.upgrade() else { return };
                    now.tell().await;
                    drop(now);
                    let Some(cluster) = &mut cluster else {
                        behind.notified().await;
                        continue;
                    };
                    if cluster.changed().await.is_err() {
                        break;
                    }
                }
                if let Some(inner) = inner.upgrade() {
                    inner.tell().await;
                    let mut state = inner.lock();
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
        // Nothing that panics is meant to happen under the lock; if it does, answers from what it left are better than none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what has changed.
    async fn tell(&self) {
        loop {
            {
                let mut state = self.lock();
                state.follow();
                state.refresh_some(self);
                if !state.is_behind() {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.get() {
            driver.abort();
        }
    }
}

fn question(state: &mut State, name: &Name, client: &str) -> Question {
    let instance = name.instance.as_deref().map(|instance| state.texts.text(instance));
    Question { port: name.port, instance, client: state.texts.text(client) }
}
