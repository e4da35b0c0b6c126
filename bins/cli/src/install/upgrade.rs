//! `mesh upgrade`: the mesh as it was asked for, made by this version.

use std::path::PathBuf;

use meshkit_core::{Clock as _, SystemClock};
use meshkit_injector::documents;
use serde_json::{Value, json};

use super::{
    ControlPlaneFlags, OVERRIDES, RenderFlags, ValuesFlags, WEBHOOKS, Webhook, crds, created_by, preconditions, preconditions::secret_text,
    render, write,
};
use crate::{
    access::Access,
    check::{Bundle, trusted_by},
    cluster::{self, Cluster, Saved, object},
    values::Tree,
    version::meshed_pods,
};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// `mesh upgrade`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Upgrade {
    /// Reads the mesh from saved objects instead of the cluster
    #[arg(long, value_name = "FILE")]
    from_manifests: Option<PathBuf>,
    /// Goes on though some pods would not trust the issuer
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    render: RenderFlags,
    #[command(flatten)]
    values: ValuesFlags,
    #[command(flatten)]
    control_plane: ControlPlaneFlags,
    #[command(flatten)]
    access: Access,
}

impl Upgrade {
    /// Writes every object.
    ///
    /// # Errors
    /// Nothing was written: why.
    pub(crate) async fn run(self) -> Result<(), Vec<String>> {
        let objects = match &self.from_manifests {
            None => self.objects(&cluster::connect(&self.access)).await?,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{}: {error}", path.display())])?;
                let saved = documents::read(&text).map_err(|error| vec![format!("{}: {error}", path.display())])?;
                self.objects(&Saved::of(saved)).await?
            }
        };
        write(&objects, self.render.output)
    }

    async fn objects(&self, cluster: &dyn Cluster) -> Result<Vec<Value>, Vec<String>> {
        let namespace = &self.access.linkerd_namespace;
        if self.render.crds {
            return crds(namespace, &created_by()).map_err(|error| vec![error]);
        }
        if self.from_manifests.is_none() {
            let missing = preconditions::missing_crds(cluster).await.map_err(|error| vec![error.to_string()])?;
            if !missing.is_empty() {
                let what = format!("kinds of this version are not installed: {}", missing.join(", "));
                return Err(vec![what, "run `mesh upgrade --crds | kubectl apply -f -` first".to_owned()]);
            }
        }
        let before = installed(cluster, namespace).await?;
        let mut tree = before.clone();
        let mut faults = self.control_plane.apply(&mut tree).err().unwrap_or_default();
        faults.extend(self.values.apply(&mut tree).err().unwrap_or_default());
        if tree.text("identity.issuer.scheme") == "kubernetes.io/tls" && self.control_plane.has_issuer() {
            faults.push("the issuer is made by somebody else: see to them, instead of giving files".to_owned());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if tree.text("identityTrustAnchorsPEM") != before.text("identityTrustAnchorsPEM") {
            eprintln!("\u{203c} the trust anchors change: restart all meshed pods afterwards, and see `mesh check --proxy`");
        }
        self.trusted_by_pods(cluster, &tree).await?;
        keep_webhooks(cluster, namespace, &mut tree).await?;
        render(tree, namespace)
    }

    /// Will the proxies that run now believe the certificates of this issuer?
    async fn trusted_by_pods(&self, cluster: &dyn Cluster, tree: &Tree) -> Result<(), Vec<String>> {
        let issuer = tree.text("identity.issuer.tls.crtPEM");
        if self.force || issuer.is_empty() {
            return Ok(());
        }
        let issuer = Bundle::parse(&issuer).map_err(|error| vec![format!("the issuer's certificate: {error}")])?;
        let pods =
            cluster::list(cluster, &meshed_pods(&self.access.linkerd_namespace, None)).await.map_err(|error| vec![error.to_string()])?;
        let strange = pods.iter().filter(|pod| {
            trusted_by(pod).is_some_and(|anchors| Bundle::parse(anchors).is_ok_and(|anchors| issuer.issued_by(&anchors).is_err()))
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let strange: Vec<_> =
            strange.map(|pod| format!("\t* {}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))).collect();
        if strange.is_empty() {
            return Ok(());
        }
        let mut told = vec![
            "these pods do not trust the issuer; first give them trust anchors that do, and restart them (or say --force):".to_owned(),
        ];
        told.extend(strange);
        Err(told)
    }
}

/// The values that the mesh was installed with, over the defaults of this version.
///
/// # Errors
/// There is no mesh, or it was installed by something else.
pub(super) async fn installed(cluster: &dyn Cluster, namespace: &str) -> Result<Tree, Vec<String>> {
    let secret = object(cluster, namespace, "secrets", OVERRIDES).await.map_err(|error| vec![error.to_string()])?;
    let secret = secret.ok_or_else(|| {
        vec![
            format!("there is no Secret {OVERRIDES} in namespace {namespace}"),
            "if the mesh was installed by Helm, run `helm upgrade`; if there is none, run `mesh install`".to_owned(),
        ]
    })?;
    let text = secret_text(&secret, OVERRIDES).unwrap_or_default();
    let overrides = Tree::read(&text).map_err(|error| vec![format!("Secret {OVERRIDES} in namespace {namespace}: {error}")])?;
    let mut tree = Tree::defaults();
    tree.merge(overrides);
    // The version is this one's, whatever it was.
    let version = Tree::defaults().text("linkerdVersion");
    tree.set("linkerdVersion", json!(version));
    Ok(tree)
}

/// Keeps the keys of webhooks while they last: a new one takes a while to reach the pods, and until then the API server must believe the old one.
async fn keep_webhooks(cluster: &dyn Cluster, namespace: &str, tree: &mut Tree) -> Result<(), Vec<String>> {
    let failed = |error: cluster::Failed| vec![error.to_string()];
    for webhook in WEBHOOKS {
        let path = |key: &str| format!("{}.{key}", webhook.values);
        if !tree.text(&path("crtPEM")).is_empty() {
            continue;
        }
        let secret = object(cluster, namespace, "secrets", &webhook.secret()).await.map_err(failed)?;
        let authority = authority(cluster, webhook).await.map_err(failed)?;
        let (Some(secret), Some(authority)) = (secret, authority) else { continue };
        let (Some(certificate), Some(key)) = (secret_text(&secret, "tls.crt"), secret_text(&secret, "tls.key")) else { continue };
        let now = SystemClock.now();
        let lasts = |leaf: Bundle| {
            leaf.valid_at(now).is_ok() && leaf.valid_for_long(now).is_ok() && leaf.is_for(&webhook.server_name(namespace)).is_ok()
        };
        let believed = Bundle::parse(&authority)
            .is_ok_and(|authority| Bundle::parse(&certificate).is_ok_and(|leaf| leaf.issued_by(&authority).is_ok()));
        if believed && Bundle::parse(&certificate).is_ok_and(lasts) {
            tree.set(&path("crtPEM"), json!(certificate));
            tree.set(&path("keyPEM"), json!(key));
            tree.set(&path("caBundle"), json!(authority));
        } else if believed {
            let made = super::webhook_pair(webhook, namespace, now).map_err(|error| vec![error.to_string()])?;
            tree.set(&path("crtPEM"), json!(made.certificate));
            tree.set(&path("keyPEM"), json!(made.key));
            tree.set(&path("caBundle"), json!(format!("{}{}", made.authority, newest(&authority))));
        }
    }
    Ok(())
}

/// The first certificate of a bundle: those behind it are of renewals before.
fn newest(bundle: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    bundle.find(END).map(|at| format!("{}\n", &bundle[..at + END.len()])).unwrap_or_default()
}

async fn authority(cluster: &dyn Cluster, webhook: Webhook) -> Result<Option<String>, cluster::Failed> {
    for kind in ["mutating", "validating"] {
        let path = format!("{ADMISSION}/{kind}webhookconfigurations/linkerd-{}-webhook-config", webhook.name);
        if let Some(configuration) = cluster.get(&path).await? {
            let bundle = json!({"data": {"ca": configuration["webhooks"][0]["clientConfig"]["caBundle"]}});
            return Ok(secret_text(&bundle, "ca"));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::{cluster::fake::Fake, cluster::plural, install};

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        upgrade: Upgrade,
    }

    fn meshed(tree: Tree) -> Fake {
        let mut fake = Fake::default();
        for object in install::render(tree, "linkerd").unwrap().into_iter().chain(crds("linkerd", "me").unwrap()) {
            let kind = plural(object["kind"].as_str().unwrap());
            fake.add(&kind, object);
        }
        fake
    }

    async fn upgraded(words: &[&str], cluster: &dyn Cluster) -> Result<Vec<Value>, Vec<String>> {
        Alone::try_parse_from([&["upgrade"], words].concat()).unwrap().upgrade.objects(cluster).await
    }

    fn installed_with(change: Value) -> Tree {
        let mut tree = Tree::defaults();
        tree.merge(change);
        tree
    }

    fn named<'a>(objects: &'a [Value], name: &str) -> &'a Value {
        objects.iter().find(|object| object["metadata"]["name"] == name).unwrap()
    }

    #[tokio::test]
    async fn an_upgrade_of_nothing_changes_nothing() {
        let fake = meshed(installed_with(json!({"proxy": {"logLevel": "debug"}, "podLabels": {"team": "a"}})));
        for object in upgraded(&[], &fake).await.unwrap() {
            let (kind, metadata) = (plural(object["kind"].as_str().unwrap()), &object["metadata"]);
            let root = match object["apiVersion"].as_str().unwrap() {
                "v1" => "/api/v1".to_owned(),
                version => format!("/apis/{version}"),
            };
            let within = metadata["namespace"].as_str().map(|ns| format!("/namespaces/{ns}")).unwrap_or_default();
            let path = format!("{root}{within}/{kind}/{}", metadata["name"].as_str().unwrap());
            assert_eq!(fake.get(&path).await.unwrap().unwrap(), object, "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_said_now_goes_over_what_was_said_then() {
        let fake = meshed(installed_with(json!({"proxy": {"logLevel": "debug"}, "controllerReplicas": 2})));
        let objects = upgraded(&["--set=proxy.logLevel=info", "--controller-log-level=debug"], &fake).await.unwrap();
        let values = Tree::read(named(&objects, "linkerd-config")["data"]["values"].as_str().unwrap()).unwrap();
        assert_eq!((values.text("proxy.logLevel"), values.text("controllerReplicas")), ("info".to_owned(), "2".to_owned()));
        assert_eq!(values.text("controllerLogLevel"), "debug");
    }

    #[tokio::test]
    async fn what_cannot_be_upgraded_is_refused() {
        let told = upgraded(&[], &meshed_without("/linkerd-config-overrides")).await.unwrap_err().join("\n");
        assert!(told.contains("helm upgrade"), "{told}");
        let told = upgraded(&[], &meshed_without("/servers.policy.linkerd.io")).await.unwrap_err().join("\n");
        assert!(told.contains("mesh upgrade --crds"), "{told}");
    }

    fn meshed_without(end: &str) -> Fake {
        let mut fake = meshed(Tree::defaults());
        fake.remove(end);
        fake
    }

    #[tokio::test]
    async fn an_issuer_that_pods_do_not_trust_is_refused() {
        let mut fake = meshed(Tree::defaults());
        let strange = meshkit_identity::authority::Authority::generate("linkerd", "other", SystemClock.now()).unwrap();
        let env = json!([{"name": "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", "value": strange.anchors_pem()}]);
        let pod = json!({"metadata": {"name": "web-1", "namespace": "emojivoto", "labels": {"linkerd.io/control-plane-ns": "linkerd"}},
            "spec": {"containers": [{"name": "linkerd-proxy", "env": env}]}});
        fake.add("pods", pod);
        let told = upgraded(&[], &fake).await.unwrap_err().join("\n");
        assert!(told.contains("emojivoto/web-1") && told.contains("--force"), "{told}");
        assert!(upgraded(&["--force"], &fake).await.is_ok());
    }

    #[tokio::test]
    async fn keys_of_webhooks_are_made_anew_in_time_and_both_are_believed() {
        let mut tree = installed_with(json!({"identityTrustDomain": "cluster.local"}));
        let old = SystemClock.now() - Duration::from_secs(320 * 24 * 3600);
        install::certificates::complete(&mut tree, "linkerd", old).unwrap();
        // The issuer is as old, and lasts for some weeks yet.
        let objects = upgraded(&[], &meshed(tree.clone())).await.unwrap();
        let configuration = named(&objects, "linkerd-proxy-injector-webhook-config");
        let bundle = json!({"data": {"ca": configuration["webhooks"][0]["clientConfig"]["caBundle"]}});
        let bundle = secret_text(&bundle, "ca").unwrap();
        let before = tree.text("proxyInjector.crtPEM");
        let now = secret_text(named(&objects, "linkerd-proxy-injector-k8s-tls"), "tls.crt").unwrap();
        assert_ne!(now, before);
        let believed = Bundle::parse(&bundle).unwrap();
        for certificate in [now, before] {
            assert_eq!(Bundle::parse(&certificate).unwrap().issued_by(&believed), Ok(()));
        }
    }
}
