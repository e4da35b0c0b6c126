//! The keys and certificates of an install: those that were given are checked, the others are made.

use std::time::{Duration, SystemTime};

use meshkit_identity::{Issuer, authority::Authority};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;

use crate::values::Tree;

/// How long the certificates of webhooks are valid.
const WEBHOOK_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
const SKEW: Duration = Duration::from_secs(60);

/// A webhook of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Webhook {
    /// The key of its values.
    pub(crate) values: &'static str,
    /// Its part of names: `sp-validator`.
    pub(crate) name: &'static str,
}

/// Adds proxies to pods.
pub(crate) const INJECTOR: Webhook = Webhook { values: "proxyInjector", name: "proxy-injector" };
/// Judges ServiceProfiles.
pub(crate) const PROFILES: Webhook = Webhook { values: "profileValidator", name: "sp-validator" };
/// Judges policies and routes.
pub(crate) const POLICIES: Webhook = Webhook { values: "policyValidator", name: "policy-validator" };
/// All webhooks.
pub(crate) const WEBHOOKS: [Webhook; 3] = [INJECTOR, PROFILES, POLICIES];

/// A key, its certificate, and whoever vouches for it; PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) authority: String,
}

impl Webhook {
    /// The Secret of its key.
    pub(crate) fn secret(self) -> String {
        format!("linkerd-{}-k8s-tls", self.name)
    }

    /// The name that the API server asks for.
    pub(crate) fn server_name(self, namespace: &str) -> String {
        format!("linkerd-{}.{namespace}.svc", self.name)
    }

    /// Does somebody else make its Secret, or its authority?
    fn is_made_elsewhere(self, tree: &Tree) -> bool {
        let said = |key: &str| !tree.text(&format!("{}.{key}", self.values)).is_empty();
        tree.is(&format!("{}.externalSecret", self.values)) || said("injectCaFrom") || said("injectCaFromSecret")
    }
}

/// Puts what is missing into the values.
///
/// # Errors
/// Only some of what belongs together is there, or it does not fit together.
pub(crate) fn complete(tree: &mut Tree, namespace: &str, now: SystemTime) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    if let Err(error) = identity(tree, namespace, now) {
        faults.push(error);
    }
    for webhook in WEBHOOKS {
        if let Err(error) = of_webhook(webhook, tree, namespace, now) {
            faults.push(error);
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn identity(tree: &mut Tree, namespace: &str, now: SystemTime) -> Result<(), String> {
    const ANCHORS: &str = "identityTrustAnchorsPEM";
    const CERTIFICATE: &str = "identity.issuer.tls.crtPEM";
    const KEY: &str = "identity.issuer.tls.keyPEM";
    match tree.text("identity.issuer.scheme").as_str() {
        "linkerd.io/tls" => {}
        // Whoever makes the Secret makes the anchors, too, or gives them.
        "kubernetes.io/tls" if tree.is("identity.externalCA") => return Ok(()),
        "kubernetes.io/tls" if !tree.text(ANCHORS).is_empty() => return Ok(()),
        "kubernetes.io/tls" => {
            return Err("an issuer that is made elsewhere needs --identity-trust-anchors-file or --identity-external-ca".to_owned());
        }
        other => return Err(format!("identity.issuer.scheme: {other:?} is neither linkerd.io/tls nor kubernetes.io/tls")),
    }
    let given = [ANCHORS, CERTIFICATE, KEY].map(|path| tree.text(path));
    if given.iter().all(String::is_empty) {
        let domain = tree.text("identityTrustDomain");
        let made = Authority::generate(namespace, &domain, now).map_err(|error| format!("trust domain {domain:?}: {error}"))?;
        tree.set(ANCHORS, json!(made.anchors_pem()));
        tree.set(CERTIFICATE, json!(made.issuer_pem()));
        tree.set(KEY, json!(made.issuer_key_pem()));
        return Ok(());
    }
    let names = ["the trust anchors", "the issuer's certificate", "the issuer's key"];
    let missing: Vec<_> = names.iter().zip(&given).filter(|(_, text)| text.is_empty()).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(format!("{} must be given, too: all of {} or nothing", missing.join(" and "), names.join(", ")));
    }
    Issuer::from_pem(&given[1], &given[2], &given[0], now).map(drop).map_err(|error| error.to_string())
}

fn of_webhook(webhook: Webhook, tree: &mut Tree, namespace: &str, now: SystemTime) -> Result<(), String> {
    let path = |key: &str| format!("{}.{key}", webhook.values);
    if webhook.is_made_elsewhere(tree) {
        return Ok(());
    }
    let (certificate, key) = (tree.text(&path("crtPEM")), tree.text(&path("keyPEM")));
    match (certificate.is_empty(), key.is_empty()) {
        (true, true) => {
            let made = pair(webhook, namespace, now).map_err(|error| format!("namespace {namespace:?}: {error}"))?;
            tree.set(&path("crtPEM"), json!(made.certificate));
            tree.set(&path("keyPEM"), json!(made.key));
            tree.set(&path("caBundle"), json!(made.authority));
            Ok(())
        }
        (false, false) if tree.text(&path("caBundle")).is_empty() => Err(format!("{} must be given, too", path("caBundle"))),
        (false, false) => Ok(()),
        _ => Err(format!("{} and {} must be given both", path("crtPEM"), path("keyPEM"))),
    }
}

/// A key and certificate for a webhook, by an authority of its own whose key nobody keeps.
pub(crate) fn pair(webhook: Webhook, namespace: &str, now: SystemTime) -> Result<Pair, rcgen::Error> {
    let name = webhook.server_name(namespace);
    let params = |names: Vec<String>, common: &str| -> Result<_, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common);
        params.not_before = (now - SKEW).into();
        params.not_after = (now + WEBHOOK_VALIDITY).into();
        Ok(params)
    };
    let mut root = params(vec![], &format!("ca.{name}"))?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate()?;
    let authority = root.self_signed(&root_key)?.pem();
    let mut leaf = params(vec![name.clone()], &name)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &rcgen::Issuer::new(root, root_key))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem(), authority })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn tree() -> Tree {
        let mut tree = Tree::defaults();
        tree.set("identityTrustDomain", json!("cluster.local"));
        tree
    }

    #[test]
    fn what_is_made_fits_together_and_is_left_alone_afterwards() {
        let mut tree = tree();
        complete(&mut tree, "linkerd", now()).unwrap();
        let [anchors, certificate, key] =
            ["identityTrustAnchorsPEM", "identity.issuer.tls.crtPEM", "identity.issuer.tls.keyPEM"].map(|path| tree.text(path));
        Issuer::from_pem(&certificate, &key, &anchors, now()).unwrap();
        let before = tree.clone();
        complete(&mut tree, "linkerd", now()).unwrap();
        assert!(tree == before, "nothing is made twice");
    }

    #[test]
    fn all_or_nothing() {
        let mut made = tree();
        complete(&mut made, "linkerd", now()).unwrap();
        for missing in ["identityTrustAnchorsPEM", "identity.issuer.tls.crtPEM", "identity.issuer.tls.keyPEM", "proxyInjector.keyPEM"] {
            let mut tree = made.clone();
            tree.set(missing, json!(""));
            assert_eq!(complete(&mut tree, "linkerd", now()).unwrap_err().len(), 1, "{missing}");
        }
        let mut other = tree();
        complete(&mut other, "linkerd", now()).unwrap();
        other.set("identityTrustAnchorsPEM", json!(made.text("identityTrustAnchorsPEM")));
        let faults = complete(&mut other, "linkerd", now()).unwrap_err();
        assert!(faults[0].contains("no trust anchor vouches"), "{faults:?}");
    }

    #[test]
    fn what_is_made_elsewhere_is_not_made_here() {
        let mut tree = tree();
        tree.set("identity.issuer.scheme", json!("kubernetes.io/tls"));
        assert!(complete(&mut tree.clone(), "linkerd", now()).is_err(), "somebody must say the anchors");
        tree.set("identity.externalCA", json!(true));
        tree.set("proxyInjector.externalSecret", json!(true));
        tree.set("profileValidator.injectCaFrom", json!("linkerd/sp-validator"));
        complete(&mut tree, "linkerd", now()).unwrap();
        assert_eq!(tree.text("identityTrustAnchorsPEM"), "");
        assert_eq!((tree.text("proxyInjector.crtPEM"), tree.text("profileValidator.crtPEM")), (String::new(), String::new()));
        assert!(!tree.text("policyValidator.crtPEM").is_empty());
    }
}
