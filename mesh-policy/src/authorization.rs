//! Who may call: by network, by TLS, by identity.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

use meshkit_core::Identity;

use crate::{Meta, net::Network};

/// Permits some clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Where they come from: one of these.
    pub networks: Vec<Network>,
    /// How they prove who they are.
    pub authentication: Authentication,
    /// The object that permits them.
    pub meta: Meta,
}

/// What a client must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The three of the API.
pub enum Authentication {
    /// Nothing.
    Unauthenticated,
    /// That it speaks mutual TLS, even without a certificate of its own.
    TlsUnauthenticated,
    /// That it is one of these.
    TlsAuthenticated {
        /// Names that match exactly.
        identities: BTreeSet<Identity>,
        /// Ends of names that match.
        suffixes: Vec<Suffix>,
    },
}

/// The end of DNS-like names. A SPIFFE URI never matches one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suffix(String);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub ip: IpAddr,
    /// What its connection proved.
    pub tls: TlsState,
}

/// What a connection proved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // What a handshake can end in.
pub enum TlsState {
    /// It is not TLS, or TLS was not looked for.
    NoTls,
    /// It is TLS for somebody else.
    Passthrough {
        /// The name that was asked for.
        sni: Arc<str>,
    },
    /// This proxy ended the TLS.
    Terminated {
        /// Who the client proved to be, if it presented a certificate.
        client_id: Option<Identity>,
    },
}

/// Why an authorization does not apply, in the order in which it is looked at: a later one is nearer to a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_enums)] // One for each thing that is looked at.
pub enum Mismatch {
    /// The client's address is in none of the networks.
    Network,
    /// The connection is not mutual TLS.
    NotTls,
    /// The client presented no certificate.
    NoIdentity,
    /// The client's identity is not listed.
    Identity,
}

impl Suffix {
    /// The suffix of the labels `["foo", "bar"]` matches `*.foo.bar`; of none at all, every DNS-like name.
    #[must_use]
    pub fn of_labels<S: AsRef<str>>(labels: &[S]) -> Self {
        // Identities are lower case, too.
        let labels: Vec<_> = labels.iter().map(|label| label.as_ref().to_ascii_lowercase()).collect();
        Self(if labels.is_empty() { String::new() } else { format!(".{}", labels.join(".")) })
    }

    /// The labels.
    #[must_use]
    pub fn labels(&self) -> Vec<&str> {
        self.0.split('.').filter(|label| !label.is_empty()).collect()
    }

    /// Does a name end so?
    #[must_use]
    pub fn matches(&self, identity: &Identity) -> bool {
        identity.as_dns().is_some_and(|name| name.ends_with(&self.0))
    }
}

impl Authorization {
    /// Permits everybody, from everywhere, until it is narrowed.
    #[must_use]
    pub fn new(meta: Meta) -> Self {
        Self { networks: Network::all(), authentication: Authentication::Unauthenticated, meta }
    }

    /// Only from these networks.
    #[must_use]
    pub fn networks(mut self, networks: impl IntoIterator<Item = impl Into<Network>>) -> Self {
        self.networks = networks.into_iter().map(Into::into).collect();
        self
    }

    /// Only over mutual TLS, even without a certificate of the client's own.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.authentication = Authentication::TlsUnauthenticated;
        self
    }

    /// Only these identities, besides those of [`Authorization::suffixes`].
    #[must_use]
    pub fn identities(mut self, identities: impl IntoIterator<Item = Identity>) -> Self {
        self.authentication = match self.authentication {
            Authentication::TlsAuthenticated { suffixes, .. } => {
                Authentication::TlsAuthenticated { identities: identities.into_iter().collect(), suffixes }
            }
            _ => Authentication::TlsAuthenticated { identities: identities.into_iter().collect(), suffixes: Vec::new() },
        };
        self
    }

    /// Only identities with one of these ends, besides those of [`Authorization::identities`].
    #[must_use]
    pub fn suffixes(mut self, suffixes: impl IntoIterator<Item = Suffix>) -> Self {
        let suffixes = suffixes.into_iter().collect();
        self.authentication = match self.authentication {
            Authentication::TlsAuthenticated { identities, .. } => Authentication::TlsAuthenticated { identities, suffixes },
            _ => Authentication::TlsAuthenticated { identities: BTreeSet::new(), suffixes },
        };
        self
    }

    /// Only clients with an identity, whichever it is. A SPIFFE URI is none here.
    #[must_use]
    pub fn any_identity(self) -> Self {
        self.identities([]).suffixes([Suffix::of_labels::<&str>(&[])])
    }

    /// Does it apply to the client?
    ///
    /// # Errors
    /// It does not; the error says what came closest to a match.
    pub fn check(&self, client: &Client) -> Result<(), Mismatch> {
        if !self.networks.iter().any(|network| network.contains(client.ip)) {
            return Err(Mismatch::Network);
        }
        let terminated = match &client.tls {
            TlsState::Terminated { client_id } => Some(client_id.as_ref()),
            TlsState::NoTls | TlsState::Passthrough { .. } => None,
        };
        match (&self.authentication, terminated) {
            (Authentication::Unauthenticated, _) | (Authentication::TlsUnauthenticated, Some(_)) => Ok(()),
            (_, None) => Err(Mismatch::NotTls),
            (Authentication::TlsAuthenticated { .. }, Some(None)) => Err(Mismatch::NoIdentity),
            (Authentication::TlsAuthenticated { identities, suffixes }, Some(Some(id))) => {
                let known = identities.contains(id) || suffixes.iter().any(|suffix| suffix.matches(id));
                if known { Ok(()) } else { Err(Mismatch::Identity) }
            }
        }
    }
}

impl TlsState {
    /// Who the client proved to be.
    #[must_use]
    pub const fn client_id(&self) -> Option<&Identity> {
        match self {
            Self::Terminated { client_id } => client_id.as_ref(),
            Self::NoTls | Self::Passthrough { .. } => None,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "the client's address is in none of its networks",
            Self::NotTls => "the connection is not mutual TLS",
            Self::NoIdentity => "the client presented no certificate",
            Self::Identity => "the client's identity is not listed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(ip: [u8; 4], tls: TlsState) -> Client {
        Client { ip: ip.into(), tls }
    }

    fn meshed(id: &str) -> TlsState {
        TlsState::Terminated { client_id: Some(id.parse().unwrap()) }
    }

    fn authorization(authentication: Authentication) -> Authorization {
        let network = Network { net: "10.0.0.0/8".parse().unwrap(), except: vec!["10.9.0.0/16".parse().unwrap()] };
        Authorization { networks: vec![network], authentication, meta: Meta::builtin("test") }
    }

    #[test]
    fn the_network_is_looked_at_first() {
        let anyone = authorization(Authentication::Unauthenticated);
        assert_eq!(anyone.check(&client([10, 1, 2, 3], TlsState::NoTls)), Ok(()));
        assert_eq!(anyone.check(&client([10, 9, 2, 3], TlsState::NoTls)), Err(Mismatch::Network));
        assert_eq!(anyone.check(&client([192, 168, 0, 1], meshed("a.b"))), Err(Mismatch::Network));
    }

    #[test]
    fn tls_must_end_here_and_a_certificate_is_asked_for_only_where_identities_are() {
        let tls = authorization(Authentication::TlsUnauthenticated);
        let anonymous = TlsState::Terminated { client_id: None };
        let foreign = TlsState::Passthrough { sni: "other".into() };
        assert_eq!(tls.check(&client([10, 0, 0, 1], anonymous.clone())), Ok(()));
        assert_eq!(tls.check(&client([10, 0, 0, 1], foreign)), Err(Mismatch::NotTls));
        let known = authorization(Authentication::TlsAuthenticated { identities: ["web.ns".parse().unwrap()].into(), suffixes: vec![] });
        assert_eq!(known.check(&client([10, 0, 0, 1], anonymous)), Err(Mismatch::NoIdentity));
        assert_eq!(known.check(&client([10, 0, 0, 1], meshed("web.ns"))), Ok(()));
        assert_eq!(known.check(&client([10, 0, 0, 1], meshed("bot.ns"))), Err(Mismatch::Identity));
    }

    #[test]
    fn what_is_built_step_by_step_is_what_is_written_down() {
        let permit = |authentication| Authorization { networks: Network::all(), authentication, meta: Meta::builtin("test") };
        let new = || Authorization::new(Meta::builtin("test"));
        let (web, ends) = ("web.ns".parse::<Identity>().unwrap(), Suffix::of_labels(&["ns"]));
        let listed = |identities, suffixes| permit(Authentication::TlsAuthenticated { identities, suffixes });
        assert_eq!(new(), permit(Authentication::Unauthenticated));
        assert_eq!(new().tls(), permit(Authentication::TlsUnauthenticated));
        assert_eq!(new().identities([web.clone()]), listed([web.clone()].into(), vec![]));
        // In either order.
        assert_eq!(new().identities([web.clone()]).suffixes([ends.clone()]), listed([web.clone()].into(), vec![ends.clone()]));
        assert_eq!(new().suffixes([ends.clone()]).identities([web.clone()]), listed([web.clone()].into(), vec![ends]));
        assert_eq!(new().any_identity().check(&client([10, 0, 0, 1], meshed("web.ns"))), Ok(()));
        assert_eq!(new().any_identity().check(&client([10, 0, 0, 1], TlsState::Terminated { client_id: None })), Err(Mismatch::NoIdentity));
        let here: ipnet::IpNet = "10.0.0.0/8".parse().unwrap();
        assert_eq!(new().networks([here]).check(&client([192, 168, 0, 1], TlsState::NoTls)), Err(Mismatch::Network));
    }

    #[test]
    fn a_suffix_is_whole_labels_of_dns_names() {
        let suffix = Suffix::of_labels(&["ns", "LOCAL"]);
        let matches = |id: &str| suffix.matches(&id.parse().unwrap());
        assert!(matches("web.ns.local"));
        assert!(!matches("webns.local") && !matches("ns.local") && !matches("spiffe://td/web.ns.local"));
        let any = Suffix::of_labels::<&str>(&[]);
        assert!(any.matches(&"web".parse().unwrap()));
        assert!(!any.matches(&"spiffe://td/x".parse().unwrap()));
        assert_eq!(suffix.labels(), ["ns", "local"]);
    }
}
