//! One of several replicas writes: who holds a Lease.

use std::{collections::BTreeMap, sync::Arc};

use meshkit_core::Clock;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use crate::{Client, Failure, Resource};

mod machine;
mod record;

pub use machine::{Machine, Step, Terms};
pub use record::Record;
pub(crate) use record::time;

/// A Lease, and who wants it.
#[derive(Clone, Debug)]
pub struct Lease {
    namespace: String,
    name: String,
    identity: String,
    manager: String,
    terms: Terms,
    labels: BTreeMap<String, String>,
    owner: Option<Value>,
}

/// Is a lease held?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held(Option<Instant>);

impl Held {
    /// It is held at this time. To be asked before every write, for a renewal may have failed since.
    #[must_use]
    pub fn is_held(&self, now: Instant) -> bool {
        self.0.is_some_and(|until| now < until)
    }
}

impl Lease {
    /// The lease of a namespace, for a candidate: in a Pod, its name. `manager` is the field manager.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str, manager: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            manager: manager.to_owned(),
            terms: Terms::default(),
            labels: BTreeMap::new(),
            owner: None,
        }
    }

    /// Sets how long it lasts.
    #[must_use]
    pub const fn terms(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// Gives it a label, if it has to be made.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// It goes with the Deployment of this name and uid, if it has to be made.
    #[must_use]
    pub fn owned_by(mut self, deployment: &str, uid: &str) -> Self {
        self.owner = Some(json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment, "uid": uid, "controller": true}));
        self
    }

    /// Takes the lease whenever it is free, renews it, and tells so, until `shutdown` is done or nobody listens; then gives it back.
    ///
    /// # Cancel safety
    /// A drop does not give the lease back: the next holder has to wait for its end.
    pub async fn hold(self, client: Client, clock: Arc<dyn Clock>, held: watch::Sender<Held>, shutdown: impl Future<Output = ()>) {
        let mut machine = Machine::new(&self.identity, self.terms);
        let client = client.timeout(self.terms.grace.min(self.terms.renew));
        tokio::pin!(shutdown);
        loop {
            let until = machine.held_until();
            held.send_if_modified(|held| {
                if held.0.is_some() != until.is_some() {
                    info!(lease = self.name, identity = self.identity, held = until.is_some(), "lease");
                }
                std::mem::replace(held, Held(until)) != Held(until)
            });
            let act = self.act(&client, &*clock, &mut machine);
            tokio::select! {
                () = act => {}
                () = &mut shutdown => break,
                () = held.closed() => break,
            }
        }
        held.send_replace(Held(None));
        if let Some(record) = machine.release(Instant::now()) {
            match self.write(&client, &*clock, &record).await {
                Ok(_) => info!(lease = self.name, "lease given back"),
                Err(error) => warn!(lease = self.name, %error, "lease not given back: it ends by itself"),
            }
        }
    }

    async fn act(&self, client: &Client, clock: &dyn Clock, machine: &mut Machine) {
        let sent = Instant::now();
        match machine.step(sent) {
            // A lease that is held ends by itself: somebody has to notice.
            Step::Wait(at) => sleep_until(machine.held_until().map_or(at, |until| at.min(until.max(sent)))).await,
            Step::Read => match self.read(client).await {
                Ok(record) => machine.saw(record, Instant::now()),
                Err(error) => self.failed(&error, machine),
            },
            Step::Write(record) => match self.write(client, clock, &record).await {
                Ok(record) => machine.wrote(record, sent, Instant::now()),
                Err(error) if error.is_conflict() => machine.lost_race(Instant::now()),
                // It was deleted.
                Err(error) if error.is_absent() => machine.lost_race(Instant::now()),
                Err(error) => self.failed(&error, machine),
            },
        }
        machine.expire(Instant::now());
    }

    fn failed(&self, error: &Failure, machine: &mut Machine) {
        if machine.held_until().is_some() {
            warn!(lease = self.name, %error, "lease not renewed");
        } else {
            debug!(lease = self.name, %error, "lease not read");
        }
        machine.failed(Instant::now());
    }

    async fn read(&self, client: &Client) -> Result<Option<Record>, Failure> {
        let value = client.get_value(&Resource::LEASES, &self.namespace, &self.name).await?;
        value.map(|value| Record::from_json(&value).map_err(|error| Failure::Malformed("lease", error))).transpose()
    }

    async fn write(&self, client: &Client, clock: &dyn Clock, record: &Record) -> Result<Record, Failure> {
        let mut metadata = json!({"name": self.name, "namespace": self.namespace});
        let is_new = record.version.is_empty();
        if is_new {
            metadata["labels"] = json!(self.labels);
            metadata["ownerReferences"] = self.owner.iter().cloned().collect();
        } else {
            metadata["resourceVersion"] = record.version.as_str().into();
        }
        let lease = json!({
            "apiVersion": Resource::LEASES.api_version(),
            "kind": "Lease",
            "metadata": metadata,
            "spec": record.spec(clock.now()),
        });
        let written = if is_new {
            client.create(&Resource::LEASES, &self.namespace, &lease, &self.manager).await?
        } else {
            // A merge keeps labels and owners; with a version in it, it is refused if somebody wrote in the meantime.
            client.merge(&Resource::LEASES, &self.namespace, &self.name, &lease, &self.manager).await?
        };
        Record::from_json(&written).map_err(|error| Failure::Malformed("lease", error))
    }
}
