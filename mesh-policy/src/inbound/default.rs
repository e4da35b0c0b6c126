use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{Policy, Protocol};
use crate::{Meta, authorization::Authorization};

/// Who may call where no object says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The six of the annotation.
pub enum DefaultPolicy {
    /// Nobody.
    Deny,
    /// Everybody, and it is logged.
    Audit,
    /// Everybody with an identity.
    AllAuthenticated,
    /// Everybody.
    AllUnauthenticated,
    /// Everybody in the cluster with an identity.
    ClusterAuthenticated,
    /// Everybody in the cluster.
    ClusterUnauthenticated,
}

/// The text is not the name of a default policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDefaultPolicy(String);

impl DefaultPolicy {
    /// The policy of a port about which no object says anything.
    #[must_use]
    pub fn policy(self, cluster: &[IpNet], detect_timeout: Duration) -> Policy {
        let server = Meta::builtin(self.name());
        let everybody = Authorization::new(server.clone());
        let authorization = match self {
            Self::Deny => {
                return Policy { protocol: Protocol::Opaque, server, authorizations: [].into() };
            }
            Self::Audit | Self::AllUnauthenticated => everybody,
            Self::AllAuthenticated => everybody.any_identity(),
            Self::ClusterUnauthenticated => everybody.networks(cluster.iter().copied()),
            Self::ClusterAuthenticated => everybody.networks(cluster.iter().copied()).any_identity(),
        };
        let authorizations: Arc<[_]> = [authorization].into();
        Policy { protocol: Protocol::detect(detect_timeout, Arc::clone(&authorizations)), server, authorizations }
    }

    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Deny,
        Self::Audit,
        Self::AllAuthenticated,
        Self::AllUnauthenticated,
        Self::ClusterAuthenticated,
        Self::ClusterUnauthenticated,
    ];

    /// Its name in annotations, settings and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Audit => "audit",
            Self::AllAuthenticated => "all-authenticated",
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
        }
    }
}

impl FromStr for DefaultPolicy {
    type Err = InvalidDefaultPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| InvalidDefaultPolicy(name.chars().take(64).collect()))
    }
}

impl fmt::Display for DefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for InvalidDefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a default policy: expected deny, audit, all-authenticated, all-unauthenticated, cluster-authenticated or \
             cluster-unauthenticated",
            self.0
        )
    }
}

impl std::error::Error for InvalidDefaultPolicy {}
