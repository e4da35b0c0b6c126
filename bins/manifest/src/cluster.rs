use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, watch};

use crate::{
    Event,
    core::{EndpointSlice, Pod, Service},
    object::{Key, Kind, Object},
};

/// All objects at one moment. Cloning is cheap enough for a machine's worth of them: the objects themselves are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster(BTreeMap<Key, Object>);

impl Cluster {
    /// Applies a change of a source that tells only of the objects that `source` names.
    pub fn apply(&mut self, event: Event, source: impl Fn(&Key) -> bool) {
        match event {
            Event::Applied(object) if source(&object.key()) => drop(self.0.insert(object.key(), object)),
            Event::Deleted(key) if source(&key) => drop(self.0.remove(&key)),
            Event::Applied(_) | Event::Deleted(_) => {}
            Event::Reset(objects) => {
                self.0.retain(|key, _| !source(key));
                self.0.extend(objects.into_iter().map(|object| (object.key(), object)).filter(|(key, _)| source(key)));
            }
        }
    }

    /// Every object.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.0.values()
    }

    /// An object by its name.
    #[must_use]
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.0.get(&Key { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// A Service by its name.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        match self.get(Kind::Service, namespace, name)? {
            Object::Service(service) => Some(service),
            _ => None,
        }
    }

    /// A Pod by its name.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        match self.get(Kind::Pod, namespace, name)? {
            Object::Pod(pod) => Some(pod),
            _ => None,
        }
    }

    /// Every Service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.objects().filter_map(|object| match object {
            Object::Service(service) => Some(service),
            _ => None,
        })
    }

    /// Every Pod.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.objects().filter_map(|object| match object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        })
    }

    /// The endpoint slices of a Service.
    pub fn slices<'a>(&'a self, namespace: &'a str, service: &'a str) -> impl Iterator<Item = &'a Arc<EndpointSlice>> {
        self.objects().filter_map(move |object| match object {
            Object::EndpointSlice(slice) => {
                let of = slice.metadata.labels.get("kubernetes.io/service-name").map(String::as_str);
                (slice.metadata.namespace == namespace && of == Some(service)).then_some(slice)
            }
            _ => None,
        })
    }

    /// Keeps a cluster in step with a source, until the source ends. What `source` does not name is not taken from it. Watchers see one moment after the other, never a part of a change.
    pub async fn follow(mut events: mpsc::Receiver<Event>, into: Arc<watch::Sender<Arc<Self>>>, source: impl Fn(&Key) -> bool) {
        while let Some(event) = events.recv().await {
            into.send_modify(|cluster| Arc::make_mut(cluster).apply(event, &source));
        }
    }
}
