use std::{fmt, sync::Arc, time::SystemTime};

use meshkit_core::Identity;
use rustls::{client::verify_server_cert_signed_by_trust_anchor, crypto::CryptoProvider, server::ParsedCertificate, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::{KeyPair, TrustAnchors, names};

/// A workload's certificate with its chain and key, checked to be usable.
#[derive(Clone)]
pub struct Credentials {
    certified: Arc<CertifiedKey>,
    not_after: SystemTime,
}

/// Why a certificate is not adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCredentials {
    /// It cannot be read.
    Malformed(String),
    /// It does not name the workload.
    Name {
        /// The workload.
        wanted: Identity,
        /// What the certificate names instead.
        found: Vec<Identity>,
    },
    /// No trust anchor vouches for it now: it is signed by another, or not valid at this time.
    Untrusted(String),
    /// Its key is another one.
    Key(String),
}

impl Credentials {
    /// Checks a leaf with its intermediates and key against the anchors and the workload's name at `now`.
    ///
    /// # Errors
    /// See [`InvalidCredentials`].
    pub fn new(
        provider: &CryptoProvider,
        anchors: &TrustAnchors,
        name: &Identity,
        chain: Vec<CertificateDer<'static>>,
        key: &KeyPair,
        now: SystemTime,
    ) -> Result<Self, InvalidCredentials> {
        Self::with_key(provider, anchors, name, chain, key.to_pkcs8(), now)
    }

    /// The same with a key of any kind that the provider can sign with.
    ///
    /// # Errors
    /// See [`InvalidCredentials`].
    pub fn with_key(
        provider: &CryptoProvider,
        anchors: &TrustAnchors,
        name: &Identity,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        now: SystemTime,
    ) -> Result<Self, InvalidCredentials> {
        let malformed = |why: &str| InvalidCredentials::Malformed(why.to_owned());
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| malformed("there is no certificate"))?;
        let not_after = names::validity(leaf).ok_or_else(|| malformed("the certificate is not X.509"))?.not_after;
        let found = names::identities(leaf);
        if !found.contains(name) {
            return Err(InvalidCredentials::Name { wanted: name.clone(), found });
        }
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let parsed = ParsedCertificate::try_from(leaf).map_err(|e| InvalidCredentials::Malformed(e.to_string()))?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &anchors.roots(),
            intermediates,
            UnixTime::since_unix_epoch(since_epoch),
            provider.signature_verification_algorithms.all,
        )
        .map_err(|e| InvalidCredentials::Untrusted(e.to_string()))?;
        let wrong_key = |e: rustls::Error| InvalidCredentials::Key(e.to_string());
        let signer = provider.key_provider.load_private_key(key).map_err(wrong_key)?;
        let certified = CertifiedKey::new(chain, signer);
        certified.keys_match().map_err(wrong_key)?;
        Ok(Self { certified: Arc::new(certified), not_after })
    }

    /// The certificate's end.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "the certificate cannot be read: {why}"),
            Self::Name { wanted, found } => {
                let found: Vec<_> = found.iter().map(Identity::as_str).collect();
                write!(f, "the certificate names {:?}, not {wanted}", found)
            }
            Self::Untrusted(why) => write!(f, "the certificate is not vouched for by a trust anchor: {why}"),
            Self::Key(why) => write!(f, "the certificate's key is another one: {why}"),
        }
    }
}

impl std::error::Error for InvalidCredentials {}
