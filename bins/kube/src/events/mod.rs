//! What happened to an object, told as Events that `kubectl describe` shows.

use std::{sync::Arc, time::SystemTime};

use meshkit_core::Clock;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, warn};

use crate::{Client, Failure, Resource, lease::time};

mod ledger;

use ledger::{Entry, Ledger};

/// So many happenings wait to be written; further ones are dropped.
const QUEUE: usize = 256;
/// A longer message is cut: the API server takes 1024 bytes.
const MAX_MESSAGE: usize = 1024;

/// The object that something happened to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct About {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Happening {
    about: About,
    reason: &'static str,
    message: String,
    action: &'static str,
    is_warning: bool,
}

/// Tells what happened, in the background. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Happening>);

/// Writes what the recorders tell.
#[derive(Debug)]
pub struct Writer {
    queue: mpsc::Receiver<Happening>,
    component: String,
    instance: String,
}

impl About {
    /// An object by its kind and name.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: String::new(),
        }
    }

    /// The very one with this uid: `kubectl describe` looks for it.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        uid.clone_into(&mut self.uid);
        self
    }

    /// Events of the whole cluster stand in `default`.
    fn event_namespace(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }
}

impl Happening {
    /// Something as it should be. The reason is one word.
    #[must_use]
    pub fn normal(about: About, reason: &'static str, message: &str) -> Self {
        let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        Self { about, reason, message: message[..end].to_owned(), action: "", is_warning: false }
    }

    /// Something that a person should look at.
    #[must_use]
    pub fn warning(about: About, reason: &'static str, message: &str) -> Self {
        Self { is_warning: true, ..Self::normal(about, reason, message) }
    }

    /// Says what is done about it, in one word: `Deleting`.
    #[must_use]
    pub const fn action(mut self, action: &'static str) -> Self {
        self.action = action;
        self
    }
}

impl Client {
    /// Writes one Event now, and says how that went: for what happens seldom. All else goes through a [`Recorder`], which counts what happens again.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn tell(&self, happening: &Happening, component: &str, pod: &str, date: SystemTime) -> Result<(), Failure> {
        let name = event_name(happening, &format!("{:016x}", rand::random::<u64>()));
        let event = event((component, pod), happening, &name, 1, (date, date));
        self.create(&Resource::EVENTS, happening.about.event_namespace(), &event, component).await.map(drop)
    }
}

impl Recorder {
    /// A recorder, and its writer, for a component (`linkerd-identity`) of a Pod. What happens while the writer is behind by 256 is dropped: events are
    /// hints, and not to be relied on.
    #[must_use]
    pub fn new(component: &str, pod: &str) -> (Self, Writer) {
        let (recorder, queue) = mpsc::channel(QUEUE);
        (Self(recorder), Writer { queue, component: component.to_owned(), instance: pod.to_owned() })
    }

    /// Tells what happened. The same again is counted, and an object has at most 25 events in a row and then one in five minutes.
    pub fn tell(&self, happening: Happening) {
        if let Err(error) = self.0.try_send(happening) {
            debug!(%error, "event dropped");
        }
    }
}

impl Writer {
    /// Writes until the last recorder is gone.
    ///
    /// # Cancel safety
    /// A drop loses what was told and not yet written.
    pub async fn run(mut self, client: Client, clock: Arc<dyn Clock>) {
        let mut ledger = Ledger::default();
        while let Some(happening) = self.queue.recv().await {
            let date = clock.now();
            let written = match ledger.enter(happening, Instant::now(), date) {
                Entry::Nothing => Ok(()),
                Entry::New { happening, suffix } => {
                    let written = self.create(&client, &happening, &suffix, date).await;
                    if written.as_ref().is_err_and(|failure| !failure.is_uncertain()) {
                        ledger.forget(&happening);
                    }
                    written
                }
                Entry::Again { happening, suffix, count, first } => {
                    let namespace = happening.about.event_namespace();
                    let patch = json!({"count": count, "lastTimestamp": time(date)});
                    let name = event_name(&happening, &suffix);
                    match client.merge(&Resource::EVENTS, namespace, &name, &patch, &self.component).await {
                        // It was an hour ago, and the server has forgotten it.
                        Err(failure) if failure.is_absent() => self.again(&client, &happening, &suffix, (count, first), date).await,
                        written => written.map(drop),
                    }
                }
            };
            if let Err(error) = written {
                warn!(%error, "event not written");
            }
        }
    }

    async fn create(&self, client: &Client, happening: &Happening, suffix: &str, date: SystemTime) -> Result<(), Failure> {
        self.again(client, happening, suffix, (1, date), date).await
    }

    async fn again(
        &self,
        client: &Client,
        happening: &Happening,
        suffix: &str,
        (count, first): (u32, SystemTime),
        date: SystemTime,
    ) -> Result<(), Failure> {
        let event = event((&self.component, &self.instance), happening, &event_name(happening, suffix), count, (first, date));
        match client.create(&Resource::EVENTS, happening.about.event_namespace(), &event, &self.component).await {
            // An answer was lost, or so it seems.
            Err(failure) if failure.is_conflict() => Ok(()),
            written => written.map(drop),
        }
    }
}

fn event(
    (component, instance): (&str, &str),
    happening: &Happening,
    name: &str,
    count: u32,
    (first, last): (SystemTime, SystemTime),
) -> Value {
    let Happening { about, reason, message, action, is_warning } = happening;
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.event_namespace()},
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
        "type": if *is_warning { "Warning" } else { "Normal" },
        "reason": reason,
        "action": action,
        "message": message,
        "count": count,
        "firstTimestamp": time(first),
        "lastTimestamp": time(last),
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": instance,
    })
}

fn event_name(happening: &Happening, suffix: &str) -> String {
    format!("{}.{suffix}", happening.about.name)
}
