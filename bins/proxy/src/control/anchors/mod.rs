//! Whom to trust, as the identity controller says.
//!
//! The proxy begins with the anchors of its environment, or with [newer ones that it kept](Kept), and follows those that the controller tells
//! beside the identity API. A bundle counts only if it came over a connection that was authenticated under the anchors in use: after each change
//! the controller is connected to anew. What it says then, under its own new anchors, is written down, so that a bundle that cuts the proxy off
//! from its controller does not outlive a restart.

mod kept;

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::StreamExt as _;
use meshkit_tls::{Store, TrustAnchors, anchors::InvalidAnchors};
use meshkit_wire::{
    Channel,
    client::Watches,
    extension::anchors::{Bundle, anchors},
};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

pub use self::kept::{Beginning, FILE, Kept};
use crate::metrics::TrustAnchorCounters;

/// When a controller that does not tell anchors is asked again: it may be a newer one by then.
const ABSENT: Duration = Duration::from_secs(600);
/// How long a replica of the controller may lag behind others: an older bundle that is still told after this is meant to be used. A kubelet takes up
/// to two minutes to bring a change to a replica, and clocks of machines may be apart.
const LAG: Duration = Duration::from_secs(300);

/// Keeps the trust anchors of a store as the identity controller has them.
#[derive(Debug)]
pub struct Anchors {
    /// Takes the anchors.
    pub store: Arc<Store>,
    /// The file that survives a restart.
    pub kept: Kept,
    /// The age of the anchors that the store has; zero where nobody knows.
    pub generation: u64,
    /// How watches come back.
    pub watches: Watches,
    /// Hears of what is refused.
    pub metrics: TrustAnchorCounters,
}

/// What becomes of a bundle.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// These are the anchors in use.
    Confirmed,
    Adopted(TrustAnchors),
    /// It is from before those in use.
    Older(TrustAnchors),
    Refused(InvalidAnchors),
}

/// Why following ended.
enum End {
    /// There are other anchors, under which the controller must prove itself.
    Changed,
    /// The controller does not tell.
    Absent,
}

impl Anchors {
    /// Runs until it is dropped. `channel` must open new connections each time, and only to a controller that proves its identity.
    pub async fn run(mut self, channel: impl Fn() -> Result<Channel, String>) {
        loop {
            let channel = match channel() {
                Ok(channel) => channel,
                Err(error) => {
                    warn!(%error, "trust anchors cannot be followed");
                    return;
                }
            };
            if let End::Absent = self.follow(channel).await {
                sleep(ABSENT).await;
            }
        }
    }

    async fn follow(&mut self, channel: Channel) -> End {
        let name = self.store.snapshot().name().to_string();
        let mut bundles = pin!(anchors(channel, &self.watches, &name));
        let mut older: Option<(Bundle, TrustAnchors, Instant)> = None;
        loop {
            let waits = older.as_ref().map(|(_, _, until)| *until);
            let item = tokio::select! {
                item = bundles.next() => item,
                () = sleep_until(waits.unwrap_or_else(Instant::now)), if waits.is_some() => {
                    let Some((bundle, anchors, _)) = older.take() else { continue };
                    info!(generation = bundle.generation, "the identity controller keeps to older trust anchors");
                    self.adopt(anchors, bundle.generation);
                    return End::Changed;
                }
            };
            let bundle = match item {
                Some(Ok(bundle)) => bundle,
                Some(Err(refused)) => {
                    debug!(error = %refused, "the identity controller tells no trust anchors");
                    return End::Absent;
                }
                None => return End::Absent,
            };
            match judge(self.store.snapshot().anchors(), self.generation, &bundle) {
                Verdict::Confirmed => {
                    older = None;
                    self.generation = bundle.generation;
                    self.keep(&bundle).await;
                }
                Verdict::Adopted(anchors) => {
                    self.adopt(anchors, bundle.generation);
                    return End::Changed;
                }
                Verdict::Older(anchors) => {
                    debug!(generation = bundle.generation, known = self.generation, "a replica of the identity controller lags behind");
                    let is_same = older.as_ref().is_some_and(|(known, ..)| *known == bundle);
                    older = older.filter(|_| is_same).or_else(|| Some((bundle, anchors, Instant::now() + LAG)));
                }
                Verdict::Refused(error) => {
                    older = None;
                    self.metrics.refused();
                    warn!(%error, generation = bundle.generation, "trust anchors are refused; those in use stay");
                }
            }
        }
    }

    fn adopt(&mut self, anchors: TrustAnchors, generation: u64) {
        let before = fingerprints(self.store.snapshot().anchors());
        let now = fingerprints(&anchors);
        let (added, removed): (Vec<_>, Vec<_>) = (now.difference(&before).collect(), before.difference(&now).collect());
        info!(generation, ?added, ?removed, "trust anchors changed");
        self.store.set_anchors(anchors);
        self.generation = generation;
    }

    async fn keep(&mut self, bundle: &Bundle) {
        if self.kept.has(self.store.snapshot().anchors()) {
            return;
        }
        let (mut kept, bundle) = (self.kept.clone(), bundle.clone());
        let written = tokio::task::spawn_blocking(move || kept.keep(&bundle.pem, bundle.generation).map(|()| kept)).await;
        match written {
            Ok(Ok(kept)) => self.kept = kept,
            Ok(Err(error)) => warn!(%error, "the trust anchors cannot be kept: a restart begins with those from before"),
            // It fails only if the runtime ends.
            Err(_) => {}
        }
    }
}

/// What becomes of a bundle, where these anchors are in use.
fn judge(used: &TrustAnchors, generation: u64, bundle: &Bundle) -> Verdict {
    match TrustAnchors::from_pem(&bundle.pem) {
        Err(error) => Verdict::Refused(error),
        Ok(anchors) if fingerprints(&anchors) == fingerprints(used) => Verdict::Confirmed,
        Ok(anchors) if bundle.generation <= generation => Verdict::Older(anchors),
        Ok(anchors) => Verdict::Adopted(anchors),
    }
}

/// SHA-256 of each anchor, in hexadecimal: the same for the same anchors in whatever order.
pub(crate) fn fingerprints(anchors: &TrustAnchors) -> BTreeSet<String> {
    anchors.certificates().iter().map(|der| hex(der)).collect()
}

/// SHA-256 in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
