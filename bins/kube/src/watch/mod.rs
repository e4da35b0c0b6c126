//! Objects as they are, and every change to them.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use meshkit_manifest::{Cluster, Event, Kind};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::Client;

mod backoff;
mod known;
mod lines;
mod listing;
mod message;
mod observe;
mod reader;

pub(crate) use backoff::Backoff;
pub use backoff::Pace;
pub use listing::{Ended, Listing};
pub(crate) use message::Page;
pub use observe::Observe;
use reader::{Reader, can_be_metadata};

/// The objects of some kinds, as the API server has them: the counterpart of `meshkit_manifest::Folder`.
///
/// Each selection is listed in pages and then watched from where the list ended. A watch that ends is opened again from where it was; where the
/// server does not remember that far back, the objects are listed again, and what changed in the meantime is told as if it had been watched.
///
/// - A kind that the server does not have counts as having no objects, and is looked for again every [`Pace::slow`].
/// - A kind that the account may not read holds back the end of the first lists, for policies that cannot be seen are not policies that do not exist. Later it
///   leaves everything as it was. Either way it is tried again every [`Pace::slow`].
/// - An object that cannot be read is passed over, and told to [`Observe::passed_over`]; if it could be read before, it stays as it was.
pub struct Source<O = ()> {
    client: Client,
    selections: Vec<Selection>,
    limits: Limits,
    pace: Pace,
    seed: u64,
    observe: Arc<O>,
}

/// Which objects of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) labels: String,
    pub(crate) fields: String,
    is_metadata_only: bool,
}

/// What a source keeps at most, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Objects of one selection. Further ones are passed over. Default 200,000.
    pub objects: usize,
    /// Bytes of one object. Larger ones are passed over. Default 4 MiB; the API server takes objects of up to 3 MiB.
    pub object: usize,
    /// Bytes of one page. A page that has more is asked for again with fewer objects. Default 16 MiB.
    pub page: usize,
    /// How long a watch is asked to last, between these two. Default 4 to 5 minutes.
    pub watch: (Duration, Duration),
    /// A watch that is silent for so long is taken for dead; a page of a list has this time, too, and not more than 60 s. Default 330 s, longer than any
    /// watch is asked to last.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            objects: 200_000,
            object: 4 << 20,
            page: 16 << 20,
            watch: (Duration::from_secs(240), Duration::from_secs(300)),
            silence: Duration::from_secs(330),
        }
    }
}

impl Selection {
    /// All objects of a kind.
    #[must_use]
    pub const fn all(kind: Kind) -> Self {
        Self { kind, namespace: String::new(), labels: String::new(), fields: String::new(), is_metadata_only: false }
    }

    /// Those of one namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Those with labels: `a=b,c in (d,e)`, as `kubectl` takes it.
    #[must_use]
    pub fn labels(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.labels);
        self
    }

    /// Those with fields: `metadata.name=a`, as `kubectl` takes it.
    #[must_use]
    pub fn fields(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.fields);
        self
    }

    /// Only their metadata: the rest does not even leave the server. Policies and routes, which mean nothing without the rest, are read whole
    /// nevertheless. Namespaces, nodes and service accounts are always read so.
    #[must_use]
    pub const fn metadata_only(mut self) -> Self {
        self.is_metadata_only = true;
        self
    }

    const fn is_metadata_only(&self) -> bool {
        matches!(self.kind, Kind::Namespace | Kind::Node | Kind::ServiceAccount) || (self.is_metadata_only && can_be_metadata(self.kind))
    }
}

impl From<Kind> for Selection {
    fn from(kind: Kind) -> Self {
        Self::all(kind)
    }
}

impl Source {
    /// Reads what is selected.
    pub fn new<S: Into<Selection>>(client: Client, selections: impl IntoIterator<Item = S>) -> Self {
        let selections = selections.into_iter().map(Into::into).collect();
        Self { client, selections, limits: Limits::default(), pace: Pace::default(), seed: rand::random(), observe: Arc::new(()) }
    }
}

impl<O: Observe> Source<O> {
    /// Sets what is kept at most.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how long to wait after failures.
    #[must_use]
    pub const fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Fixes the random part of the waits.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Tells somebody how it fares.
    #[must_use]
    pub fn observe<P: Observe>(self, observe: Arc<P>) -> Source<P> {
        let Self { client, selections, limits, pace, seed, .. } = self;
        Source { client, selections, limits, pace, seed, observe }
    }

    /// Begins: every object is told while it is read, and nothing is held but a page of each list and `backlog` events. Objects are read by the
    /// future, which ends when nobody takes events any more.
    ///
    /// # Panics
    /// `backlog` is 0.
    pub fn start(self, backlog: usize) -> (Listing, impl Future<Output = ()> + Send + 'static) {
        let (events, received) = mpsc::channel(backlog);
        let (all, listed) = oneshot::channel();
        (Listing::new(received, listed), self.run(events, all))
    }

    /// Sends all objects as one reset, once every selection was read, and then every change. Ends with the receiver. Until the reset is taken, all
    /// objects are held: [`start`](Self::start) is for many.
    ///
    /// # Cancel safety
    /// A drop ends it. Nothing is lost: a new source begins with a reset.
    pub async fn watch(self, events: mpsc::Sender<Event>) {
        let (listing, source) = self.start(1);
        let told = events.clone();
        let tell = async move {
            let mut all = Cluster::default();
            let Ok(mut changes) = listing.read(|event| all.apply(event, |_| true)).await else { return };
            let mut event = Event::Reset(all.objects().cloned().collect());
            drop(all);
            while told.send(event).await.is_ok() {
                let Some(change) = changes.recv().await else { return };
                event = change;
            }
        };
        tokio::select! {
            () = source => {}
            () = tell => {}
            () = events.closed() => {}
        }
    }

    async fn run(self, events: mpsc::Sender<Event>, all: oneshot::Sender<()>) {
        // Dropped with this future, and its tasks with it.
        let mut tasks = JoinSet::new();
        let mut lists = FuturesUnordered::new();
        for (seed, selection) in (self.seed..).zip(self.selections) {
            let (done, list) = oneshot::channel();
            lists.push(list);
            let (client, observe) = (self.client.clone(), Arc::clone(&self.observe));
            let reader = Reader::new(client, selection, self.limits, observe, Backoff::new(self.pace, seed), events.clone(), done);
            tasks.spawn(async move {
                let _ = reader.run().await;
            });
        }
        // A reader that panicked ends the source: a controller must not go on half blind, and sees the end of the events.
        let listed = async {
            while let Some(list) = lists.next().await {
                list.ok()?;
            }
            Some(())
        };
        let listed = tokio::select! {
            listed = listed => listed,
            () = events.closed() => return,
        };
        if listed.is_none() || all.send(()).is_err() {
            return;
        }
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            () = events.closed() => {}
        }
    }
}
