//! Where a run keeps what, and what its parts are called: as on a cluster.

use std::path::{Path, PathBuf};

/// Namespace of the control plane.
pub const NAMESPACE: &str = "linkerd";
/// DNS domain of the cluster, and the trust domain.
pub const DOMAIN: &str = "cluster.local";
/// The one node.
pub const NODE: &str = "localhost";
/// Ports of the control plane's APIs.
pub const IDENTITY_PORT: u16 = 8080;
/// See [`IDENTITY_PORT`].
pub const DESTINATION_PORT: u16 = 8086;
/// See [`IDENTITY_PORT`].
pub const POLICY_PORT: u16 = 8090;
/// Where every proxy takes connections of other proxies.
pub const PROXY_INBOUND_PORT: u16 = 4143;
/// Where every proxy answers probes and scrapes.
pub const PROXY_ADMIN_PORT: u16 = 4191;

/// Where every proxy shows its requests.
pub const PROXY_CONTROL_PORT: u16 = 4190;

/// Anchors and issuer.
#[must_use]
pub fn identity_dir(state: &Path) -> PathBuf {
    state.join("identity")
}

/// The key that workload tokens are made with.
#[must_use]
pub fn token_key(state: &Path) -> PathBuf {
    state.join("token.key")
}

/// What the supervisor tells of running replicas.
#[must_use]
pub fn objects_dir(state: &Path) -> PathBuf {
    state.join("objects")
}

/// What the processes print.
#[must_use]
pub fn logs_dir(state: &Path) -> PathBuf {
    state.join("logs")
}

/// What belongs to one replica.
#[must_use]
pub fn replica_dir(state: &Path, namespace: &str, pod: &str) -> PathBuf {
    state.join("replicas").join(format!("{namespace}.{pod}"))
}

/// The run's description for `mesh viz stat`.
#[must_use]
pub fn run_file(state: &Path) -> PathBuf {
    state.join("run.json")
}

/// The identity of one of the control plane's accounts.
#[must_use]
pub fn control_plane_identity(account: &str) -> String {
    workload_identity(NAMESPACE, account)
}

/// The identity of a workload's account.
#[must_use]
pub fn workload_identity(namespace: &str, account: &str) -> String {
    format!("{account}.{namespace}.serviceaccount.identity.{NAMESPACE}.{DOMAIN}")
}

/// The identity that may look at requests.
#[must_use]
pub fn tap_identity() -> String {
    workload_identity("linkerd-viz", "tap")
}
