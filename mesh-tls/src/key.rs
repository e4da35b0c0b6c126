//! A workload's key, and the request that asks for its certificate.

use std::{fmt, fs, io, io::Write as _, path::Path};

use meshkit_core::Identity;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// File names of a key and its request in an identity folder.
const KEY_FILE: &str = "key.p8";
const REQUEST_FILE: &str = "csr.der";

/// An ECDSA P-256 key. It does not show itself.
pub struct KeyPair(rcgen::KeyPair);

/// The key or the request cannot be made or read.
#[derive(Debug)]
pub struct InvalidKey(String);

/// What an identity folder holds: a key, and a request signed with it.
#[derive(Debug)]
pub struct Files {
    /// The key.
    pub key: KeyPair,
    /// PKCS#10, DER.
    pub signing_request: Vec<u8>,
}

impl KeyPair {
    /// Makes a new key.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, InvalidKey> {
        rcgen::KeyPair::generate().map(Self).map_err(InvalidKey::of)
    }

    /// Reads a PKCS#8 key, DER.
    ///
    /// # Errors
    /// The bytes are not an ECDSA P-256 key in PKCS#8.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from(der);
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(InvalidKey::of)
    }

    /// The key as PKCS#8, DER. Secret.
    #[must_use]
    pub fn to_pkcs8(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }

    /// A request for a certificate with exactly one name, PKCS#10, DER. A DNS-like name is the common name, too.
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn signing_request(&self, name: &Identity) -> Result<Vec<u8>, InvalidKey> {
        let mut params = CertificateParams::new(vec![]).map_err(InvalidKey::of)?;
        params.distinguished_name = DistinguishedName::new();
        let san = match name.as_dns() {
            Some(dns) => {
                // X.520 limits a common name to 64 characters, and some issuers insist.
                if dns.len() <= 64 {
                    params.distinguished_name.push(DnType::CommonName, dns);
                }
                SanType::DnsName(dns.try_into().map_err(InvalidKey::of)?)
            }
            None => SanType::URI(name.as_str().try_into().map_err(InvalidKey::of)?),
        };
        params.subject_alt_names.push(san);
        let request = params.serialize_request(&self.0).map_err(InvalidKey::of)?;
        Ok(request.der().to_vec())
    }
}

impl Files {
    /// Reads `key.p8` and `csr.der` of an identity folder, or makes them there if neither exists: mode 0600.
    ///
    /// # Errors
    /// The folder cannot be read or written, or what it holds is not a key.
    pub fn load_or_generate(dir: &Path, name: &Identity) -> io::Result<Self> {
        let (key_path, request_path) = (dir.join(KEY_FILE), dir.join(REQUEST_FILE));
        let named = |path: &Path, e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let invalid = |e: InvalidKey| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", dir.display()));
        if key_path.exists() || request_path.exists() {
            let key = fs::read(&key_path).map_err(|e| named(&key_path, e))?;
            let signing_request = fs::read(&request_path).map_err(|e| named(&request_path, e))?;
            return Ok(Self { key: KeyPair::from_pkcs8(&key).map_err(invalid)?, signing_request });
        }
        let key = KeyPair::generate().map_err(invalid)?;
        let signing_request = key.signing_request(name).map_err(invalid)?;
        write_private(&request_path, &signing_request).map_err(|e| named(&request_path, e))?;
        write_private(&key_path, key.to_pkcs8().secret_der()).map_err(|e| named(&key_path, e))?;
        Ok(Self { key, signing_request })
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

impl InvalidKey {
    fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(hidden)")
    }
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key or signing request cannot be used: {}", self.0)
    }
}

impl std::error::Error for InvalidKey {}
