//! `mesh version`.

use std::collections::BTreeMap;

use meshkit_injector::annotation::PROXY_VERSION;
use serde_json::Value;
use tokio::time::{Duration, timeout};

use crate::{
    access::{self, Access},
    answer::answer,
    cluster::{self, Cluster},
};

/// How long the cluster may take to say its version.
const LIMIT: Duration = Duration::from_secs(5);
/// The version of this program.
pub(crate) const CLIENT: &str = env!("CARGO_PKG_VERSION");
const UNAVAILABLE: &str = "unavailable";

/// `mesh version`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Version {
    /// Prints the numbers alone
    #[arg(long)]
    short: bool,
    /// Asks no cluster
    #[arg(long)]
    client: bool,
    /// Counts the versions of proxies, too
    #[arg(long)]
    proxy: bool,
    /// Counts proxies of this namespace only [default: all]
    #[arg(short, long, value_parser = access::namespace)]
    namespace: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl Version {
    /// Prints versions. A cluster that cannot be asked is no error.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) async fn run(self) -> Result<(), Vec<String>> {
        answer(&self.text(&cluster::connect(&self.access)).await)
    }

    async fn text(&self, cluster: &dyn Cluster) -> String {
        let line = |name: &str, version: &str| if self.short { format!("{version}\n") } else { format!("{name} version: {version}\n") };
        let mut text = line("Client", CLIENT);
        if self.client {
            return text;
        }
        let server = timeout(LIMIT, cluster::values(cluster, &self.access.linkerd_namespace)).await.ok().and_then(Result::ok).flatten();
        let server = server.map(|values| values.text("linkerdVersion")).filter(|version| !version.is_empty());
        text.push_str(&line("Server", server.as_deref().unwrap_or(UNAVAILABLE)));
        if self.proxy {
            let counts = timeout(LIMIT, proxies(cluster, &self.access.linkerd_namespace, self.namespace.as_deref())).await;
            match counts.ok().and_then(Result::ok).filter(|counts| !counts.is_empty()) {
                None => text.push_str("Proxy versions: unavailable\n"),
                Some(counts) => {
                    text.push_str("Proxy versions:\n");
                    counts.iter().for_each(|(version, count)| text.push_str(&format!("\t{version} ({count} pods)\n")));
                }
            }
        }
        text
    }
}

async fn proxies(cluster: &dyn Cluster, mesh: &str, namespace: Option<&str>) -> Result<BTreeMap<String, usize>, cluster::Failed> {
    let mut counts = BTreeMap::new();
    for pod in cluster::list(cluster, &meshed_pods(mesh, namespace)).await? {
        if let Some(version) = proxy_version(&pod) {
            *counts.entry(version.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(counts)
}

/// Where the pods of a mesh are listed.
pub(crate) fn meshed_pods(mesh: &str, namespace: Option<&str>) -> String {
    let within = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("/api/v1{within}/pods?labelSelector=linkerd.io/control-plane-ns={mesh}")
}

/// The version of a pod's proxy: as the injector says, or as the image's tag says.
pub(crate) fn proxy_version(pod: &Value) -> Option<&str> {
    let annotation = pod.pointer("/metadata/annotations").and_then(|annotations| annotations.get(PROXY_VERSION)?.as_str());
    annotation.or_else(|| {
        let image = proxy_container(pod)?["image"].as_str()?;
        // One that is pinned by its digest has no version that is known.
        let (name, tag) = image.rsplit_once(':')?;
        (!tag.contains('/') && !name.contains('@')).then_some(tag)
    })
}

/// The container of a pod's proxy.
pub(crate) fn proxy_container(pod: &Value) -> Option<&Value> {
    let all = ["containers", "initContainers"].iter().filter_map(|list| pod.pointer("/spec")?.get(*list)?.as_array()).flatten();
    all.into_iter().find(|container| container["name"].as_str() == Some("linkerd-proxy"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cluster::fake::Fake;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        version: Version,
    }

    fn version(words: &[&str]) -> Version {
        Alone::try_parse_from([&["version"], words].concat()).unwrap().version
    }

    fn meshed(name: &str, annotations: Value, image: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "emojivoto", "labels": {"linkerd.io/control-plane-ns": "linkerd"}, "annotations": annotations},
            "spec": {"initContainers": [{"name": "linkerd-proxy", "image": image}], "containers": [{"name": "web"}]}})
    }

    #[tokio::test]
    async fn before_the_install_the_server_is_unavailable() {
        let text = version(&["--proxy"]).text(&Fake::default()).await;
        assert_eq!(text, format!("Client version: {CLIENT}\nServer version: unavailable\nProxy versions: unavailable\n"));
        assert_eq!(version(&[]).text(&Fake::broken()).await, format!("Client version: {CLIENT}\nServer version: unavailable\n"));
        assert_eq!(version(&["--client"]).text(&Fake::broken()).await, format!("Client version: {CLIENT}\n"));
        assert_eq!(version(&["--short"]).text(&Fake::default()).await, format!("{CLIENT}\nunavailable\n"));
    }

    #[tokio::test]
    async fn proxies_are_counted_by_their_versions() {
        let mut fake = Fake::default();
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "linkerd-config", "namespace": "linkerd"},
            "data": {"values": "linkerdVersion: 2.0.0\n"}});
        fake.add("configmaps", config);
        fake.add("pods", meshed("a", json!({"linkerd.io/proxy-version": "1.0.0"}), "x:1"));
        fake.add("pods", meshed("b", json!({}), "localhost:5000/proxy:1.0.0"));
        fake.add("pods", meshed("c", json!({}), "proxy:0.9.0"));
        fake.add("pods", meshed("d", json!({}), "proxy@sha256:00"));
        fake.add("pods", json!({"metadata": {"name": "plain", "namespace": "emojivoto"}, "spec": {}}));
        let text = version(&["--proxy"]).text(&fake).await;
        assert_eq!(text, format!("Client version: {CLIENT}\nServer version: 2.0.0\nProxy versions:\n\t0.9.0 (1 pods)\n\t1.0.0 (2 pods)\n"));
        assert!(version(&["--proxy", "-n", "other"]).text(&fake).await.ends_with("Proxy versions: unavailable\n"));
    }
}
