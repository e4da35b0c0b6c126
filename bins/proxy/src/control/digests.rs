//! Endpoints of which no update is lost for long.
//!
//! Every half minute the destination controller is asked for the digest of what it has told; if it differs from what was heard, and does so again
//! when everything under way has come, the target is subscribed to anew. A controller without digests is believed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use meshkit_balance::updates::{self, Check, Checked, checked};
use meshkit_core::{Update, grpc::Code};
use meshkit_wire::{
    Channel,
    client::{Watches, endpoints},
    extension::digests::digest,
};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::metrics::DigestCounters;

/// From one question to the next.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long a controller that has no digests is not asked again.
const ABSENT: Duration = Duration::from_secs(3600);

/// What the checks of all targets have in common.
#[derive(Clone, Debug)]
pub struct Digests {
    metrics: DigestCounters,
    /// The controller has none, and is not asked before this.
    absent_until: Arc<Mutex<Option<Instant>>>,
}

/// The endpoints of one name, as a client of the destination API sees them.
#[derive(Debug)]
pub(super) struct Endpoints {
    channel: Channel,
    watches: Watches,
    authority: String,
    context: Arc<str>,
    digests: Digests,
    /// What the controller said last.
    told: Arc<AtomicU64>,
    was_lost: bool,
}

impl Digests {
    /// Nothing is known of the controller yet.
    #[must_use]
    pub fn new(metrics: DigestCounters) -> Self {
        Self { metrics, absent_until: Arc::default() }
    }

    /// The endpoints of `authority`, checked.
    pub(super) fn endpoints(&self, channel: Channel, watches: Watches, authority: String, context: Arc<str>) -> Checked<Endpoints> {
        let (digests, told) = (self.clone(), Arc::default());
        checked(Endpoints { channel, watches, authority, context, digests, told, was_lost: false }, Check::default().interval(INTERVAL))
    }

    fn is_absent(&self) -> bool {
        let until = *self.absent_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn absent(&self) {
        *self.absent_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + ABSENT);
    }
}

impl updates::Discovery for Endpoints {
    type Updates = BoxStream<'static, Update>;
    type Digest = BoxFuture<'static, Option<u64>>;

    fn subscribe(&mut self) -> Self::Updates {
        let updates = endpoints(self.channel.clone(), &self.watches, self.authority.clone(), Arc::clone(&self.context));
        // A controller says nothing of a name that has no endpoints.
        let is_empty = self.was_lost && self.told.load(Ordering::Relaxed) == meshkit_balance::digest([]);
        self.was_lost = false;
        match is_empty {
            true => stream::iter([Update::Reset(Vec::new())]).chain(updates).boxed(),
            false => updates.boxed(),
        }
    }

    fn digest(&mut self) -> Self::Digest {
        if self.digests.is_absent() {
            return std::future::ready(None).boxed();
        }
        let (digests, told) = (self.digests.clone(), Arc::clone(&self.told));
        let answer = digest(self.channel.clone(), self.authority.clone(), Arc::clone(&self.context));
        async move {
            let digest = match answer.await {
                Ok(digest) => digest,
                // What is not there has no endpoints.
                Err(refused) if refused.code() == Code::NOT_FOUND => meshkit_balance::digest([]),
                Err(refused) => {
                    debug!(error = %refused, "no digest");
                    if refused.code() == Code::UNIMPLEMENTED {
                        digests.absent();
                    }
                    return None;
                }
            };
            digests.metrics.told();
            told.store(digest, Ordering::Relaxed);
            Some(digest)
        }
        .boxed()
    }

    fn lost(&mut self) {
        warn!(target = self.authority, "an update of discovery was lost: the target is subscribed to anew");
        self.digests.metrics.lost();
        self.was_lost = true;
    }
}

#[cfg(test)]
mod tests;
