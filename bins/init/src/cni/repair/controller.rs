use std::sync::Arc;

use meshkit_core::Clock;
use meshkit_kube::{About, Client, Failure, Happening, Observe, Resource, Selection, Source};
use meshkit_manifest::{Event, Key, Kind, Object};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{EVENT_ACTION, EVENT_REASON, Metrics, POD_LABEL, is_suspect, is_to_be_deleted};

/// The name of the controller in its events.
const COMPONENT: &str = "linkerd-cni-repair-controller";
/// Changes that wait to be looked at. Where more come, the watch waits.
const BACKLOG: usize = 64;

/// Deletes the pods of a node that started without their rules.
#[derive(Debug)]
pub struct Controller {
    client: Client,
    node: String,
    pod: String,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Controller {
    /// For the pods of a node, from a pod of this name.
    #[must_use]
    pub fn new(client: Client, node: &str, pod: &str, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { client, node: node.to_owned(), pod: pod.to_owned(), clock, metrics }
    }

    /// Looks after pods for as long as they can be watched. `ready` is called once every pod of the node was looked at.
    ///
    /// A pod whose deletion failed is looked at again when its validator fails the next time.
    ///
    /// # Cancel safety
    /// A drop ends it. A pod that was deleted may then have no event.
    pub async fn run<O: Observe>(self, observe: Arc<O>, ready: impl FnOnce()) {
        let pods = Selection::all(Kind::Pod).labels(POD_LABEL).fields(&format!("spec.nodeName={}", self.node));
        let (listing, source) = Source::new(self.client.clone(), [pods]).observe(observe).start(BACKLOG);
        let look = async {
            let mut suspects = Vec::new();
            let Ok(mut changes) = listing.read(|event| suspects.extend(suspect(event))).await else { return };
            for key in suspects {
                self.look(&key).await;
            }
            ready();
            while let Some(event) = changes.recv().await {
                if let Some(key) = suspect(event) {
                    self.look(&key).await;
                }
            }
        };
        tokio::select! {
            () = source => {}
            () = look => {}
        }
    }

    /// The watch tells little of a pod: whether it is one of those is asked for.
    async fn look(&self, key: &Key) {
        let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
        let pods = Resource::from(Kind::Pod);
        let pod = match self.client.get_value(&pods, namespace, name).await {
            Ok(Some(pod)) if is_to_be_deleted(&pod) => pod,
            Ok(_) => return,
            Err(failure) => return warn!(namespace, name, error = %chain(&failure), "pod cannot be looked at"),
        };
        // Without it, another pod of the same name could be met.
        let Some(uid) = pod["metadata"]["uid"].as_str() else { return };
        let began = Instant::now();
        let deleted = self.client.delete_now(&pods, namespace, name, uid).await;
        self.metrics.deletions.count(deleted.as_ref().copied(), began.elapsed());
        match deleted {
            Ok(true) => info!(namespace, name, "pod deleted: it started before the CNI plugin was there"),
            Ok(false) => return,
            Err(failure) => return warn!(namespace, name, error = %chain(&failure), "pod cannot be deleted"),
        }
        let about = About::new("v1", "Pod", namespace, name).uid(uid);
        let message =
            format!("the CNI plugin made no redirect rules for {namespace}/{name}: deleting it, so that it is made anew with them");
        let happening = Happening::warning(about, EVENT_REASON, &message).action(EVENT_ACTION);
        let began = Instant::now();
        let told = self.client.tell(&happening, COMPONENT, &self.pod, self.clock.now()).await;
        self.metrics.events.count(told.as_ref().map(|()| true), began.elapsed());
        if let Err(failure) = told {
            warn!(namespace, name, error = %chain(&failure), "event not written");
        }
    }
}

fn suspect(event: Event) -> Option<Key> {
    match event {
        Event::Applied(Object::Pod(pod)) if is_suspect(&pod) => Some(Object::Pod(pod).key()),
        _ => None,
    }
}

fn chain(failure: &Failure) -> String {
    std::error::Error::source(failure).map_or_else(|| failure.to_string(), |source| format!("{failure}: {source}"))
}
