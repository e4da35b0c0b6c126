//! The view and what is asked about it, in step with each other.

use std::{ptr, sync::Arc};

use meshkit_manifest::{Cluster, Event, Key, Object};
use tokio::sync::watch;

use super::{
    Inner,
    endpoints::EndpointTopics,
    profiles::{Place, ProfileTopics},
    questions::FEW,
};
use crate::{
    model::{Changed, Model, ServiceKey, View, view::Pool},
    target::Name,
};

/// Everything that a lock protects.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) view: View,
    /// What nobody has been told yet.
    changed: Changed,
    pub(super) endpoints: EndpointTopics,
    pub(super) profiles: ProfileTopics,
    pub(super) texts: Pool<str>,
    pub(super) followed: Option<Followed>,
    pub(super) is_over: bool,
}

/// A cluster that somebody else keeps.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) cluster: watch::Receiver<Arc<Cluster>>,
    seen: Arc<Cluster>,
}

impl Followed {
    pub(super) fn new(mut cluster: watch::Receiver<Arc<Cluster>>) -> Self {
        // The first question makes the first view.
        cluster.mark_changed();
        Self { cluster, seen: Arc::default() }
    }
}

impl State {
    pub(super) fn new(followed: Option<Followed>) -> Self {
        Self { followed, ..Self::default() }
    }

    pub(super) fn apply(&mut self, event: Event, source: impl Fn(&Key) -> bool) {
        self.view.apply(event, source, &mut self.changed);
    }

    /// Takes in what has changed in the cluster that is followed.
    pub(super) fn follow(&mut self) {
        let Some(followed) = &mut self.followed else { return };
        let newest = {
            let cluster = followed.cluster.borrow_and_update();
            if !cluster.has_changed() {
                return;
            }
            Arc::clone(&cluster)
        };
        let seen = std::mem::replace(&mut followed.seen, Arc::clone(&newest));
        for event in difference(&seen, &newest) {
            self.apply(event, |_| true);
        }
    }

    /// Nobody waits for anything.
    pub(super) fn forget_changes(&mut self) {
        self.changed = Changed::default();
    }

    /// Is there something that nobody has been told yet?
    pub(super) fn is_behind(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Tells some of what has changed, so that others get their turn.
    pub(super) fn refresh_some(&mut self, inner: &Inner) {
        self.refresh_nodes();
        let services: Vec<_> = self.changed.services.iter().take(FEW).cloned().collect();
        for key in services {
            self.refresh_service(&key, inner);
        }
        let ips: Vec<_> = self.changed.ips.iter().take(FEW).copied().collect();
        for ip in ips {
            self.refresh_place(&Place::Ip(ip), inner);
        }
        if !self.is_behind() {
            // What a burst of changes took is given back.
            self.changed = Changed::default();
        }
    }

    /// Brings the answers about a Service up to date.
    pub(super) fn refresh_service(&mut self, key: &Arc<ServiceKey>, inner: &Inner) {
        if !self.changed.services.remove(key) {
            return;
        }
        let model = Model::new(&self.view, &inner.mesh, &inner.settings);
        self.endpoints.refresh(key, &model, &mut |name, node, answer| inner.observe.endpoints(name, node, answer));
        self.profiles.refresh(&Place::Service(Arc::clone(key)), &model, &mut |target, ns| inner.observe.profile(target, ns));
    }

    /// Brings the answers about a Service or an address up to date.
    pub(super) fn refresh_place(&mut self, place: &Place, inner: &Inner) {
        match place {
            Place::Service(key) => self.refresh_service(key, inner),
            Place::Ip(ip) if self.changed.ips.remove(ip) => {
                let model = Model::new(&self.view, &inner.mesh, &inner.settings);
                self.profiles.refresh(place, &model, &mut |target, ns| inner.observe.profile(target, ns));
            }
            Place::Ip(_) => {}
        }
    }

    /// Another zone of a node is another scope of all that its clients ask.
    pub(super) fn refresh_nodes(&mut self) {
        if !self.changed.nodes.is_empty() {
            let asked = self.endpoints.asked_by(&self.changed.nodes);
            self.changed.services.extend(asked);
            self.changed.nodes.clear();
        }
    }

    pub(super) fn key(&mut self, name: &Name) -> Arc<ServiceKey> {
        Arc::new(ServiceKey { namespace: self.texts.text(&name.namespace), name: self.texts.text(&name.service) })
    }

    /// Nothing follows the present answers when the cluster has ended.
    pub(super) fn end_if_over(&mut self) {
        if self.is_over {
            (self.endpoints, self.profiles) = <_>::default();
        }
    }
}

/// What leads from one cluster to the next. Both are in the order of their keys, and an object that did not change is the same object.
fn difference<'a>(before: &'a Cluster, after: &'a Cluster) -> impl Iterator<Item = Event> + 'a {
    let (mut before, mut after) = (before.objects().peekable(), after.objects().peekable());
    let name = |object: &'a Object| (object.kind(), object.metadata().namespace.as_str(), object.metadata().name.as_str());
    std::iter::from_fn(move || {
        loop {
            match (before.peek().copied(), after.peek().copied()) {
                (None, None) => return None,
                (Some(old), Some(new)) if ptr::eq(old.metadata(), new.metadata()) => {
                    before.next();
                    after.next();
                }
                (Some(old), None) => {
                    before.next();
                    return Some(Event::Deleted(old.key()));
                }
                (Some(old), Some(new)) if name(old) < name(new) => {
                    before.next();
                    return Some(Event::Deleted(old.key()));
                }
                (old, Some(new)) => {
                    if old.is_some_and(|old| name(old) == name(new)) {
                        before.next();
                    }
                    after.next();
                    return Some(Event::Applied(new.clone()));
                }
            }
        }
    })
}
