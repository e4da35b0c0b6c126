//! Who a token belongs to.

use std::{fmt, io, path::Path};

use aws_lc_rs::{hmac, rand};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::authority::write_private;

/// Proves who asks for a certificate.
pub trait Authenticate: Send + Sync + 'static {
    /// The service account that the token was given to.
    ///
    /// # Errors
    /// The token is malformed, not valid, or cannot be checked now.
    fn authenticate(&self, token: &[u8]) -> impl Future<Output = Result<ServiceAccount, InvalidToken>> + Send;
}

/// A service account of a namespace. Both are DNS labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceAccount {
    namespace: String,
    name: String,
}

/// A token that proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidToken {
    /// It is not of the form of a token.
    Malformed,
    /// It was not issued here, or was changed.
    NotAuthenticated,
    /// It could not be checked.
    Unavailable(String),
}

impl ServiceAccount {
    /// Returns `None` unless both names are DNS labels.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Option<Self> {
        let label = |s: &str| {
            (1..=63).contains(&s.len())
                && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !s.starts_with('-')
                && !s.ends_with('-')
        };
        (label(namespace) && label(name)).then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identity of workloads that run as this account.
    #[must_use]
    pub fn identity(&self, control_plane: &str, trust_domain: &str) -> String {
        format!("{}.{}.serviceaccount.identity.{control_plane}.{trust_domain}", self.name, self.namespace)
    }
}

/// Tokens for the workloads of one machine: the account's name and a message authentication code over it.
///
/// A token says `<namespace>/<service account>` and is bound to it by HMAC-SHA-256 under a key that stays in the state folder. It has no
/// end of its own: whoever can read it can read the key file's folder, too, and the certificates it buys are short-lived.
#[derive(Clone)]
pub struct Tokens(hmac::Key);

impl Tokens {
    /// Reads the key of a folder, or makes one there.
    ///
    /// # Errors
    /// The key cannot be read, written or generated.
    pub fn load_or_generate(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; 32];
                rand::fill(&mut key).map_err(|_| io::Error::other("the system has no randomness to give"))?;
                let text = BASE64_URL_SAFE_NO_PAD.encode(key);
                write_private(path, &text)?;
                text
            }
            Err(e) => return Err(e),
        };
        let key = BASE64_URL_SAFE_NO_PAD.decode(text.trim()).ok().filter(|k| k.len() == 32);
        let key = key.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no token key", path.display())))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// A token for an account.
    #[must_use]
    pub fn issue(&self, account: &ServiceAccount) -> String {
        let claim = format!("{}/{}", account.namespace, account.name);
        let tag = hmac::sign(&self.0, claim.as_bytes());
        format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(&claim), BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    fn verify(&self, token: &[u8]) -> Result<ServiceAccount, InvalidToken> {
        let text = std::str::from_utf8(token).map_err(|_| InvalidToken::Malformed)?;
        let (claim, tag) = text.trim().split_once('.').ok_or(InvalidToken::Malformed)?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken::Malformed);
        let (claim, tag) = (decode(claim)?, decode(tag)?);
        hmac::verify(&self.0, &claim, &tag).map_err(|_| InvalidToken::NotAuthenticated)?;
        let claim = std::str::from_utf8(&claim).map_err(|_| InvalidToken::Malformed)?;
        let (namespace, name) = claim.split_once('/').ok_or(InvalidToken::Malformed)?;
        ServiceAccount::new(namespace, name).ok_or(InvalidToken::Malformed)
    }
}

impl Authenticate for Tokens {
    async fn authenticate(&self, token: &[u8]) -> Result<ServiceAccount, InvalidToken> {
        self.verify(token)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(hidden)")
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the token is malformed"),
            Self::NotAuthenticated => f.write_str("the token was not issued by this control plane"),
            Self::Unavailable(why) => write!(f, "the token cannot be checked now: {why}"),
        }
    }
}

impl std::error::Error for InvalidToken {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(dir: &Path) -> Tokens {
        Tokens::load_or_generate(&dir.join("token.key")).unwrap()
    }

    #[test]
    fn a_token_proves_its_account_to_whoever_has_the_key() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let web = ServiceAccount::new("emojivoto", "web").unwrap();
        let token = tokens(here.path()).issue(&web);
        assert_eq!(tokens(here.path()).verify(token.as_bytes()), Ok(web.clone()));
        assert_eq!(tokens(there.path()).verify(token.as_bytes()), Err(InvalidToken::NotAuthenticated));
        assert_eq!(web.identity("linkerd", "cluster.local"), "web.emojivoto.serviceaccount.identity.linkerd.cluster.local");
    }

    #[test]
    fn accounts_are_labels() {
        for (namespace, name) in [("", "web"), ("a", "b.c"), ("a/b", "c"), ("A", "b"), ("-a", "b")] {
            assert_eq!(ServiceAccount::new(namespace, name), None);
        }
    }

    proptest! {
        #[test]
        fn no_other_bytes_prove_anything(token in proptest::collection::vec(any::<u8>(), 0..100)) {
            let dir = tempfile::tempdir().unwrap();
            prop_assert!(tokens(dir.path()).verify(&token).is_err());
        }
    }
}
