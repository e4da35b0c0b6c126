//! Certificates of an agent of SPIFFE, which hands them out over a Unix socket and says when there is a new one.

use std::{
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{StreamExt as _, pin_mut};
use http::{Request, Response, uri::Authority};
use meshkit_core::{Backoff, Cause, Clock, Dice, Error, Identity, endpoint};
use meshkit_http::{
    Body,
    client::{Connect, Connection},
};
use meshkit_tls::{
    Credentials, Store,
    rustls::{
        crypto::CryptoProvider,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};
use meshkit_wire::{
    Channel, spiffe,
    spiffe::{Svid, svids},
};
use tokio::net::UnixStream;
use tower::{Service, ServiceExt as _, service_fn};
use tracing::{info, warn};

/// Takes the credentials of a store from an agent.
#[derive(Debug)]
pub struct WorkloadApi {
    /// Takes the credentials.
    pub store: Arc<Store>,
    /// The provider of the store.
    pub provider: Arc<CryptoProvider>,
    /// Where the agent listens.
    pub socket: PathBuf,
    /// Waits between connections.
    pub backoff: Backoff,
    /// Jitter of the waits.
    pub dice: Dice,
    /// Tells the date.
    pub clock: Arc<dyn Clock>,
    /// Hears of each certificate.
    pub metrics: crate::metrics::Certificates,
}

impl WorkloadApi {
    /// Runs until it is dropped. The first certificate opens the listeners; every later one replaces its predecessor for new handshakes.
    pub async fn run(self) {
        let mut failures = 0;
        loop {
            let error = match self.follow(&mut failures).await {
                Ok(()) => "the agent ended the stream".to_owned(),
                Err(error) => error,
            };
            self.metrics.failed();
            warn!(socket = %self.socket.display(), %error, "no certificates come from the SPIFFE agent; what there is stays in use");
            tokio::time::sleep(self.backoff.delay(failures, &self.dice)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Takes certificates for as long as the agent sends them.
    async fn follow(&self, failures: &mut u32) -> Result<(), String> {
        let channel = self.connect().await.map_err(|e| e.to_string())?;
        let answers = svids(channel).await.map_err(|e| e.to_string())?;
        pin_mut!(answers);
        while let Some(answer) = answers.next().await {
            self.adopt(answer.map_err(|e| e.to_string())?)?;
            *failures = 0;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Channel, Error> {
        let socket = self.socket.clone();
        let open = service_fn(move |()| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map_err(|e| Error::new(Cause::Io).caused_by(e)) }
        });
        let connection = Connect::new(open, endpoint::Http2::default()).oneshot(()).await?;
        Ok(Channel::new(Agent(connection), Authority::from_static("localhost")))
    }

    /// Anchors are not taken from the agent: whom to trust is the mesh's to say.
    fn adopt(&self, svids: Vec<Svid>) -> Result<(), String> {
        let snapshot = self.store.snapshot();
        let found: Vec<_> = svids.iter().map(|svid| svid.id.clone()).collect();
        let of = |svid: &Svid| svid.id.parse::<Identity>().is_ok_and(|id| id == *snapshot.name());
        let svid = svids
            .into_iter()
            .find(of)
            .ok_or_else(|| format!("no matching SVID found: {} is wanted, and there is {found:?}", snapshot.name()))?;
        let chain = spiffe::certificates(&svid.chain).ok_or("the SVID is not a row of certificates")?;
        let chain = chain.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        let key = PrivatePkcs8KeyDer::from(svid.key).into();
        let now = self.clock.now();
        let credentials =
            Credentials::with_key(&self.provider, snapshot.anchors(), snapshot.name(), chain, key, now).map_err(|e| e.to_string())?;
        if snapshot.credentials().is_none() {
            info!(id = %snapshot.name(), "Certified identity");
        }
        self.metrics.refreshed(credentials.not_after(), now);
        self.store.set_credentials(credentials);
        Ok(())
    }
}

/// A connection to the agent.
#[derive(Clone)]
struct Agent(Connection);

impl Service<Request<tonic::body::Body>> for Agent {
    type Response = Response<Body>;
    type Error = Error;
    type Future = <Connection as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        self.0.call(request.map(Body::wrap))
    }
}
