//! The certificates that identities come from.

use serde_json::Value;

use super::{Scene, none_of, place, unless};
use crate::{
    check::{
        certificates::Bundle,
        runner::{Category, Check, Passed, Verdict},
    },
    install::secret_text,
    version::{meshed_pods, proxy_container},
};

const ANCHORS: &str =
    "renew the trust anchors: run `mesh upgrade --identity-trust-anchors-file` with the old ones and new ones, then restart meshed pods";
const ISSUER: &str =
    "make another issuer under the trust anchors, and run `mesh upgrade --identity-issuer-certificate-file --identity-issuer-key-file`";

/// Trust anchors and issuer.
struct Trust {
    anchors: Bundle,
    issuer: Bundle,
}

pub(in crate::check) fn identity() -> Category {
    let row = |description: &str, anchor: &str, todo: &'static str, judge: fn(&Trust, &Scene<'_>) -> Result<(), String>| {
        Check::new(description, format!("l5d-identity-{anchor}"), move |scene| {
            Box::pin(async move {
                let trust = trust(scene).await?;
                judge(&trust, scene).map(|()| Passed::Well).map_err(|error| format!("{error}\n{todo}"))
            })
        })
    };
    let readable = Check::new("certificate config is valid", "l5d-identity-cert-config-valid", |scene| {
        Box::pin(async move { trust(scene).await.map(|_| Passed::Well) })
    });
    let checks = vec![
        readable.fatal(),
        row("trust anchors are using supported crypto algorithm", "trustAnchors-use-supported-crypto", ANCHORS, |trust, _| {
            trust.anchors.supported_anchors()
        })
        .fatal(),
        row("trust anchors are within their validity period", "trustAnchors-are-time-valid", ANCHORS, |trust, scene| {
            trust.anchors.valid_at(scene.now)
        })
        .fatal(),
        row("trust anchors are valid for at least 60 days", "trustAnchors-not-expiring-soon", ANCHORS, |trust, scene| {
            trust.anchors.valid_for_long(scene.now)
        })
        .warning(),
        row("issuer cert is using supported crypto algorithm", "issuer-cert-uses-supported-crypto", ISSUER, |trust, _| {
            trust.issuer.supported_issuer()
        })
        .fatal(),
        row("issuer cert is within its validity period", "issuer-cert-is-time-valid", ISSUER, |trust, scene| {
            trust.issuer.valid_at(scene.now)
        })
        .fatal(),
        row("issuer cert is valid for at least 60 days", "issuer-cert-not-expiring-soon", ISSUER, |trust, scene| {
            trust.issuer.valid_for_long(scene.now)
        })
        .warning(),
        row("issuer cert is issued by the trust anchor", "issuer-cert-issued-by-trust-anchor", ISSUER, |trust, _| {
            trust.issuer.issued_by(&trust.anchors)
        }),
    ];
    Category { name: "linkerd-identity", checks }
}

async fn anchors(scene: &Scene<'_>) -> Result<String, String> {
    let map = scene.object("configmaps", "linkerd-identity-trust-roots").await?;
    let text = map.and_then(|map| map["data"]["ca-bundle.crt"].as_str().map(str::to_owned));
    text.ok_or_else(|| {
        "ConfigMap linkerd-identity-trust-roots has no ca-bundle.crt: run `mesh upgrade`, or see to whoever makes it".to_owned()
    })
}

async fn trust(scene: &Scene<'_>) -> Result<Trust, String> {
    let anchors = anchors(scene).await?;
    let anchors = Bundle::parse(&anchors).map_err(|error| format!("ConfigMap linkerd-identity-trust-roots: {error}\n{ANCHORS}"))?;
    let secret = scene.object("secrets", "linkerd-identity-issuer").await?;
    let secret = secret.ok_or_else(|| format!("there is no Secret linkerd-identity-issuer\n{ISSUER}"))?;
    let text = secret_text(&secret, "crt.pem").or_else(|| secret_text(&secret, "tls.crt"));
    let text = text.ok_or_else(|| format!("Secret linkerd-identity-issuer has neither crt.pem nor tls.crt\n{ISSUER}"))?;
    let issuer = Bundle::parse(&text).map_err(|error| format!("Secret linkerd-identity-issuer: {error}\n{ISSUER}"))?;
    Ok(Trust { anchors, issuer })
}

/// Do proxies trust what the control plane trusts?
pub(in crate::check) fn data_plane() -> Category {
    let check = Check::new("data plane proxies certificate match CA", "l5d-identity-data-plane-proxies-certs-match-ca", |scene| {
        Box::pin(async move { trusted_alike(scene).await })
    });
    Category { name: "linkerd-identity-data-plane", checks: vec![check.warning()] }
}

async fn trusted_alike(scene: &Scene<'_>) -> Verdict {
    let anchors = anchors(scene).await?;
    let pods = scene.list(&meshed_pods(&scene.namespace, scene.data_plane.as_deref())).await?;
    let others: Vec<_> =
        pods.iter().filter(|pod| trusted_by(pod).is_some_and(|trusted| trusted.trim() != anchors.trim())).map(place).collect();
    if others.is_empty() {
        return unless(None);
    }
    none_of(&others, "some proxies trust other anchors, and must be restarted:", "run `kubectl rollout restart` on their workloads")
}

/// The anchors that a pod's proxy was started with. One that takes them from the ConfigMap has the control plane's.
pub(crate) fn trusted_by(pod: &Value) -> Option<&str> {
    let env = proxy_container(pod)?["env"].as_array()?;
    env.iter().find(|variable| variable["name"] == "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS")?["value"].as_str()
}
