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

/// One of the peers of a list. Written as an identity, or as `namespace/serviceaccount`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// The workload with this identity.
    Identity(Identity),
    /// Workloads of a service account, in whatever trust domain.
    ServiceAccount {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}

/// A text is neither an identity nor a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPeer(String);

impl Peers {
    /// Is the peer meant? One that nobody knows is not on any list.
    #[must_use]
    pub fn contains(&self, peer: Option<&Identity>) -> bool {
        match (self, peer) {
            (Self::Everybody, _) => true,
            (Self::Listed(_), None) => false,
            (Self::Listed(peers), Some(identity)) => peers.iter().any(|peer| peer.is(identity)),
        }
    }
}

impl Peer {
    /// Is it the one with this identity?
    #[must_use]
    pub fn is(&self, identity: &Identity) -> bool {
        match self {
            Self::Identity(known) => known == identity,
            Self::ServiceAccount { namespace, name } => identity.as_dns().is_some_and(|dns| {
                let rest = dns.strip_prefix(&**name).and_then(|rest| rest.strip_prefix('.'));
                let rest = rest.and_then(|rest| rest.strip_prefix(&**namespace));
                rest.is_some_and(|rest| rest.starts_with(".serviceaccount.identity."))
            }),
        }
    }
}

impl FromStr for Peer {
    type Err = InvalidPeer;

    fn from_str(text: &str) -> Result<Self, InvalidPeer> {
        let invalid = || InvalidPeer(text.chars().take(300).collect());
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
            Self::Identity(identity) => identity.fmt(f),
            Self::ServiceAccount { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

impl fmt::Display for InvalidPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is neither an identity nor namespace/serviceaccount", self.0)
    }
}

impl std::error::Error for InvalidPeer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_identities_and_service_accounts() {
        let peers: Peers = "emojivoto/web, spiffe://td/x".parse().unwrap();
        let is_meant = |text: &str| peers.contains(Some(&text.parse().unwrap()));
        assert!(is_meant("web.emojivoto.serviceaccount.identity.linkerd.cluster.local"));
        assert!(is_meant("web.emojivoto.serviceaccount.identity.mesh.example.org"));
        assert!(is_meant("spiffe://td/x"));
        assert!(!is_meant("web.emojivoto2.serviceaccount.identity.linkerd.cluster.local"));
        assert!(!is_meant("xweb.emojivoto.serviceaccount.identity.linkerd.cluster.local"));
        assert!(!is_meant("web.emojivoto.identity.linkerd.cluster.local"));
        assert!(!peers.contains(None));
        assert!(Peers::Everybody.contains(None));
    }

    #[test]
    fn malformed_peers_are_refused() {
        for bad in ["", "a/", "/a", "a/b/c", "A/b", "a/b.", "a b", "web,", "spiffe://TD"] {
            assert!(bad.parse::<Peers>().is_err(), "{bad:?}");
        }
    }
}
