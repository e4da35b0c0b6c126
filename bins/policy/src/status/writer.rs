use std::{
    collections::HashMap,
    future::pending,
    mem,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use meshkit_core::{Backoff, Clock, Dice, SystemClock};
use meshkit_kube::{Client, Failure, Held, Resource};
use meshkit_manifest::{Cluster, Key, Kind};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::{
    Candidate, Metrics,
    pending::{Next, Outcome, Pending, Write},
};
use crate::{
    index::Index,
    model::Model,
    view::{Changes, View},
};

/// The field manager of what is written.
pub(super) const MANAGER: &str = "policy-controller";
/// So many writes wait; further ones are found again at the next look.
const QUEUE_MAX: usize = 10_000;
/// So many writes are under way at once.
const IN_FLIGHT_MAX: usize = 8;
/// How long a write may take.
const PATCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Everything is looked at so often, whether something has changed or not.
const RECONCILE: Duration = Duration::from_secs(10);
/// So long after a change everything is looked at: what changes together is written together.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// A look costs at most this part of the time.
const LOOK_SHARE: u32 = 10;

/// Writes statuses to the API server, while it holds the lease.
///
/// It follows the snapshots of an [`Index`], and looks at everything shortly after a change and every ten seconds. Each write is a merge
/// patch of `/status` that names the version of the object: if somebody else has written since, it is refused, and the next snapshot says what is
/// still to be written. What the server refuses is tried again every 30 s, or when the object changes; while the server is in trouble nothing is
/// sent for a time that doubles up to 30 s. Without the lease it neither looks nor writes.
#[derive(Debug)]
pub struct Writer {
    client: Client,
    candidate: Candidate,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    patch_timeout: Duration,
    reconcile: Duration,
    /// Where the server has each kind.
    resources: Mutex<HashMap<Kind, Resource>>,
}

/// What became of a patch that was sent.
struct Ended {
    key: Key,
    write: Write,
    took: Duration,
    result: Result<(), Failure>,
}

impl Writer {
    /// A writer in the name of a replica.
    #[must_use]
    pub fn new(client: Client, candidate: Candidate, metrics: Metrics) -> Self {
        Self {
            client,
            candidate,
            metrics,
            clock: Arc::new(SystemClock),
            patch_timeout: PATCH_TIMEOUT,
            reconcile: RECONCILE,
            resources: Mutex::default(),
        }
    }

    /// Where the dates in conditions come from. Default: the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How long a write may take. Default 5 s; it is never longer than the grace of the lease, so that no write outlives it.
    #[must_use]
    pub const fn patch_timeout(mut self, limit: Duration) -> Self {
        self.patch_timeout = limit;
        self
    }

    /// How often everything is looked at, whether something has changed or not. Default 10 s.
    #[must_use]
    pub const fn reconcile(mut self, period: Duration) -> Self {
        self.reconcile = period;
        self
    }

    /// Wants the lease, and writes while it has it, until `shutdown` is done or the snapshots have ended. Then it stops writing and gives the
    /// lease back.
    ///
    /// # Cancel safety
    /// A drop does not give the lease back: the next holder has to wait for its end. Statuses are never half written.
    pub async fn run(self, index: Index, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let lease = select! {
            lease = self.candidate.lease(&self.client) => lease,
            () = &mut shutdown => return,
        };
        let (told, held) = watch::channel(Held::default());
        let client = self.client.clone();
        // The lease ends when the writing has ended: nobody listens any more.
        let hold = lease.hold(client, Arc::clone(&self.clock), told, pending());
        let write = async {
            select! {
                () = self.write(&index, held) => {}
                () = shutdown => {}
            }
        };
        tokio::join!(hold, write);
    }

    /// Writes while the lease is held. `held` is dropped at the end, and with it all that is under way.
    async fn write(&self, index: &Index, mut held: watch::Receiver<Held>) {
        let client = self.client.clone().timeout(self.patch_timeout.min(self.candidate.grace()));
        let (mut cluster, mut view) = (index.cluster(), View::default());
        let mut pending = Pending::new(QUEUE_MAX, backoff(), Dice::new(seed(&*self.clock)));
        let mut under_way = FuturesUnordered::new();
        // When all is looked at next, and whether that is so if nothing of interest has changed.
        let (mut look_at, mut full_at, mut not_before) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            if !held.borrow().is_held(Instant::now()) {
                under_way.clear();
                let dropped = pending.clear();
                if dropped > 0 {
                    warn!(dropped, "the lease is lost: statuses are somebody else's to write");
                    self.metrics.drops.add(dropped);
                }
                if held.wait_for(|held| held.is_held(Instant::now())).await.is_err() {
                    return;
                }
                full_at = Instant::now();
                look_at = full_at;
            }
            let now = Instant::now();
            if now >= look_at {
                let newest = Arc::clone(&cluster.borrow_and_update());
                let changes = Changes::between(view.cluster(), &newest);
                if !changes.spare_policies() || now >= full_at {
                    view = View::new(newest);
                    self.look(&view, index, &mut pending);
                    full_at = now + self.reconcile;
                } else {
                    view = mem::take(&mut view).over(newest);
                }
                look_at = full_at;
                not_before = now + now.elapsed() * LOOK_SHARE;
            }
            let mut wake_at = look_at;
            while under_way.len() < IN_FLIGHT_MAX {
                let now = Instant::now();
                // Asked before every write: the lease may have ended since.
                if !held.borrow().is_held(now) {
                    break;
                }
                match pending.next(now) {
                    Next::Write(key, write) => {
                        self.metrics.dequeues.incr();
                        under_way.push(self.patch(&client, key, write));
                    }
                    Next::Wait(at) => {
                        wake_at = at.map_or(wake_at, |at| at.min(wake_at));
                        break;
                    }
                }
            }
            select! {
                biased;
                changed = held.changed() => if changed.is_err() { return },
                Some(ended) = under_way.next() => self.ended(&mut pending, &ended),
                changed = cluster.changed() => {
                    if changed.is_err() {
                        info!("there are no further snapshots: statuses are not written any more");
                        return;
                    }
                    look_at = look_at.min(not_before.max(Instant::now() + DEBOUNCE));
                }
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Works out what is to be written.
    fn look(&self, view: &View, index: &Index, pending: &mut Pending) {
        let (mesh, settings) = index.rules();
        let changes = Model::new(view, mesh, settings).status_changes(&date(&*self.clock));
        let queued = pending.replace(changes, |key| version(view.cluster(), key));
        self.metrics.enqueues.add(queued.added);
        if queued.overflowed > 0 {
            warn!(overflowed = queued.overflowed, max = QUEUE_MAX, "more statuses are to be written than can wait");
            self.metrics.overflows.add(queued.overflowed);
        }
    }

    async fn patch(&self, client: &Client, key: Key, write: Write) -> Ended {
        let started = Instant::now();
        let result = self.send(client, &key, &write).await;
        Ended { key, write, took: started.elapsed(), result }
    }

    async fn send(&self, client: &Client, key: &Key, write: &Write) -> Result<(), Failure> {
        let known = self.resources().get(&key.kind).cloned();
        let resource = match known {
            Some(resource) => resource,
            None => {
                // Without the kind there is no such object: the patch says so.
                let resource = client.resource(key.kind).await?.unwrap_or_else(|| Resource::from(key.kind));
                self.resources().insert(key.kind, resource.clone());
                resource
            }
        };
        client.merge_status(&resource, &key.namespace, &key.name, &write.patch(), MANAGER).await.map(drop)
    }

    fn ended(&self, pending: &mut Pending, ended: &Ended) {
        let Ended { key, write, took, result } = ended;
        self.metrics.duration.record_secs(*took);
        let outcome = outcome(result);
        let is_news = pending.ended(key, write, outcome, Instant::now());
        match result {
            Ok(()) => {
                self.metrics.patches.incr();
                debug!(object = %key, "status written");
            }
            Err(error) => {
                match error {
                    Failure::Elapsed(_) => self.metrics.timeouts.incr(),
                    _ => self.metrics.api_errors.incr(),
                }
                if error.is_absent() {
                    // The object is gone, or the server has another version of its kind now.
                    self.resources().remove(&key.kind);
                }
                if is_news {
                    warn!(object = %key, %error, "status not written; it is tried again");
                } else {
                    debug!(object = %key, %error, "status not written");
                }
            }
        }
    }

    fn resources(&self) -> std::sync::MutexGuard<'_, HashMap<Kind, Resource>> {
        // What is in it is right, whoever has panicked.
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcome(result: &Result<(), Failure>) -> Outcome {
    match result {
        Ok(()) => Outcome::Written,
        Err(failure) if failure.is_absent() || failure.is_conflict() => Outcome::Superseded,
        Err(failure) => match failure.code() {
            Some(400..=407 | 410..=428 | 430..=499) => Outcome::Refused,
            _ => Outcome::Trouble(failure.retry_after()),
        },
    }
}

fn version<'a>(cluster: &'a Cluster, key: &Key) -> Option<&'a str> {
    cluster.get(key.kind, &key.namespace, &key.name)?.metadata().resource_version.as_deref()
}

/// The date as RFC 3339 has it. A date that no calendar has becomes the epoch.
fn date(clock: &dyn Clock) -> String {
    format!("{:.0}", Timestamp::try_from(clock.now()).unwrap_or_default())
}

/// Replicas that were started at different times do not come back at once.
fn seed(clock: &dyn Clock) -> u64 {
    Timestamp::try_from(clock.now()).map_or(0, |now| now.as_microsecond().unsigned_abs())
}

fn backoff() -> Backoff {
    let (min, max) = (Duration::from_millis(200), Duration::from_secs(30));
    Backoff::new(min, max, 0.5).expect("200 ms are less than 30 s, and 0.5 is a ratio")
}
