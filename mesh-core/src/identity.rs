use std::{fmt, str::FromStr, sync::Arc};

// The longest identity that is accepted, in bytes: a SPIFFE ID may be 2048 bytes long (SPIFFE-ID, section 2.3).
const MAX_LEN: usize = 2048;

/// Who a workload is: a DNS-like name or a SPIFFE URI, as found in a certificate's subject alternative names.
///
/// Two identities are equal only if they are the same kind and the same bytes. DNS-like names are lower-cased on
/// the way in; they have no trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Dns(Arc<str>),
    Uri(Arc<str>),
}

/// The text is neither a DNS name nor a SPIFFE URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidIdentity(String);

impl Identity {
    /// The identity as it stands in a certificate.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Dns(name) | Kind::Uri(name) => name,
        }
    }

    /// The name, if this is a DNS-like identity.
    #[must_use]
    pub fn as_dns(&self) -> Option<&str> {
        match &self.0 {
            Kind::Dns(name) => Some(name),
            Kind::Uri(_) => None,
        }
    }

    /// Is this a SPIFFE URI?
    #[must_use]
    pub const fn is_uri(&self) -> bool {
        matches!(self.0, Kind::Uri(_))
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    /// Accepts DNS names (letters, digits, `-`, `_`, labels of 1 to 63 bytes, 253 bytes in all, no trailing dot) and
    /// `spiffe://` URIs with a trust domain.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_spiffe(text) {
            return Ok(Self(Kind::Uri(text.into())));
        }
        if is_dns(text) {
            return Ok(Self(Kind::Dns(text.to_ascii_lowercase().into())));
        }
        Err(InvalidIdentity(text.chars().take(64).collect()))
    }
}

fn is_dns(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_spiffe(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return false;
    };
    let mut parts = rest.split('/');
    let domain = parts.next().unwrap_or_default();
    let domain_ok = (1..=255).contains(&domain.len())
        && domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_'));
    let segment =
        |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    text.len() <= MAX_LEN && domain_ok && parts.all(segment)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for InvalidIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an identity: expected a DNS name or a spiffe:// URI", self.0)
    }
}

impl std::error::Error for InvalidIdentity {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dns_names_and_spiffe_uris_are_identities() {
        let dns: Identity = "Web.emojivoto.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
        assert_eq!(dns.as_dns(), Some("web.emojivoto.serviceaccount.identity.linkerd.cluster.local"));
        let uri: Identity = "spiffe://root.linkerd.cluster.local/proxy-harness".parse().unwrap();
        assert!(uri.is_uri());
        assert_eq!(uri.as_dns(), None);
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            ".",
            "a..b",
            "a.",
            "-a.b",
            "a b",
            "spiffe://",
            "spiffe:///x",
            "spiffe://td//x",
            "spiffe://td/",
            "spiffe://TD/x",
            "http://a",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad:?}");
        }
        assert!(format!("a.{}", "b".repeat(64)).parse::<Identity>().is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_it_accepts_it_prints_back(text in ".{0,80}") {
            if let Ok(id) = text.parse::<Identity>() {
                prop_assert_eq!(id.to_string().parse::<Identity>(), Ok(id));
            }
        }
    }
}
