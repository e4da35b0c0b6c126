use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use meshkit_tls::provider;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tracing::{info, warn};

/// `tls.crt` and `tls.key` of a folder, read again when they change.
#[derive(Clone, Debug)]
pub struct Certificates {
    dir: PathBuf,
    config: Arc<ServerConfig>,
    current: Arc<Current>,
}

/// The files hold no certificate and its key.
#[derive(Debug)]
pub struct InvalidCertificates {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What new connections are shown.
struct Current {
    provider: Arc<CryptoProvider>,
    pair: RwLock<Pair>,
}

/// Files and what was made of them.
#[derive(Clone)]
struct Pair {
    files: (Vec<u8>, Vec<u8>),
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// Reads them for the first time. TLS 1.3 and newer, HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    /// There is none that can be shown.
    pub async fn load(dir: impl Into<PathBuf>) -> Result<Self, InvalidCertificates> {
        let (dir, provider) = (dir.into(), Arc::new(provider()));
        let pair = read(&dir, &provider).await?;
        let current = Arc::new(Current { provider: Arc::clone(&provider), pair: RwLock::new(pair) });
        let invalid = |error: rustls::Error| InvalidCertificates { path: dir.clone(), source: error.into() };
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]).map_err(invalid)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { dir, config: Arc::new(config), current })
    }

    /// For new connections.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Looks at the files once. Has the certificate changed?
    ///
    /// # Errors
    /// What is there now cannot be shown; what was there before still is.
    pub async fn reload(&self) -> Result<bool, InvalidCertificates> {
        let pair = read(&self.dir, &self.current.provider).await?;
        let changed = self.current.pair().files != pair.files;
        if changed {
            *self.current.pair.write().unwrap_or_else(std::sync::PoisonError::into_inner) = pair;
        }
        Ok(changed)
    }

    /// Looks at the files again and again. Never ends.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn watch(&self, period: Duration) {
        let mut complained = false;
        loop {
            tokio::time::sleep(period).await;
            match self.reload().await {
                Ok(changed) => {
                    if changed {
                        info!(dir = %self.dir.display(), "certificate of the webhook renewed");
                    }
                    complained = false;
                }
                Err(error) if !complained => {
                    warn!(%error, source = %error.source, "certificate of the webhook cannot be renewed, the old one stays");
                    complained = true;
                }
                Err(_) => {}
            }
        }
    }
}

async fn read(dir: &Path, provider: &CryptoProvider) -> Result<Pair, InvalidCertificates> {
    let (chain_path, key_path) = (dir.join("tls.crt"), dir.join("tls.key"));
    let file = async |path: &Path| {
        let invalid = |error: std::io::Error| InvalidCertificates { path: path.to_owned(), source: error.into() };
        tokio::fs::read(path).await.map_err(invalid)
    };
    let files = (file(&chain_path).await?, file(&key_path).await?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&files.0).collect();
    let chain = chain.map_err(|error| InvalidCertificates { path: chain_path.clone(), source: error.into() })?;
    if chain.is_empty() {
        return Err(InvalidCertificates { path: chain_path, source: "there is no certificate in it".into() });
    }
    let key =
        PrivateKeyDer::from_pem_slice(&files.1).map_err(|error| InvalidCertificates { path: key_path.clone(), source: error.into() })?;
    // A key that is not the certificate's is seen here: the two files are not replaced in one moment.
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| InvalidCertificates { path: key_path, source: error.into() })?;
    Ok(Pair { files, key: Arc::new(key) })
}

impl Current {
    fn pair(&self) -> Pair {
        self.pair.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.pair.read().unwrap_or_else(std::sync::PoisonError::into_inner).key))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used", self.path.display())
    }
}

impl std::error::Error for InvalidCertificates {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
