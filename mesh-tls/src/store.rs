use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use meshkit_core::{Clock, Identity, SystemClock, endpoint::ServerTls};
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::SingleCertAndKey,
    time_provider::TimeProvider,
    version::TLS13,
};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;

use crate::{Credentials, TrustAnchors, transport_header, verify::ExpectIdentity};

/// Trust anchors and credentials, swapped while connections live: a handshake takes the newest, an open connection keeps what it has.
#[derive(Debug)]
pub struct Store {
    snapshots: watch::Sender<Arc<Snapshot>>,
}

/// What handshakes use until the next swap.
pub struct Snapshot {
    provider: Arc<CryptoProvider>,
    date: Date,
    anchors: TrustAnchors,
    name: Identity,
    credentials: Option<Credentials>,
    server: OnceLock<Result<Servers, rustls::Error>>,
}

/// Tells rustls when it is.
#[derive(Clone, Debug)]
struct Date(Arc<dyn Clock>);

struct Servers {
    plain: Arc<ServerConfig>,
    tagged: Arc<ServerConfig>,
}

/// Does the connection begin with a transport header? It is negotiated by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // It does or it does not.
pub enum Tag {
    /// Bytes flow at once.
    Plain,
    /// A header comes first.
    Header,
}

impl Store {
    /// A store without credentials: servers refuse handshakes until there are some, clients shake hands without a certificate.
    ///
    /// # Errors
    /// The provider cannot do TLS 1.3.
    pub fn new(provider: Arc<CryptoProvider>, anchors: TrustAnchors, name: Identity) -> Result<Self, rustls::Error> {
        // Fails for every snapshot or for none.
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13])?;
        let date = Date(Arc::new(SystemClock));
        let snapshot = Snapshot { provider, date, anchors, name, credentials: None, server: OnceLock::new() };
        Ok(Self { snapshots: watch::Sender::new(Arc::new(snapshot)) })
    }

    /// Says who tells whether a certificate is valid now. By default the machine's clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.snapshots
            .send_modify(|s| *s = Arc::new(Snapshot { date: Date(clock), ..s.replaced(s.anchors.clone(), s.credentials.clone()) }));
        self
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Follows the snapshots.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Shakes hands with these credentials from now on.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.snapshots.send_modify(|s| *s = Arc::new(s.replaced(s.anchors.clone(), Some(credentials))));
    }

    /// Trusts these anchors from now on.
    pub fn set_anchors(&self, anchors: TrustAnchors) {
        self.snapshots.send_modify(|s| *s = Arc::new(s.replaced(anchors, s.credentials.clone())));
    }
}

impl Snapshot {
    fn replaced(&self, anchors: TrustAnchors, credentials: Option<Credentials>) -> Self {
        let (provider, date, name) = (Arc::clone(&self.provider), self.date.clone(), self.name.clone());
        Self { provider, date, anchors, name, credentials, server: OnceLock::new() }
    }

    /// Who this workload is.
    #[must_use]
    pub const fn name(&self) -> &Identity {
        &self.name
    }

    /// Whose signatures are believed.
    #[must_use]
    pub const fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// The credentials, once there are some.
    #[must_use]
    pub const fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// How to answer a handshake.
    ///
    /// # Errors
    /// There are no credentials yet.
    pub fn server(&self, tag: Tag) -> Result<Arc<ServerConfig>, rustls::Error> {
        match self.server.get_or_init(|| self.servers()) {
            Ok(servers) => Ok(Arc::clone(match tag {
                Tag::Plain => &servers.plain,
                Tag::Header => &servers.tagged,
            })),
            Err(error) => Err(error.clone()),
        }
    }

    fn servers(&self) -> Result<Servers, rustls::Error> {
        let Some(credentials) = &self.credentials else {
            return Err(rustls::Error::General("this workload has no certificate yet".to_owned()));
        };
        let clients = WebPkiClientVerifier::builder_with_provider(self.anchors.roots(), Arc::clone(&self.provider))
            .allow_unauthenticated()
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        let mut plain = ServerConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(self.date.clone()))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified())));
        plain.session_storage = Arc::new(NoServerSessionStorage {});
        plain.send_tls13_tickets = 0;
        let mut tagged = plain.clone();
        tagged.alpn_protocols = vec![transport_header::ALPN.to_vec()];
        Ok(Servers { plain: Arc::new(plain), tagged: Arc::new(tagged) })
    }

    /// How to begin a handshake with a server that must prove an identity. Made once per endpoint and snapshot, not per connection.
    ///
    /// # Errors
    /// The provider cannot do TLS 1.3, which [`Store::new`] has ruled out.
    pub fn client(&self, server: &ServerTls, tag: Tag) -> Result<Arc<ClientConfig>, rustls::Error> {
        let verifier =
            ExpectIdentity { roots: self.anchors.roots(), provider: Arc::clone(&self.provider), expected: server.identity.clone() };
        let builder = ClientConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(self.date.clone()))
            .with_protocol_versions(&[&TLS13])?
            // Dangerous is only what it would be not to check: this verifier checks the chain, and an identity instead of a host name.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.credentials {
            Some(credentials) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified()))),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        if tag == Tag::Header {
            config.alpn_protocols = vec![transport_header::ALPN.to_vec()];
        }
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("name", &self.name)
            .field("anchors", &self.anchors)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl TimeProvider for Date {
    fn current_time(&self) -> Option<UnixTime> {
        // A date before 1970 is no date at all: nothing is valid then.
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}
