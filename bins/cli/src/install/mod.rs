//! `mesh install`: a mesh as text, for `kubectl apply`.

mod certificates;
pub(crate) mod cni;
mod crds;
mod flags;
mod objects;
mod preconditions;
mod removal;
mod upgrade;

use meshkit_core::{Clock as _, SystemClock};
use meshkit_injector::documents;
use serde_json::{Value, json};

#[cfg(test)]
pub(crate) use certificates::complete;
pub(crate) use certificates::{WEBHOOKS, Webhook, pair as webhook_pair};
pub(crate) use cni::InstallCni;
pub(crate) use crds::crds;
pub(crate) use flags::{ControlPlaneFlags, RenderFlags, ValuesFlags};
pub(crate) use objects::{OVERRIDES, objects};
pub(crate) use preconditions::{GATEWAY_CRDS, GATEWAY_INSTALL, missing_crds, runtime_fits, secret_text};
pub(crate) use removal::{Prune, Uninstall};
pub(crate) use upgrade::Upgrade;

use crate::{
    access::Access,
    answer::answer,
    cluster::{self, Cluster},
    inject::Output,
    values::{self, Tree},
    version,
};

/// `mesh install`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Install {
    /// Does not ask the cluster whether a mesh can be installed, nor for the ports of its API server
    #[arg(long)]
    ignore_cluster: bool,
    /// The DNS domain of the cluster [default: cluster.local]
    #[arg(long, value_name = "DOMAIN", value_parser = subdomain)]
    cluster_domain: Option<String>,
    /// The last part of every identity [default: the cluster's domain]
    #[arg(long, value_name = "DOMAIN", value_parser = subdomain)]
    identity_trust_domain: Option<String>,
    /// The issuer is in a Secret that somebody else makes
    #[arg(long)]
    identity_external_issuer: bool,
    /// The trust anchors are in a ConfigMap that somebody else makes
    #[arg(long)]
    identity_external_ca: bool,
    #[command(flatten)]
    render: RenderFlags,
    #[command(flatten)]
    values: ValuesFlags,
    #[command(flatten)]
    control_plane: ControlPlaneFlags,
    #[command(flatten)]
    access: Access,
}

impl Install {
    /// Writes every object.
    ///
    /// # Errors
    /// Nothing was written: why.
    pub(crate) async fn run(self) -> Result<(), Vec<String>> {
        let cluster = (!self.ignore_cluster).then(|| cluster::connect(&self.access));
        let objects = self.objects(cluster.as_ref().map(|cluster| cluster as &dyn Cluster)).await?;
        write(&objects, self.render.output)?;
        if self.render.crds {
            eprintln!("Next: mesh install | kubectl apply -f -");
        }
        Ok(())
    }

    async fn objects(&self, cluster: Option<&dyn Cluster>) -> Result<Vec<Value>, Vec<String>> {
        let namespace = &self.access.linkerd_namespace;
        if self.render.crds {
            if let Some(cluster) = cluster {
                preconditions::of_kinds(cluster).await?;
            }
            return crds(namespace, &created_by()).map_err(|error| vec![error]);
        }
        let mut tree = self.tree()?;
        if let Some(cluster) = cluster {
            preconditions::of_control_plane(cluster, namespace, &mut tree).await?;
        }
        render(tree, namespace)
    }

    /// The values, before anything is made.
    fn tree(&self) -> Result<Tree, Vec<String>> {
        let mut tree = Tree::defaults();
        let mut faults = self.control_plane.apply(&mut tree).err().unwrap_or_default();
        let mut put = |path: &str, value: Option<Value>| {
            if let Some(value) = value {
                tree.set(path, value);
            }
        };
        put("clusterDomain", self.cluster_domain.as_ref().map(|domain| json!(domain)));
        put("identityTrustDomain", self.identity_trust_domain.as_ref().map(|domain| json!(domain)));
        put("identity.issuer.scheme", self.identity_external_issuer.then(|| json!("kubernetes.io/tls")));
        put("identity.externalCA", self.identity_external_ca.then_some(json!(true)));
        if self.identity_external_issuer && self.control_plane.has_issuer() {
            faults.push("--identity-external-issuer: then there is nothing to be done with an issuer's files".to_owned());
        }
        faults.extend(self.values.apply(&mut tree).err().unwrap_or_default());
        if faults.is_empty() { Ok(tree) } else { Err(faults) }
    }
}

/// Every object of a control plane with these values. What is missing in them is made.
///
/// # Errors
/// Values that cannot be meant.
pub(crate) fn render(mut tree: Tree, namespace: &str) -> Result<Vec<Value>, Vec<String>> {
    let faults = values::faults(&tree);
    if !faults.is_empty() {
        return Err(faults);
    }
    for key in tree.unknown_to(&Tree::defaults()) {
        eprintln!("value {key} is not known, and has no effect");
    }
    if !tree.is("disableHeartBeat") {
        eprintln!("value disableHeartBeat: this mesh sends no heartbeat to anybody");
    }
    if tree.text("identityTrustDomain").is_empty() {
        let domain = tree.text("clusterDomain");
        tree.set("identityTrustDomain", json!(domain));
    }
    certificates::complete(&mut tree, namespace, SystemClock.now())?;
    objects(&tree, namespace, &created_by()).map_err(|error| vec![error])
}

/// Writes objects, and nothing else, to standard output.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(objects: &[Value], output: Output) -> Result<(), Vec<String>> {
    let text = documents::write(objects, output.into()).map_err(|error| vec![error.to_string()])?;
    answer(&text)
}

/// Who makes objects.
pub(crate) fn created_by() -> String {
    format!("linkerd/cli {}", version::CLIENT)
}

fn subdomain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inner && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    let fits = text.len() <= 253 && text.split('.').all(label);
    if fits { Ok(text.to_owned()) } else { Err(format!("{text:?} is no DNS name (small letters, digits, - and .)")) }
}

#[cfg(test)]
mod tests;
