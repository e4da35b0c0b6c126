//! A trust anchor and an issuer made on the spot, kept in a folder that only its owner can read.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// How long a generated trust anchor is valid.
const ANCHOR_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a generated issuer is valid.
const ISSUER_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
const SKEW: Duration = Duration::from_secs(60);

/// Trust anchor, issuer certificate and issuer key, in PEM. The anchor's own key is thrown away once the issuer is signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    anchors: String,
    issuer: String,
    issuer_key: String,
}

impl Authority {
    /// Makes an anchor named `identity.<namespace>.<trust domain>` and an issuer below it. ECDSA P-256.
    ///
    /// # Errors
    /// A name cannot stand in a certificate, or no key can be generated.
    pub fn generate(namespace: &str, trust_domain: &str, now: SystemTime) -> Result<Self, rcgen::Error> {
        let name = format!("identity.{namespace}.{trust_domain}");
        let ca = |name: &str, depth, validity: Duration| -> Result<_, rcgen::Error> {
            let mut params = CertificateParams::new(vec![])?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.not_before = (now - SKEW).into();
            params.not_after = (now + validity).into();
            Ok(params)
        };
        let root_key = KeyPair::generate()?;
        let root_params = ca(&format!("root.{name}"), 1, ANCHOR_VALIDITY)?;
        let root = root_params.self_signed(&root_key)?;
        let issuer_key = KeyPair::generate()?;
        let signer = rcgen::Issuer::new(root_params, root_key);
        let issuer = ca(&name, 0, ISSUER_VALIDITY)?.signed_by(&issuer_key, &signer)?;
        Ok(Self { anchors: root.pem(), issuer: issuer.pem(), issuer_key: issuer_key.serialize_pem() })
    }

    /// Reads the authority of a folder, or makes one there: a restarted control plane keeps its trust.
    ///
    /// # Errors
    /// The folder cannot be read or written, or holds only some of the files.
    pub fn load_or_generate(dir: &Path, namespace: &str, trust_domain: &str, now: SystemTime) -> io::Result<Self> {
        let files = Files::of(dir);
        if files.issuer_key.exists() {
            return Ok(Self { anchors: read(&files.anchors)?, issuer: read(&files.issuer)?, issuer_key: read(&files.issuer_key)? });
        }
        let made = Self::generate(namespace, trust_domain, now).map_err(io::Error::other)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        write_private(&files.anchors, &made.anchors)?;
        write_private(&files.issuer, &made.issuer)?;
        // The key is last: its presence says that the others are complete.
        write_private(&files.issuer_key, &made.issuer_key)?;
        Ok(made)
    }

    /// The trust anchors.
    #[must_use]
    pub fn anchors_pem(&self) -> &str {
        &self.anchors
    }

    /// The issuer's certificate.
    #[must_use]
    pub fn issuer_pem(&self) -> &str {
        &self.issuer
    }

    /// The issuer's key. Secret.
    #[must_use]
    pub fn issuer_key_pem(&self) -> &str {
        &self.issuer_key
    }
}

/// Where the parts lie in a folder. The names are those of the `linkerd-identity-issuer` secret and the trust roots' ConfigMap.
#[derive(Clone, Debug)]
pub struct Files {
    /// `ca-bundle.crt`
    pub anchors: PathBuf,
    /// `crt.pem`
    pub issuer: PathBuf,
    /// `key.pem`
    pub issuer_key: PathBuf,
}

impl Files {
    /// The files of a folder.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self { anchors: dir.join("ca-bundle.crt"), issuer: dir.join("crt.pem"), issuer_key: dir.join("key.pem") }
    }
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

/// Writes a file that only its owner can read, so that a reader never sees half of it.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(part, path)
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_keeps_its_authority_and_keeps_it_private() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("identity");
        let now = SystemTime::UNIX_EPOCH + ISSUER_VALIDITY * 50;
        let first = Authority::load_or_generate(&state, "linkerd", "cluster.local", now).unwrap();
        let again = Authority::load_or_generate(&state, "linkerd", "cluster.local", now).unwrap();
        assert_eq!(first, again);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&state.join("key.pem")), 0o600);
    }
}
