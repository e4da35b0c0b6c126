use std::{fmt, str::FromStr, sync::Arc};

use meshkit_core::Identity;

/// Whose requests are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peers {
    /// All of them, and those that nobody knows.
    #[default]
    Everybody,
    /// Those of these peers.
    Listed(Arc<[Peer]>),
}

/// One of the peers of a list. Written as an identity, as `*.` and the end of one, as `*`, or as `namespace/serviceaccount`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// Every workload that has proved who it is.
    Known,
    /// The workload with this identity.
    Identity(Identity),
    /// Workloads whose names end so, after at least one more label.
    Suffix(Suffix),
    /// Workloads of a service account, in whatever trust domain.
    ServiceAccount {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}

/// The end of DNS-like identities. A SPIFFE URI never matches one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Suffix(Identity);

/// A text names no peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPeer(String);

pub(crate) const WANTED: &str = "an identity, *.suffix, * or namespace/serviceaccount";

impl Peers {
    /// Is the peer meant? One that nobody knows is not on any list.
    #[must_use]
    pub fn contains(&self, peer: Option<&Identity>) -> bool {
        self.meant(|| peer)
    }

    /// Likewise, and asks for the peer only where there is a list.
    pub(crate) fn meant<'a>(&self, peer: impl FnOnce() -> Option<&'a Identity>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Listed(peers) => peer().is_some_and(|identity| peers.iter().any(|peer| peer.is(identity))),
        }
    }
}

impl Peer {
    /// Is it the one with this identity?
    #[must_use]
    pub fn is(&self, identity: &Identity) -> bool {
        match self {
            Self::Known => true,
            Self::Identity(known) => known == identity,
            Self::Suffix(suffix) => suffix.matches(identity),
            Self::ServiceAccount { namespace, name } => identity.as_dns().is_some_and(|dns| {
                let rest = dns.strip_prefix(&**name).and_then(|rest| rest.strip_prefix('.'));
                let rest = rest.and_then(|rest| rest.strip_prefix(&**namespace));
                rest.is_some_and(|rest| rest.starts_with(".serviceaccount.identity."))
            }),
        }
    }
}

impl Suffix {
    /// The end of names such as `a.suffix`; `None` if it is not a DNS-like name itself.
    #[must_use]
    pub fn new(suffix: &str) -> Option<Self> {
        suffix.parse().ok().filter(|suffix: &Identity| !suffix.is_uri()).map(Self)
    }

    /// Does a name end so?
    #[must_use]
    pub fn matches(&self, identity: &Identity) -> bool {
        let head = identity.as_dns().and_then(|name| name.strip_suffix(self.0.as_str()));
        head.is_some_and(|head| head.ends_with('.'))
    }
}

impl InvalidPeer {
    /// The text.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.0
    }
}

impl FromStr for Peer {
    type Err = InvalidPeer;

    fn from_str(text: &str) -> Result<Self, InvalidPeer> {
        let invalid = || InvalidPeer(text.chars().take(300).collect());
        if text == "*" {
            return Ok(Self::Known);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            return Suffix::new(suffix).map(Self::Suffix).ok_or_else(invalid);
        }
        match text.split_once('/') {
            Some((namespace, name)) if !text.contains("://") => {
                if !is_label(namespace) || !name.split('.').all(is_label) {
                    return Err(invalid());
                }
                Ok(Self::ServiceAccount { namespace: namespace.into(), name: name.into() })
            }
            _ => text.parse().map(Self::Identity).map_err(|_| invalid()),
        }
    }
}

fn is_label(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with('-') && !text.ends_with('-')
}

impl FromStr for Peers {
    type Err = InvalidPeer;

    /// Reads a comma list; there may be blanks around each item.
    fn from_str(list: &str) -> Result<Self, InvalidPeer> {
        list.split(',').map(|item| item.trim().parse()).collect::<Result<_, _>>().map(Self::Listed)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known => f.write_str("*"),
            Self::Identity(identity) => identity.fmt(f),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::ServiceAccount { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for InvalidPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {WANTED}", self.0)
    }
}

impl std::error::Error for InvalidPeer {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_meant(list: &str, identity: &str) -> bool {
        list.parse::<Peers>().unwrap().contains(Some(&identity.parse().unwrap()))
    }

    #[test]
    fn a_list_names_identities_and_service_accounts() {
        const LIST: &str = "emojivoto/web, spiffe://td/x";
        assert!(is_meant(LIST, "web.emojivoto.serviceaccount.identity.linkerd.cluster.local"));
        assert!(is_meant(LIST, "web.emojivoto.serviceaccount.identity.mesh.example.org"));
        assert!(is_meant(LIST, "spiffe://td/x"));
        assert!(!is_meant(LIST, "spiffe://td/x/y"));
        assert!(!is_meant(LIST, "web.emojivoto2.serviceaccount.identity.linkerd.cluster.local"));
        assert!(!is_meant(LIST, "xweb.emojivoto.serviceaccount.identity.linkerd.cluster.local"));
        assert!(!is_meant(LIST, "web.emojivoto.identity.linkerd.cluster.local"));
        assert!(!LIST.parse::<Peers>().unwrap().contains(None));
        assert!(Peers::Everybody.contains(None));
    }

    #[test]
    fn a_suffix_stands_for_whole_labels_before_it() {
        const LIST: &str = "*.Emojivoto.serviceaccount.identity.linkerd.cluster.local";
        assert!(is_meant(LIST, "web.emojivoto.serviceaccount.identity.linkerd.cluster.local"));
        assert!(is_meant(LIST, "a.b.emojivoto.serviceaccount.identity.linkerd.cluster.local"));
        assert!(!is_meant(LIST, "emojivoto.serviceaccount.identity.linkerd.cluster.local"));
        assert!(!is_meant(LIST, "web.notemojivoto.serviceaccount.identity.linkerd.cluster.local"));
        assert!(!is_meant("*.local", "spiffe://cluster.local"));
    }

    #[test]
    fn a_star_is_whoever_is_known() {
        assert!(is_meant("*", "web.ns") && is_meant("*", "spiffe://td/x"));
        assert!(!"*".parse::<Peers>().unwrap().contains(None));
    }

    #[test]
    fn malformed_peers_are_refused() {
        for bad in ["", "a/", "/a", "a/b/c", "A/b", "a/b.", "a b", "web,", "spiffe://TD", "*.", "*web", "web.*", "*.spiffe://td", "**"] {
            assert!(bad.parse::<Peers>().is_err(), "{bad:?}");
        }
        let error = "web.ns, a/b/c".parse::<Peers>().unwrap_err();
        assert_eq!(error.to_string(), r#""a/b/c" is not an identity, *.suffix, * or namespace/serviceaccount"#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "(\\*\\.)?[a-zA-Z0-9-]{1,9}([./][a-z0-9*-]{1,9}){0,3}|\\*|spiffe://[a-z]{1,5}(/[a-z]{1,5}){0,2}|.{0,20}") {
            if let Ok(peer) = text.parse::<Peer>() {
                prop_assert_eq!(peer.to_string().parse(), Ok(peer));
            }
        }
    }
}
