//! Whose signatures are believed.

use std::{fmt, sync::Arc};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// More anchors than any rotation needs; each costs every handshake.
pub const MAX_ANCHORS: usize = 64;

/// A set of trusted CA certificates.
#[derive(Clone)]
pub struct TrustAnchors {
    roots: Arc<RootCertStore>,
    certificates: Arc<[CertificateDer<'static>]>,
}

/// The bundle cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidAnchors {
    /// The bundle holds no certificate.
    Empty,
    /// The bundle holds more than [`MAX_ANCHORS`].
    TooMany(usize),
    /// A certificate cannot be read; counted from 1.
    Malformed(usize, String),
}

impl TrustAnchors {
    /// Reads a PEM bundle.
    ///
    /// # Errors
    /// See [`InvalidAnchors`].
    pub fn from_pem(bundle: &str) -> Result<Self, InvalidAnchors> {
        let mut roots = RootCertStore::empty();
        let mut certificates = Vec::new();
        for (index, der) in CertificateDer::pem_slice_iter(bundle.as_bytes()).enumerate() {
            let malformed = |why: String| InvalidAnchors::Malformed(index + 1, why);
            let der = der.map_err(|e| malformed(format!("{e:?}")))?;
            roots.add(der.clone()).map_err(|e| malformed(e.to_string()))?;
            certificates.push(der);
        }
        match certificates.len() {
            0 => Err(InvalidAnchors::Empty),
            n if n > MAX_ANCHORS => Err(InvalidAnchors::TooMany(n)),
            _ => Ok(Self { roots: Arc::new(roots), certificates: certificates.into() }),
        }
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

impl PartialEq for TrustAnchors {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustAnchors({})", self.certificates.len())
    }
}

impl fmt::Display for InvalidAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the trust anchors hold no certificate"),
            Self::TooMany(n) => write!(f, "{n} trust anchors are more than the limit of {MAX_ANCHORS}"),
            Self::Malformed(n, why) => write!(f, "trust anchor {n} cannot be read: {why}"),
        }
    }
}

impl std::error::Error for InvalidAnchors {}
