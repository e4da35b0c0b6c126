//! Getting a certificate, and the next one in time.

use std::{path::PathBuf, sync::Arc, time::Duration};

use meshkit_core::Clock;
use meshkit_tls::{Credentials, Store, key::Files, renewal::Schedule, rustls};
use meshkit_wire::{
    Channel,
    identity::{CertifyRequest, Trust, certify},
};
use rustls::pki_types::CertificateDer;
use tracing::{debug, info, warn};

/// How often the log says that there is no certificate yet.
const PATIENCE: Duration = Duration::from_secs(15);

/// Keeps the credentials of a store fresh.
#[derive(Debug)]
pub struct Identity {
    /// Takes the credentials.
    pub store: Arc<Store>,
    /// The provider of the store.
    pub provider: Arc<rustls::crypto::CryptoProvider>,
    /// Key and signing request.
    pub files: Files,
    /// Read anew for every request: it is rotated.
    pub token_file: PathBuf,
    /// Whether the store's anchors are followed.
    pub trust: Trust,
    /// When to ask again.
    pub schedule: Schedule,
    /// Tells the date.
    pub clock: Arc<dyn Clock>,
    /// Hears of each attempt.
    pub metrics: crate::metrics::Certificates,
}

impl Identity {
    /// Runs until it is dropped. The first certificate opens the listeners; every later one replaces its predecessor for new handshakes.
    pub async fn run(self, channel: impl Fn() -> Result<Channel, String>) {
        let mut not_after = None;
        // What was given last, if nothing went wrong since.
        let mut chain = None;
        let mut warned = tokio::time::Instant::now();
        loop {
            let now = self.clock.now();
            let wait = match self.renew(channel(), &mut chain).await {
                Ok(until) => {
                    if not_after.is_none() {
                        info!(id = %self.store.snapshot().name(), "Certified identity");
                    }
                    self.metrics.refreshed(until, now);
                    not_after = Some(until);
                    self.schedule.wait(now, until)
                }
                Err(error) => {
                    self.metrics.failed();
                    match not_after.filter(|until| *until > now) {
                        Some(until) => {
                            warn!(%error, "the certificate could not be renewed; the old one stays in use");
                            self.schedule.wait(now, until)
                        }
                        None => {
                            debug!(%error, "no certificate");
                            if warned.elapsed() >= PATIENCE || not_after.is_some() {
                                warn!(%error, "Waiting for identity to be initialized...");
                                warned = tokio::time::Instant::now();
                            }
                            if not_after.is_some() { self.schedule.wait_without() } else { FIRST_RETRY.min(self.schedule.wait_without()) }
                        }
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.distrusted(chain.as_deref()) => info!("the certificate has no place under the new trust anchors: another is asked for"),
            }
        }
    }

    /// Waits for trust anchors that do not vouch for what was given. Peers that have them, too, refuse it.
    async fn distrusted(&self, chain: Option<&[CertificateDer<'static>]>) {
        let Some(chain) = chain else { return std::future::pending().await };
        let mut snapshots = self.store.subscribe();
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let (anchors, now) = (snapshot.anchors(), self.clock.now());
            if Credentials::new(&self.provider, anchors, snapshot.name(), chain.to_vec(), &self.files.key, now).is_err() {
                return;
            }
            // The store lives as long as this does.
            let _ = snapshots.changed().await;
        }
    }

    /// Puts a new certificate in its place, and leaves its chain in `given`.
    async fn renew(
        &self,
        channel: Result<Channel, String>,
        given: &mut Option<Vec<CertificateDer<'static>>>,
    ) -> Result<std::time::SystemTime, String> {
        *given = None;
        let token = tokio::fs::read(&self.token_file).await.map_err(|e| format!("token {}: {e}", self.token_file.display()))?;
        let snapshot = self.store.snapshot();
        let request =
            CertifyRequest { identity: snapshot.name().to_string(), token, csr: self.files.signing_request.clone(), trust: self.trust };
        let certified = certify(channel?, request).await.map_err(|e| e.to_string())?;
        let chain: Vec<_> = std::iter::once(certified.leaf).chain(certified.intermediates).map(CertificateDer::from).collect();
        let now = self.clock.now();
        let credentials = Credentials::new(&self.provider, snapshot.anchors(), snapshot.name(), chain.clone(), &self.files.key, now);
        let credentials = credentials.map_err(|e| e.to_string())?;
        let not_after = credentials.not_after();
        self.store.set_credentials(credentials);
        *given = Some(chain);
        Ok(not_after)
    }
}

/// Before there is a first certificate nothing can be served, so asking again does not wait for the whole minimum.
const FIRST_RETRY: Duration = Duration::from_millis(250);
