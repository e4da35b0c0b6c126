//! How the plugin on the node reaches the API server: a kubeconfig, written by the installer and read by the plugin.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

/// The context that the plugin uses.
pub const CONTEXT: &str = "linkerd-cni-context";

/// An API server and how to be let in.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// `https://host:port`.
    pub server: String,
    /// Certificates that the server's must come from, in PEM.
    pub certificate_authority: Vec<u8>,
    /// What proves who is asking.
    pub token: String,
}

/// The text is no kubeconfig that the plugin can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKubeconfig {
    reason: String,
}

#[derive(Deserialize)]
struct File {
    #[serde(default, rename = "current-context")]
    current_context: String,
    #[serde(default)]
    clusters: Vec<Named<Cluster>>,
    #[serde(default)]
    users: Vec<Named<User>>,
    #[serde(default)]
    contexts: Vec<Named<Context>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context")]
    value: T,
}

#[derive(Deserialize)]
struct Cluster {
    server: String,
    #[serde(default, rename = "certificate-authority-data")]
    certificate_authority_data: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

impl Access {
    /// The file that says it. The plugin's name stands for the user, `local` for the cluster.
    #[must_use]
    pub fn to_kubeconfig(&self) -> String {
        let Self { server, certificate_authority, token } = self;
        let authority = STANDARD.encode(certificate_authority);
        // JSON's strings are YAML's: nothing in a server or token can break out, and no digits become a number.
        let (server, token) = (serde_json::Value::from(server.as_str()), serde_json::Value::from(token.as_str()));
        format!(
            "# Kubeconfig file of the CNI plugin. It is rewritten and removed by its installer.\n\
             apiVersion: v1\nkind: Config\n\
             clusters:\n- name: local\n  cluster:\n    server: {server}\n    certificate-authority-data: \"{authority}\"\n\
             users:\n- name: linkerd-cni\n  user:\n    token: {token}\n\
             contexts:\n- name: {CONTEXT}\n  context:\n    cluster: local\n    user: linkerd-cni\n\
             current-context: {CONTEXT}\n"
        )
    }

    /// Reads a kubeconfig: the plugin's context, else the current one.
    ///
    /// # Errors
    /// The context, its cluster or its user is missing, or an authority is no base64.
    pub fn from_kubeconfig(text: &str) -> Result<Self, InvalidKubeconfig> {
        let invalid = |reason: String| InvalidKubeconfig { reason };
        let file: File = serde_saphyr::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let context = find(&file.contexts, CONTEXT).or_else(|| find(&file.contexts, &file.current_context));
        let context = context.ok_or_else(|| invalid(format!("there is no context {CONTEXT}")))?;
        let cluster = find(&file.clusters, &context.cluster).ok_or_else(|| invalid(format!("there is no cluster {}", context.cluster)))?;
        let user = find(&file.users, &context.user).ok_or_else(|| invalid(format!("there is no user {}", context.user)))?;
        let certificate_authority = STANDARD
            .decode(cluster.certificate_authority_data.trim())
            .map_err(|_| invalid(format!("certificate-authority-data of cluster {} is no base64", context.cluster)))?;
        Ok(Self { server: cluster.server.clone(), certificate_authority, token: user.token.clone() })
    }
}

fn find<'a, T>(list: &'a [Named<T>], name: &str) -> Option<&'a T> {
    list.iter().find(|item| item.name == name).map(|item| &item.value)
}

/// The token stays hidden.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("server", &self.server).finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidKubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no usable kubeconfig: {}", self.reason)
    }
}

impl std::error::Error for InvalidKubeconfig {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(server in "https://[a-z0-9.:\\[\\]]{1,30}", authority in proptest::collection::vec(any::<u8>(), 0..200), token in "[ -~]{0,60}") {
            let access = Access { server, certificate_authority: authority, token };
            prop_assert_eq!(Access::from_kubeconfig(&access.to_kubeconfig()), Ok(access));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = Access { server: "https://a".into(), certificate_authority: vec![1], token: "t".into() }.to_kubeconfig();
        let refuse = |from: &str, to: &str| Access::from_kubeconfig(&text.replace(from, to)).unwrap_err().to_string();
        assert_eq!(refuse("cluster: local", "cluster: other"), "no usable kubeconfig: there is no cluster other");
        assert_eq!(refuse("    user: linkerd-cni", "    user: x"), "no usable kubeconfig: there is no user x");
        assert_eq!(refuse("AQ==", "%"), "no usable kubeconfig: certificate-authority-data of cluster local is no base64");
        assert!(Access::from_kubeconfig("[").is_err());
    }

    #[test]
    fn the_token_is_not_printed() {
        let access = Access { server: "https://a".into(), certificate_authority: Vec::new(), token: "secret".into() };
        assert!(!format!("{access:?}").contains("secret"));
    }
}
