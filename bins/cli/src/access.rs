//! How a command finds the cluster and the mesh in it: flags of every command that knows Kubernetes.

use std::path::PathBuf;

/// The namespace of the control plane, if nobody says another.
pub(crate) const NAMESPACE: &str = "linkerd";

/// Flags of every command that knows Kubernetes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Access")]
#[group(skip)]
pub(crate) struct Access {
    /// Namespace of the control plane
    #[arg(short = 'L', long, env = "LINKERD_NAMESPACE", default_value = NAMESPACE, value_parser = namespace, value_name = "NAMESPACE")]
    pub(crate) linkerd_namespace: String,
    /// Namespace of the CNI plugin
    #[arg(long, default_value = "linkerd-cni", value_parser = namespace, value_name = "NAMESPACE")]
    pub(crate) cni_namespace: String,
    /// The kubeconfig file [default: as kubectl]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig file [default: the current one]
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// A user to act as
    #[arg(long = "as", value_name = "USER")]
    pub(crate) as_user: Option<String>,
    /// A group to act as; may stand several times
    #[arg(long, value_name = "GROUP")]
    pub(crate) as_group: Vec<String>,
    /// Tells what is well, too
    #[arg(long)]
    pub(crate) verbose: bool,
}

/// A name of a namespace.
pub(crate) fn namespace(text: &str) -> Result<String, String> {
    let wanted = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if wanted { Ok(text.to_owned()) } else { Err(format!("{text:?} is no name of a namespace (letters, digits and -)")) }
}
