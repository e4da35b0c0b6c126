//! The issuer and the trust anchors, as their files change.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use meshkit_core::Clock;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::{
    Observe, Service,
    issuer::{InvalidIssuer, Issuer},
    mounted::{Contents, Mounted},
};

/// How often the files are looked at. A kubelet takes up to two minutes to bring a change.
const INTERVAL: Duration = Duration::from_secs(1);

/// Files that cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unusable {
    /// They cannot be read.
    Unreadable(io::Error),
    /// What they say is no issuer.
    Invalid(InvalidIssuer),
}

/// Looks at the files, and judges what changed.
#[derive(Debug)]
pub struct Reloader {
    mounted: Mounted,
    /// What is used.
    used: Contents,
    /// What the last look read.
    read: Result<Contents, String>,
    /// What was last said of contents that are not used.
    skipped: Option<String>,
}

/// What a look found.
#[derive(Debug)]
enum Found {
    Nothing,
    Update { issuer: Box<Issuer>, is_new_issuer: bool, is_new_anchors: bool },
    Skipped(String),
}

impl Reloader {
    /// Reads the first issuer.
    ///
    /// # Errors
    /// There is none that can be used: nothing is begun with that.
    pub fn open(mounted: Mounted, now: SystemTime) -> Result<(Self, Issuer), Unusable> {
        let used = mounted.read().map_err(Unusable::Unreadable)?;
        let issuer = judge(&used, now).map_err(Unusable::Invalid)?;
        let read = Ok(used.clone());
        Ok((Self { mounted, used, read, skipped: None }, issuer))
    }

    /// The trust anchors in use, in PEM.
    #[must_use]
    pub fn anchors(&self) -> &str {
        &self.used.anchors
    }

    /// Gives every new issuer to the service, and all new trust anchors to `anchors`, for ever.
    ///
    /// # Cancel safety
    /// A drop ends it; nothing is lost.
    pub async fn follow<A>(
        mut self,
        service: Arc<Service<A>>,
        anchors: watch::Sender<Arc<str>>,
        observe: Arc<dyn Observe>,
        clock: Arc<dyn Clock>,
    ) {
        loop {
            sleep(INTERVAL).await;
            let mounted = self.mounted.clone();
            // It fails only if the runtime ends.
            let Ok(read) = tokio::task::spawn_blocking(move || mounted.read()).await else { return };
            match self.look(read.map_err(|error| error.to_string()), clock.now()) {
                Found::Nothing => {}
                Found::Update { issuer, is_new_issuer, is_new_anchors } => {
                    service.set_issuer(*issuer);
                    if is_new_issuer {
                        observe.issuer_updated();
                    }
                    if is_new_anchors {
                        info!("trust anchors updated");
                        anchors.send_replace(self.anchors().into());
                        observe.anchors_updated();
                    }
                }
                Found::Skipped(why) => {
                    warn!(why, "issuer update skipped");
                    observe.update_skipped(&why);
                }
            }
        }
    }

    /// Contents count once two looks have read the same: certificate, key and anchors come from different mounts and are not replaced in one step. Those
    /// that cannot be used are judged again at every look, for a clock may be behind, and told of once.
    fn look(&mut self, read: Result<Contents, String>, now: SystemTime) -> Found {
        let rests = self.read == read;
        self.read = read;
        let contents = match &self.read {
            _ if !rests => return Found::Nothing,
            Ok(contents) if *contents == self.used => {
                self.skipped = None;
                return Found::Nothing;
            }
            Ok(contents) => judge(contents, now).map(|issuer| (issuer, contents.clone())).map_err(|invalid| invalid.to_string()),
            Err(why) => Err(why.clone()),
        };
        match contents {
            Ok((issuer, contents)) => {
                let is_new_issuer = (&contents.certificates, &contents.key) != (&self.used.certificates, &self.used.key);
                let is_new_anchors = contents.anchors != self.used.anchors;
                (self.used, self.skipped) = (contents, None);
                Found::Update { issuer: Box::new(issuer), is_new_issuer, is_new_anchors }
            }
            Err(why) if self.skipped.as_ref() == Some(&why) => Found::Nothing,
            Err(why) => {
                self.skipped = Some(why.clone());
                Found::Skipped(why)
            }
        }
    }
}

fn judge(contents: &Contents, now: SystemTime) -> Result<Issuer, InvalidIssuer> {
    Issuer::from_pem(&contents.certificates, &contents.key, &contents.anchors, now)
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(_) => f.write_str("the issuer's files cannot be read"),
            Self::Invalid(_) => f.write_str("the issuer cannot be used"),
        }
    }
}

impl std::error::Error for Unusable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            Self::Invalid(invalid) => Some(invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;
    use crate::{authority::Authority, mounted::Scheme};

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn made() -> Authority {
        Authority::generate("linkerd", "cluster.local", now()).unwrap()
    }

    fn contents(issuer: &Authority, anchors: &str) -> Contents {
        Contents { certificates: issuer.issuer_pem().to_owned(), key: issuer.issuer_key_pem().to_owned(), anchors: anchors.to_owned() }
    }

    /// As the kubelet does: another folder, and then one step.
    fn mount(dir: &Path, generation: &str, files: &[(&str, &str)]) {
        let data = dir.join(generation);
        fs::create_dir_all(&data).unwrap();
        files.iter().for_each(|(name, text)| fs::write(data.join(name), text).unwrap());
        symlink(generation, dir.join("..new")).unwrap();
        fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
        for (name, _) in files {
            if !dir.join(name).exists() {
                symlink(Path::new("..data").join(name), dir.join(name)).unwrap();
            }
        }
    }

    #[test]
    fn secrets_of_both_formats_are_read_and_followed_through_swaps() {
        for (scheme, names) in [(Scheme::Linkerd, ["crt.pem", "key.pem"]), (Scheme::Kubernetes, ["tls.crt", "tls.key"])] {
            let dir = tempfile::tempdir().unwrap();
            let (first, second) = (made(), made());
            let anchors = dir.path().join("ca-bundle.crt");
            fs::write(&anchors, [first.anchors_pem(), second.anchors_pem()].concat()).unwrap();
            let issuer = dir.path().join("issuer");
            let put = |generation: &str, made: &Authority| {
                mount(&issuer, generation, &[(names[0], made.issuer_pem()), (names[1], made.issuer_key_pem())]);
            };
            put("..1", &first);
            let mounted = Mounted::new(&issuer, scheme, &anchors);
            let (mut reloader, _) = Reloader::open(mounted.clone(), now()).unwrap();
            let mut look = || reloader.look(mounted.read().map_err(|error| error.to_string()), now());
            assert!(matches!(look(), Found::Nothing));
            put("..2", &second);
            // It must rest first.
            assert!(matches!(look(), Found::Nothing));
            assert!(matches!(look(), Found::Update { is_new_issuer: true, is_new_anchors: false, .. }));
            assert!(matches!(look(), Found::Nothing));
            fs::remove_file(issuer.join("..data").join(names[1])).unwrap();
            look();
            let Found::Skipped(why) = look() else { panic!() };
            assert!(why.contains(names[1]), "{why}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_once_and_changes_nothing() {
        let (first, second) = (made(), made());
        let used = contents(&first, first.anchors_pem());
        let mounted = Mounted::new("/nowhere", Scheme::Linkerd, "/nowhere");
        assert!(matches!(Reloader::open(mounted.clone(), now()), Err(Unusable::Unreadable(_))));
        let mut reloader = Reloader { mounted, read: Ok(used.clone()), used: used.clone(), skipped: None };
        let untrusted = contents(&second, first.anchors_pem());
        assert!(matches!(reloader.look(Ok(untrusted.clone()), now()), Found::Nothing));
        let Found::Skipped(why) = reloader.look(Ok(untrusted.clone()), now()) else { panic!() };
        assert_eq!(why, InvalidIssuer::Untrusted.to_string());
        assert!(matches!(reloader.look(Ok(untrusted), now()), Found::Nothing));
        assert_eq!(reloader.used, used);
        // Anchors that do not vouch for the issuer in use are not used either.
        let stranded = contents(&first, second.anchors_pem());
        reloader.look(Ok(stranded.clone()), now());
        assert!(matches!(reloader.look(Ok(stranded), now()), Found::Nothing), "the same reason is told once");
        let both = contents(&first, &[first.anchors_pem(), second.anchors_pem()].concat());
        reloader.look(Ok(both.clone()), now());
        assert!(matches!(reloader.look(Ok(both.clone()), now()), Found::Update { is_new_issuer: false, is_new_anchors: true, .. }));
        assert_eq!(reloader.used, both);
    }

    #[test]
    fn an_issuer_that_is_not_valid_yet_is_used_once_it_is() {
        let first = made();
        let later = now() + Duration::from_secs(3600);
        let second = Authority::generate("linkerd", "cluster.local", later).unwrap();
        let used = contents(&first, first.anchors_pem());
        let mounted = Mounted::new("/nowhere", Scheme::Linkerd, "/nowhere");
        let mut reloader = Reloader { mounted, read: Ok(used.clone()), used, skipped: None };
        let new = contents(&second, second.anchors_pem());
        reloader.look(Ok(new.clone()), now());
        assert!(matches!(reloader.look(Ok(new.clone()), now()), Found::Skipped(_)));
        assert!(matches!(reloader.look(Ok(new), later), Found::Update { is_new_issuer: true, is_new_anchors: true, .. }));
    }
}
