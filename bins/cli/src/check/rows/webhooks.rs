//! The certificates of webhooks.

use serde_json::Value;

use super::{ADMISSION, Scene};
use crate::{
    check::{
        certificates::Bundle,
        runner::{Category, Check, Passed, Verdict},
    },
    install::{WEBHOOKS, Webhook, secret_text},
};

const TODO: &str = "run `mesh upgrade | kubectl apply -f -`, which makes it again; or see to whoever makes it";

pub(in crate::check) fn webhooks() -> Category {
    let mut checks = Vec::new();
    for webhook in WEBHOOKS {
        let name = webhook.name;
        let valid = Check::new(format!("{name} webhook has valid cert"), format!("l5d-{name}-webhook-cert-valid"), move |scene| {
            Box::pin(async move { valid(webhook, scene).await })
        });
        let lasting = Check::new(
            format!("{name} cert is valid for at least 60 days"),
            format!("l5d-{name}-webhook-cert-not-expiring-soon"),
            move |scene| {
                Box::pin(async move {
                    match pair(webhook, scene).await? {
                        None => Ok(Passed::Skipped),
                        Some((leaf, _)) => {
                            leaf.valid_for_long(scene.now).map(|()| Passed::Well).map_err(|error| format!("{error}\n{TODO}"))
                        }
                    }
                })
            },
        );
        checks.extend([valid.fatal(), lasting.warning()]);
    }
    Category { name: "linkerd-webhooks-and-apisvc-tls", checks }
}

async fn valid(webhook: Webhook, scene: &Scene<'_>) -> Verdict {
    let Some((leaf, authority)) = pair(webhook, scene).await? else {
        return Ok(Passed::Skipped);
    };
    let server = webhook.server_name(&scene.namespace);
    let judged = leaf.issued_by(&authority).and_then(|()| leaf.is_for(&server)).and_then(|()| leaf.valid_at(scene.now));
    judged.map(|()| Passed::Well).map_err(|error| format!("{error}\n{TODO}"))
}

/// The certificate that a webhook shows, and whom the API server believes. Nothing if this mesh has no such webhook.
async fn pair(webhook: Webhook, scene: &Scene<'_>) -> Result<Option<(Bundle, Bundle)>, String> {
    let kind = if webhook.values == "proxyInjector" { "mutating" } else { "validating" };
    let name = format!("linkerd-{}-webhook-config", webhook.name);
    let Some(configuration) = scene.get(&format!("{ADMISSION}/{kind}webhookconfigurations/{name}")).await? else {
        // An older mesh has no validator of policies.
        return if webhook.values == "policyValidator" { Ok(None) } else { Err(format!("there is no {name}\n{TODO}")) };
    };
    let bundle = configuration.pointer("/webhooks/0/clientConfig/caBundle").and_then(Value::as_str).unwrap_or_default();
    let bundle = serde_json::json!({"data": {"ca": bundle}});
    let bundle = secret_text(&bundle, "ca").unwrap_or_default();
    let authority = Bundle::parse(&bundle).map_err(|error| format!("{name}: caBundle: {error}\n{TODO}"))?;
    let secret = scene.object("secrets", &webhook.secret()).await?;
    let secret = secret.ok_or_else(|| format!("there is no Secret {}\n{TODO}", webhook.secret()))?;
    let leaf = secret_text(&secret, "tls.crt").unwrap_or_default();
    let leaf = Bundle::parse(&leaf).map_err(|error| format!("Secret {}: {error}\n{TODO}", webhook.secret()))?;
    Ok(Some((leaf, authority)))
}
