//! The Destination API.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use meshkit_core::{Update, grpc::Code};
use meshkit_manifest::{Cluster, Event, Key};
use meshkit_wire::{
    Refused,
    destination::{Answers, Resolve},
    profile::Profile,
};
use tokio::sync::watch;

use crate::{
    index::{Described, Endpoints, Index, Receiver},
    model::Mesh,
    observe::Observe,
    settings::Settings,
    streams::{Slot, Streams},
    target::{Context, Target},
};

/// Answers from the newest state of the cluster. A slow client gets the newest state, and never a queue of old ones.
#[derive(Clone, Debug)]
pub struct Service {
    index: Index,
    streams: Streams,
}

/// Tells answers that follow one another, each in step with the one before.
struct Listener<A, F> {
    answers: Receiver<A>,
    /// All that is kept for a client: the answer that it knows.
    known: Option<Arc<A>>,
    tell: F,
    _slot: Slot,
}

impl Service {
    /// A service over a cluster that somebody else keeps.
    #[must_use]
    pub fn new(cluster: watch::Receiver<Arc<Cluster>>, mesh: Mesh) -> Self {
        Self::of(Index::new(cluster, mesh, Settings::default()))
    }

    /// A service that is fed by [`apply`](Self::apply), and keeps of the objects only what answers need.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use meshkit_destination::{Mesh, Service, Settings};
    /// use meshkit_manifest::{Event, Kind, Manifest};
    /// use meshkit_wire::destination::Resolve;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let mesh = Mesh { namespace: "linkerd".into(), domain: "cluster.local".into(), trust_domain: "cluster.local".into() };
    /// let service = Service::fed(mesh, Settings::default());
    /// let text = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {ports: [{port: 80}]}}";
    /// let objects = Manifest::parse(Path::new("web.yaml"), text).unwrap().objects;
    /// // One source for each kind: what it does not tell of is not its own.
    /// service.apply(Event::Reset(objects), |key| key.kind == Kind::Service);
    /// service.apply(Event::Reset(Vec::new()), |key| key.kind == Kind::Pod);
    /// assert!(service.endpoints("web.ns.svc.cluster.local:80", "").is_ok());
    /// # }
    /// ```
    #[must_use]
    pub fn fed(mesh: Mesh, settings: Settings) -> Self {
        Self::of(Index::fed(mesh, settings))
    }

    fn of(index: Index) -> Self {
        Self { index, streams: Streams::default() }
    }

    /// Answers by other settings than the defaults. It starts anew, as [`Index::settings`] says.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self::of(self.index.settings(settings))
    }

    /// Tells `observe` what happens. It starts anew, as [`Index::settings`] says.
    #[must_use]
    pub fn observe(self, observe: Arc<dyn Observe>) -> Self {
        Self::of(self.index.observe(observe))
    }

    /// The answers that the service gives.
    #[must_use]
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// Takes in a change, as [`Index::apply`] says.
    pub fn apply(&self, event: Event, source: impl Fn(&Key) -> bool) {
        self.index.apply(event, source);
    }

    fn listen_to_endpoints(&self, path: &str, context: &str) -> Result<(Receiver<Endpoints>, Slot), Refused> {
        let Target::Name(name) = Target::parse(path, &self.index.mesh().domain)? else {
            return Err(Refused::new(Code::INVALID_ARGUMENT, "IP queries not supported by Get API"));
        };
        let client = Context::parse(context);
        let slot = self.streams.open(&self.index, &client)?;
        Ok((self.index.endpoints(&name, &client)?, slot))
    }

    fn listen_to_profile(&self, path: &str, context: &str) -> Result<(Receiver<Described>, Slot), Refused> {
        let target = Target::parse(path, &self.index.mesh().domain)?;
        let client = Context::parse(context);
        let slot = self.streams.open(&self.index, &client)?;
        Ok((self.index.profile(&target, &client)?, slot))
    }
}

impl<A, F> Listener<A, F> {
    /// The first thing that is told is the present answer.
    fn new((mut answers, slot): (Receiver<A>, Slot), tell: F) -> Self {
        answers.mark_changed();
        Self { answers, known: None, tell, _slot: slot }
    }
}

impl<A, T, F> Stream for Listener<A, F>
where
    F: FnMut(&A, Option<&A>) -> T + Unpin,
{
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        let Ok(now) = ready!(self.answers.poll_changed(cx)) else { return Poll::Ready(None) };
        let before = self.known.replace(Arc::clone(&now));
        Poll::Ready(Some((self.tell)(&now, before.as_deref())))
    }
}

/// Another subject may have an equal profile.
fn is_news(now: &Described, before: Option<&Described>) -> bool {
    before.is_none_or(|before| **before != **now)
}

impl Resolve for Service {
    fn endpoints(&self, path: &str, context: &str) -> Result<(Answers<Update>, BTreeMap<String, String>), Refused> {
        let (answers, slot) = self.listen_to_endpoints(path, context)?;
        let labels = BTreeMap::clone(&answers.borrow().labels);
        let tell = |now: &Endpoints, before: Option<&Endpoints>| {
            stream::iter(before.map_or_else(|| now.from_nothing(), |before| now.since(before)))
        };
        Ok((Listener::new((answers, slot), tell).flatten().boxed(), labels))
    }

    fn profile(&self, path: &str, context: &str) -> Result<Answers<Arc<Profile>>, Refused> {
        let tell = |now: &Described, before: Option<&Described>| is_news(now, before).then(|| Arc::new(Profile::clone(now)));
        Ok(Listener::new(self.listen_to_profile(path, context)?, tell).filter_map(async |profile| profile).boxed())
    }

    fn endpoint_messages(&self, path: &str, context: &str) -> Result<Answers<Bytes>, Refused> {
        Ok(Listener::new(self.listen_to_endpoints(path, context)?, Endpoints::messages).boxed())
    }

    fn profile_messages(&self, path: &str, context: &str) -> Result<Answers<Bytes>, Refused> {
        // Nothing to tell is no message; an empty profile is one with a head.
        let tell = |now: &Described, before: Option<&Described>| if is_news(now, before) { now.message() } else { Bytes::new() };
        Ok(Listener::new(self.listen_to_profile(path, context)?, tell).boxed())
    }
}
