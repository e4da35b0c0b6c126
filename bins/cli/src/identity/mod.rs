//! `mesh identity`: the certificates of proxies.

pub(crate) mod certificate;
mod proxies;

use proxies::{Proxies, Target};
use serde_json::Value;

use crate::{
    access::{self, Access},
    answer::answer,
    cluster::{self, Cluster},
};

/// `mesh identity`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Identity {
    /// Pods whose certificates are shown
    pods: Vec<String>,
    /// The namespace of the pods
    #[arg(short, long, default_value = "default", value_parser = access::namespace)]
    namespace: String,
    /// Shows the pods with these labels, as app=web
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl Identity {
    /// Shows certificates.
    ///
    /// # Errors
    /// There is nothing to show.
    pub(crate) async fn run(self) -> Result<(), Vec<String>> {
        let kubectl = cluster::connect(&self.access);
        let pods = self.chosen(&kubectl).await.map_err(|error| vec![error])?;
        for (at, pod) in pods.iter().enumerate() {
            answer(&shown(pod, at + 1, pods.len(), &kubectl).await)?;
        }
        Ok(())
    }

    /// The pods that were asked for.
    async fn chosen(&self, cluster: &dyn Cluster) -> Result<Vec<Value>, String> {
        let namespace = &self.namespace;
        if self.pods.is_empty() && self.selector.is_none() {
            return Err("say pods by their names, or by their labels with -l".to_owned());
        }
        let mut found = Vec::new();
        for name in &self.pods {
            let pod = cluster::object(cluster, namespace, "pods", name).await?;
            found.push(pod.ok_or_else(|| format!("there is no pod {name} in namespace {namespace}"))?);
        }
        if let Some(selector) = &self.selector {
            let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={}", escaped(selector));
            found.extend(cluster::list(cluster, &path).await?);
        }
        if found.is_empty() { Err(format!("there are no such pods in namespace {namespace}")) } else { Ok(found) }
    }
}

/// The certificates of a pod's proxy, or why there are none.
async fn shown(pod: &Value, number: usize, count: usize, proxies: &dyn Proxies) -> String {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let told = async {
        let target = Target::of(pod)?;
        let chain = proxies.chain(&target).await?;
        let leaves = chain.iter().filter(|der| !certificate::is_ca(der)).map(|der| certificate::describe(der));
        leaves.collect::<Result<Vec<_>, _>>().map(|leaves| leaves.join("\n"))
    };
    let told = told.await.unwrap_or_else(|error| format!("{error}\n"));
    format!("\nPOD {name} ({number} of {count})\n\n{told}")
}

/// A selector as a part of a path.
fn escaped(selector: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/=,!()".contains(&byte);
    selector.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use meshkit_core::{Clock as _, SystemClock};
    use meshkit_identity::authority::Authority;
    use serde_json::json;

    use super::{proxies::Asked, *};
    use crate::cluster::fake::Fake;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        identity: Identity,
    }

    fn identity(words: &[&str]) -> Result<Identity, clap::Error> {
        Alone::try_parse_from([&["identity"], words].concat()).map(|alone| alone.identity)
    }

    fn pod(name: &str) -> Value {
        let env = json!([{"name": "LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "value": "x.y"}]);
        json!({"metadata": {"name": name, "namespace": "emojivoto", "labels": {"app": "web"}}, "spec": {"containers": [{"name": "linkerd-proxy", "env": env}]}})
    }

    fn cluster() -> Fake {
        let mut fake = Fake::default();
        fake.add("pods", pod("web-1"));
        fake.add("pods", pod("web-2"));
        fake
    }

    async fn names(words: &[&str]) -> Result<Vec<String>, String> {
        let pods = identity(words).unwrap().chosen(&cluster()).await?;
        Ok(pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect())
    }

    #[tokio::test]
    async fn pods_are_chosen_by_name_or_by_label() {
        assert_eq!(names(&["-n", "emojivoto", "web-2", "web-1"]).await.unwrap(), ["web-2", "web-1"]);
        assert_eq!(names(&["-n", "emojivoto", "-l", "app=web"]).await.unwrap(), ["web-1", "web-2"]);
        assert!(names(&["-n", "emojivoto"]).await.unwrap_err().contains("-l"));
        assert!(names(&["web-1"]).await.unwrap_err().contains("no pod web-1 in namespace default"));
        assert!(names(&["-n", "emojivoto", "-l", "app=db"]).await.unwrap_err().contains("no such pods"));
    }

    #[test]
    fn selectors_are_escaped() {
        assert_eq!(escaped("app in (a, b)"), "app%20in%20(a,%20b)");
    }

    /// Shows an issuer where a proxy shows its leaf and its issuer.
    struct Showing(Result<Vec<Vec<u8>>, String>);

    impl Proxies for Showing {
        fn chain<'a>(&'a self, _target: &'a Target) -> Asked<'a, Vec<Vec<u8>>> {
            Box::pin(async { self.0.clone() })
        }
    }

    #[tokio::test]
    async fn leaves_are_shown_and_issuers_are_not() {
        let now = SystemClock.now();
        let webhook = crate::install::webhook_pair(crate::install::WEBHOOKS[0], "linkerd", now).unwrap();
        let leaf = certificate::tests::first(&webhook.certificate);
        let ca = certificate::tests::first(Authority::generate("linkerd", "cluster.local", now).unwrap().issuer_pem());
        let text = shown(&pod("web-1"), 1, 2, &Showing(Ok(vec![leaf.clone(), ca]))).await;
        assert_eq!(text, format!("\nPOD web-1 (1 of 2)\n\n{}", certificate::describe(&leaf).unwrap()));
        let text = shown(&pod("web-1"), 2, 2, &Showing(Err("refused".to_owned()))).await;
        assert_eq!(text, "\nPOD web-1 (2 of 2)\n\nrefused\n");
        let text = shown(&json!({"metadata": {"name": "plain"}, "spec": {}}), 1, 1, &Showing(Ok(vec![]))).await;
        assert!(text.contains("there is no linkerd-proxy"), "{text}");
    }
}
