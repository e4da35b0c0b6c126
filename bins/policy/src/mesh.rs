use std::net::IpAddr;

use ipnet::IpNet;
use meshkit_policy::DefaultPolicy;

/// What is the same for every answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Namespace of the control plane.
    pub namespace: String,
    /// DNS domain of the cluster.
    pub domain: String,
    /// The last part of every identity.
    pub trust_domain: String,
    /// Networks of the cluster.
    pub networks: Vec<IpNet>,
    /// Where probes come from.
    pub probe_networks: Vec<IpNet>,
    /// What a port without a Server allows.
    pub default_policy: DefaultPolicy,
}

impl Mesh {
    /// The identity of a service account.
    #[must_use]
    pub fn account(&self, namespace: &str, name: &str) -> String {
        format!("{name}.{}", self.accounts(namespace))
    }

    /// What the identities of all service accounts of a namespace end in.
    #[must_use]
    pub fn accounts(&self, namespace: &str) -> String {
        format!("{namespace}.serviceaccount.identity.{}.{}", self.namespace, self.trust_domain)
    }

    /// Does the address belong to the cluster?
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|net| net.contains(&ip))
    }
}
