//! An issuer and trust anchors in files that Kubernetes mounts and replaces.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
    time::SystemTime,
};

/// Where the issuer's Secret is mounted.
pub const ISSUER_DIR: &str = "/var/run/linkerd/identity/issuer";
/// The file of trust anchors, from the ConfigMap `linkerd-identity-trust-roots`.
pub const ANCHORS_FILE: &str = "/var/run/linkerd/identity/trust-roots/ca-bundle.crt";
/// A Secret or ConfigMap has at most 1 MiB.
const MAX_FILE_LEN: u64 = 1 << 20;

/// What the files of an issuer's Secret are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two that charts know.
pub enum Scheme {
    /// `linkerd.io/tls`: `crt.pem`, `key.pem`.
    Linkerd,
    /// `kubernetes.io/tls`: `tls.crt`, `tls.key`; and `ca.crt`, which nobody trusts because it came along.
    Kubernetes,
}

/// A text that names no scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScheme(String);

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    issuer: PathBuf,
    scheme: Scheme,
    anchors: PathBuf,
}

/// What was in the files, in PEM. Its `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// The issuer's certificate, and those above it.
    pub certificates: String,
    /// Its key.
    pub key: String,
    /// The trust anchors.
    pub anchors: String,
}

impl Mounted {
    /// The folder of the issuer's Secret, what its files are called, and the file of trust anchors.
    #[must_use]
    pub fn new(issuer: impl Into<PathBuf>, scheme: Scheme, anchors: impl Into<PathBuf>) -> Self {
        Self { issuer: issuer.into(), scheme, anchors: anchors.into() }
    }

    /// Reads the files as they are now.
    ///
    /// # Errors
    /// One of them cannot be read: it is named.
    pub fn read(&self) -> io::Result<Contents> {
        // The kubelet swaps `..data` for another folder. What one look reads is of one folder.
        let data = self.issuer.join("..data");
        let dir = fs::canonicalize(&data).unwrap_or_else(|_| self.issuer.clone());
        let (certificate, key) = match self.scheme {
            Scheme::Linkerd => ("crt.pem", "key.pem"),
            Scheme::Kubernetes => ("tls.crt", "tls.key"),
        };
        Ok(Contents { certificates: read(&dir.join(certificate))?, key: read(&dir.join(key))?, anchors: read(&self.anchors)? })
    }

    /// When the trust anchors were written, as their file system says, or now.
    #[must_use]
    pub fn anchors_written_at(&self, now: SystemTime) -> SystemTime {
        let written_at = fs::metadata(&self.anchors).and_then(|file| file.modified());
        written_at.map_or(now, |written_at| written_at.min(now))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display()));
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_FILE_LEN + 1).read_to_string(&mut text)).map_err(named)?;
    if read as u64 > MAX_FILE_LEN {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} has more than {MAX_FILE_LEN} bytes", path.display())));
    }
    Ok(text)
}

impl FromStr for Scheme {
    type Err = UnknownScheme;

    fn from_str(text: &str) -> Result<Self, UnknownScheme> {
        match text {
            "linkerd.io/tls" => Ok(Self::Linkerd),
            "kubernetes.io/tls" => Ok(Self::Kubernetes),
            _ => Err(UnknownScheme(text.to_owned())),
        }
    }
}

impl fmt::Display for UnknownScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no scheme of an issuer: it is linkerd.io/tls or kubernetes.io/tls", self.0)
    }
}

impl std::error::Error for UnknownScheme {}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").field("certificates", &self.certificates).field("anchors", &self.anchors).finish_non_exhaustive()
    }
}
