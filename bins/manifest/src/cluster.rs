use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, watch};

use crate::{
    Event,
    core::{EndpointSlice, Pod, Service},
    object::{Key, Kind, Object},
};

/// Changes that are taken in at once.
const BATCH: usize = 256;

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
        let mut batch = Vec::with_capacity(BATCH);
        while events.recv_many(&mut batch, BATCH).await > 0 {
            // What has come together is taken in together: the map is copied once for all of it, if somebody still looks at the one before.
            into.send_modify(|cluster| {
                let cluster = Arc::make_mut(cluster);
                batch.drain(..).for_each(|event| cluster.apply(event, &source));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> Object {
        let mut service = Service::default();
        (service.metadata.name, service.metadata.namespace) = (name.to_owned(), "ns".to_owned());
        service.spec.ports.push(crate::core::ServicePort { port, ..Default::default() });
        Object::Service(Arc::new(service))
    }

    fn pod(name: &str) -> Object {
        let mut pod = Pod::default();
        (pod.metadata.name, pod.metadata.namespace) = (name.to_owned(), "ns".to_owned());
        Object::Pod(Arc::new(pod))
    }

    fn names(cluster: &Cluster) -> Vec<String> {
        cluster.objects().map(|object| object.key().to_string()).collect()
    }

    #[test]
    fn a_source_changes_only_what_it_may_tell_of() {
        let (services, pods) = (|key: &Key| key.kind == Kind::Service, |key: &Key| key.kind == Kind::Pod);
        let mut cluster = Cluster::default();
        cluster.apply(Event::Reset(vec![service("a", 1), service("b", 1), pod("x")]), services);
        cluster.apply(Event::Reset(vec![pod("p")]), pods);
        assert_eq!(names(&cluster), ["Service ns/a", "Service ns/b", "Pod ns/p"]);
        cluster.apply(Event::Applied(service("a", 2)), pods);
        cluster.apply(Event::Deleted(service("a", 1).key()), pods);
        assert_eq!(cluster.service("ns", "a").unwrap().spec.ports[0].port, 1);
        cluster.apply(Event::Applied(service("a", 2)), services);
        cluster.apply(Event::Reset(vec![]), pods);
        assert_eq!(cluster.service("ns", "a").unwrap().spec.ports[0].port, 2);
        assert_eq!((cluster.pods().count(), cluster.services().count()), (0, 2));
    }

    #[tokio::test]
    async fn watchers_see_the_newest_state_until_the_source_ends() {
        let (sender, events) = mpsc::channel(4);
        let (into, watched) = watch::channel(Arc::default());
        let following = tokio::spawn(Cluster::follow(events, Arc::new(into), |_| true));
        sender.send(Event::Reset(vec![service("a", 1)])).await.unwrap();
        sender.send(Event::Deleted(service("a", 1).key())).await.unwrap();
        sender.send(Event::Applied(pod("p"))).await.unwrap();
        drop(sender);
        following.await.unwrap();
        assert_eq!(names(&watched.borrow()), ["Pod ns/p"]);
    }
}
