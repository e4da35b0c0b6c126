//! Trust anchors as proxies are told of them, and which proxies cannot be told.

mod clients;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use meshkit_core::{Clock, Identity};
use meshkit_runtime::metrics::{Kind, Registry};
use meshkit_tls::TrustAnchors;
use meshkit_wire::{
    destination::Answers,
    extension::anchors::{Anchored, Bundle},
    identity::Trust,
};
use tokio::sync::watch;
use tracing::info;

use self::clients::Clients;
pub use self::clients::{Behind, CLIENTS_MAX};

/// Series of one family: identities of proxies that are behind.
const SERIES_MAX: usize = 100;

/// Tells proxies whose signatures are believed, and keeps a list of those that do not listen.
///
/// A proxy of ours listens, and says so whenever it asks for a certificate, so that every replica of the controller knows it. Others have their
/// anchors from their environment: when the anchors change, a proxy that was there before *is behind* until it is restarted. One that is first
/// seen after the change has the new anchors, if this controller saw them change; else nobody can tell, and it counts as behind. With several
/// replicas, a proxy is behind if one of them says so.
#[derive(Debug)]
pub struct Anchors {
    bundle: watch::Sender<Bundle>,
    clients: Arc<Mutex<Clients>>,
    clock: Arc<dyn Clock>,
}

/// What a client listens with. It counts for as long as it is there.
#[derive(Debug)]
struct Listening {
    clients: Arc<Mutex<Clients>>,
    identity: Arc<str>,
}

impl Anchors {
    /// Tells this bundle, which is as old as `written_at` says.
    #[must_use]
    pub fn new(pem: Arc<str>, written_at: SystemTime, clock: Arc<dyn Clock>) -> Self {
        let clients = Arc::new(Mutex::new(Clients::new(written_at)));
        Self { bundle: watch::Sender::new(Bundle { pem, generation: millis(written_at) }), clients, clock }
    }

    /// Tells another bundle from now on.
    pub fn replace(&self, pem: Arc<str>, written_at: SystemTime) {
        let is_news = self.bundle.send_if_modified(|bundle| {
            let is_news = bundle.pem != pem;
            if is_news {
                // A clock that was put back makes no bundle older than the one before.
                *bundle = Bundle { pem, generation: millis(written_at).max(bundle.generation + 1) };
            }
            is_news
        });
        if is_news {
            let bundle = self.bundle.borrow().clone();
            self.clients().changed(written_at.min(self.clock.now()));
            info!(generation = bundle.generation, fingerprints = ?fingerprints(&bundle.pem), "proxies are told of other trust anchors");
        }
    }

    /// Tells every bundle that comes, until none can come any more. `written_at` says when the present one was written.
    ///
    /// # Cancel safety
    /// A drop ends it; nothing is lost.
    pub async fn follow(self: Arc<Self>, mut bundles: watch::Receiver<Arc<str>>, written_at: impl Fn() -> SystemTime) {
        loop {
            let pem = Arc::clone(&bundles.borrow_and_update());
            self.replace(pem, written_at());
            if bundles.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes note of a certificate that was given out. `csr` tells the client from others of the same name: it keeps it for as long as it lives.
    pub fn certified(&self, identity: &Identity, csr: &[u8], trust: Trust, valid_until: SystemTime) {
        let key = digest(&SHA256, csr).as_ref().try_into().unwrap_or_default();
        self.clients().certified(key, identity.as_str(), trust, self.clock.now(), valid_until);
    }

    /// The proxies that do not know of the present anchors, by name.
    #[must_use]
    pub fn behind(&self) -> Behind {
        self.clients().behind(self.clock.now())
    }

    /// What there is to know, as JSON: for an admin server.
    #[must_use]
    pub fn page(&self) -> String {
        let (behind, bundle) = (self.behind(), self.bundle.borrow().clone());
        let since = Timestamp::try_from(behind.since).unwrap_or_default();
        serde_json::json!({
            "generation": bundle.generation,
            "fingerprints": fingerprints(&bundle.pem),
            "since": since.to_string(),
            "watching": behind.watching,
            "needRestart": behind.names,
            "notCounted": behind.overlooked,
        })
        .to_string()
    }

    /// Adds what can be measured to a registry.
    ///
    /// | family | labels | value |
    /// |---|---|---|
    /// | `identity_trust_anchors_watchers` | | streams on which proxies follow the trust anchors |
    /// | `identity_trust_anchors_behind` | `identity` (at most 100) | proxies that need a restart to know the present ones |
    pub fn register(self: &Arc<Self>, registry: &Registry) {
        let anchors = Arc::downgrade(self);
        registry.legacy().collect(move |out| {
            let Some(anchors) = anchors.upgrade() else { return };
            let behind = anchors.behind();
            let help = "Streams on which proxies follow the trust anchors.";
            out.family("identity_trust_anchors_watchers", help, Kind::Gauge, None, |out| out.integer(number(behind.watching)));
            let help = "Proxies that need a restart to know the present trust anchors.";
            out.family("identity_trust_anchors_behind", help, Kind::Gauge, None, |out| {
                for (identity, count) in behind.names.iter().take(SERIES_MAX) {
                    out.with(&[("identity", identity)], |out| out.integer(number(*count)));
                }
            });
        });
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        lock(&self.clients)
    }
}

impl Anchored for Anchors {
    fn anchors(&self, identity: &str) -> Answers<Bundle> {
        let identity = self.clients().listens(identity);
        let listening = Listening { clients: Arc::clone(&self.clients), identity };
        let mut bundles = self.bundle.subscribe();
        bundles.mark_changed();
        Box::pin(futures_util::stream::unfold((bundles, listening), |(mut bundles, listening)| async move {
            bundles.changed().await.ok()?;
            let bundle = bundles.borrow_and_update().clone();
            Some((bundle, (bundles, listening)))
        }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.clients).leaves(&self.identity);
    }
}

fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    // Nothing that may panic happens under the lock.
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn millis(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX / 2)
}

/// SHA-256 of each certificate, in hexadecimal.
fn fingerprints(pem: &str) -> Vec<String> {
    let anchors = TrustAnchors::from_pem(pem);
    let certificates = anchors.iter().flat_map(TrustAnchors::certificates);
    certificates.map(|der| digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()).collect()
}

#[cfg(test)]
mod tests;
