//! Trust anchors that outlive a restart of the container.

use std::{
    fmt, fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use meshkit_tls::{TrustAnchors, anchors::InvalidAnchors};
use tracing::{info, warn};

use super::{fingerprints, hex};

/// The name of the file, beside the workload's key and signing request.
pub const FILE: &str = "trust-anchors.pem";
/// More than the largest bundle has.
const MAX_LEN: u64 = 1 << 20;

const ENVIRONMENT: &str = "environment-sha256: ";
const GENERATION: &str = "generation: ";
const BUNDLE: &str = "bundle-sha256: ";

/// The newest trust anchors of the identity controller, in a file of the identity folder: mode 0600, replaced in one step.
///
/// The file says which anchors the environment had when it was written. At the next start it is newer than the environment if the environment still has
/// the same: then it holds what the controller has said since. If the environment has others, somebody has started the proxy with them on
/// purpose, and the file is of the past. It is of no account either if it is damaged or holds no anchor.
///
/// ```text
/// environment-sha256: <of the environment's anchors>
/// generation: <the controller's number, in milliseconds since 1970>
/// bundle-sha256: <of the anchors that follow>
/// -----BEGIN CERTIFICATE-----
/// ```
#[derive(Clone, Debug)]
pub struct Kept {
    path: PathBuf,
    /// Of the environment's anchors.
    environment: String,
    /// Of the anchors that a restart would begin with.
    next: String,
}

/// What a proxy begins with.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Beginning {
    /// Whom it trusts.
    pub anchors: TrustAnchors,
    /// How old they are; zero where nobody knows.
    pub generation: u64,
}

/// Why a file is of no account.
#[derive(Debug)]
enum Unusable {
    Unreadable(io::Error),
    /// It is not one of these files, or not all of one.
    Malformed(&'static str),
    /// It was written for other anchors of the environment.
    Past,
    Invalid(InvalidAnchors),
}

impl Beginning {
    /// With the anchors of the environment, whose age nobody knows.
    #[must_use]
    pub const fn environment(anchors: TrustAnchors) -> Self {
        Self { anchors, generation: 0 }
    }
}

impl Kept {
    /// Looks for a file in `dir`, and tells with what to begin.
    #[must_use]
    pub fn open(dir: &Path, environment: TrustAnchors) -> (Self, Beginning) {
        let (path, hash) = (dir.join(FILE), hash(&environment));
        let found = read(&path).and_then(|bytes| parse(&bytes, &hash));
        let beginning = match found {
            Ok(beginning) => {
                let fingerprints = fingerprints(&beginning.anchors);
                info!(file = %path.display(), generation = beginning.generation, ?fingerprints, "newer trust anchors than those of the environment");
                beginning
            }
            Err(why) => {
                match why {
                    Unusable::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Unusable::Past => info!(file = %path.display(), "{}", Unusable::Past),
                    why => warn!(file = %path.display(), %why, "kept trust anchors are passed over"),
                }
                info!(fingerprints = ?fingerprints(&environment), "trust anchors of the environment");
                Beginning::environment(environment)
            }
        };
        let next = self::hash(&beginning.anchors);
        (Self { path, environment: hash, next }, beginning)
    }

    /// Would a restart begin with these?
    #[must_use]
    pub fn has(&self, anchors: &TrustAnchors) -> bool {
        hash(anchors) == self.next
    }

    /// Begins with these after the next restart. Nothing is written if that would be so in any case.
    ///
    /// # Errors
    /// The file cannot be written, or these are no anchors. The one from before stays.
    pub fn keep(&mut self, pem: &str, generation: u64) -> io::Result<()> {
        let anchors = TrustAnchors::from_pem(pem).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let hash = hash(&anchors);
        if hash == self.next {
            return Ok(());
        }
        let text = format!("{ENVIRONMENT}{}\n{GENERATION}{generation}\n{BUNDLE}{hash}\n{pem}", self.environment);
        write(&self.path, text.as_bytes()).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.path.display())))?;
        self.next = hash;
        Ok(())
    }
}

/// One number for anchors in whatever order.
fn hash(anchors: &TrustAnchors) -> String {
    hex(fingerprints(anchors).into_iter().collect::<String>().as_bytes())
}

fn parse(bytes: &[u8], environment: &str) -> Result<Beginning, Unusable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unusable::Malformed("it is no text"))?;
    let mut lines = text.splitn(4, '\n');
    let mut field = |name| lines.next().and_then(|line| line.strip_prefix(name));
    let of = field(ENVIRONMENT).ok_or(Unusable::Malformed("it does not say for which environment it is"))?;
    let generation =
        field(GENERATION).and_then(|number| number.parse().ok()).ok_or(Unusable::Malformed("it does not say how old it is"))?;
    let whole = field(BUNDLE).ok_or(Unusable::Malformed("it has no hash of its own"))?;
    if of != environment {
        return Err(Unusable::Past);
    }
    let anchors = TrustAnchors::from_pem(lines.next().unwrap_or_default()).map_err(Unusable::Invalid)?;
    if hash(&anchors) != whole {
        return Err(Unusable::Malformed("its hash is of other anchors"));
    }
    Ok(Beginning { anchors, generation })
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(Unusable::Unreadable)?;
    file.take(MAX_LEN).read_to_end(&mut bytes).map_err(Unusable::Unreadable)?;
    Ok(bytes)
}

/// A reader sees the file from before or this one, and a crash leaves one of the two.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::Malformed(why) => f.write_str(why),
            Self::Past => f.write_str("the environment has other trust anchors than when the kept ones were written: it wins"),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;
    use crate::control::anchors::tests::pem;

    fn anchors(pem: &str) -> TrustAnchors {
        TrustAnchors::from_pem(pem).unwrap()
    }

    #[test]
    fn what_is_kept_is_preferred_while_the_environment_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (pem("old"), pem("new"));
        let both = format!("{old}{new}");
        let begin = |environment: &str| Kept::open(dir.path(), anchors(environment));
        let (mut kept, beginning) = begin(&old);
        assert_eq!(beginning, Beginning { anchors: anchors(&old), generation: 0 });
        kept.keep(&old, 3).unwrap();
        assert!(!dir.path().join(FILE).exists(), "nothing to be kept");
        kept.keep(&both, 7).unwrap();
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no half file is left");
        assert_eq!(begin(&old).1, Beginning { anchors: anchors(&both), generation: 7 });
        // The environment's in another order, or with a comment, is the same.
        assert_eq!(begin(&format!("\n# the same\n{old}")).1.generation, 7);
        assert_eq!(begin(&new).1, Beginning { anchors: anchors(&new), generation: 0 }, "the environment was changed and wins");
        // Back to the environment's own: the file must not bring the others back.
        let (mut kept, _) = begin(&old);
        kept.keep(&old, 9).unwrap();
        assert_eq!(begin(&old).1, Beginning { anchors: anchors(&old), generation: 9 });
    }

    #[test]
    fn a_file_without_anchors_or_with_others_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (pem("old"), pem("new"));
        let (mut kept, _) = Kept::open(dir.path(), anchors(&old));
        assert!(kept.keep("", 5).is_err() && kept.keep("nothing", 5).is_err());
        kept.keep(&format!("{old}{new}"), 5).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        let end = text.rfind("-----BEGIN").unwrap();
        for damaged in [&text[..end], &text[..end + 200], &text[..90], ""] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(Kept::open(dir.path(), anchors(&old)).1.anchors, anchors(&old), "{damaged}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(Kept::open(dir.path(), anchors(&old)).1.generation, 0);
        assert!(kept.keep(&new, 6).is_err(), "told, and no panic");
    }

    proptest! {
        #[test]
        fn no_bytes_in_the_file_lose_the_environments_anchors(
            noise in proptest::collection::vec(any::<u8>(), 0..300),
            has_head in any::<bool>(),
            cut in 0usize..1500,
            flip in proptest::option::of((0usize..1500, 0u8..8)),
        ) {
            let (old, new) = (pem("old"), pem("new"));
            let environment = anchors(&old);
            let own = hash(&environment);
            let good = format!("{ENVIRONMENT}{own}\n{GENERATION}7\n{BUNDLE}{}\n{new}", hash(&anchors(&new)));
            let mut bytes = if has_head { good.clone().into_bytes() } else { Vec::new() };
            bytes.truncate(cut);
            bytes.extend(noise);
            if let Some((at, bit)) = flip && let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            // Either the very anchors that were kept, or else the environment's.
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(FILE), &bytes).unwrap();
            let (_, beginning) = Kept::open(dir.path(), environment.clone());
            prop_assert!(beginning.anchors == environment || beginning.anchors == anchors(&new));
        }
    }
}
