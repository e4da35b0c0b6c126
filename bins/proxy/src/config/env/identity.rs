use std::{fs, time::Duration};

use meshkit_core::{Backoff, InvalidIdentity};

use super::{
    super::{CertificateSource, Identity, syntax},
    EnvError,
    reader::{self, Reader},
};

const SPIRE_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A DNS-like name or a SPIFFE URI.
pub(super) fn name(text: &str) -> Result<meshkit_core::Identity, InvalidIdentity> {
    text.parse()
}

pub(super) fn read(env: &mut Reader) -> Option<Identity> {
    if env.read("IDENTITY_DISABLED", reader::text).is_some_and(|text| !text.is_empty()) {
        env.refuse("IDENTITY_DISABLED", "is set, but a proxy without an identity cannot run: remove it");
    }
    let not_empty = |text: &str| match text.trim() {
        "" => Err(syntax::InvalidSyntax::new(text, "a bundle of certificates, PEM")),
        _ => Ok(text.to_owned()),
    };
    let trust_anchors = env.required("IDENTITY_TRUST_ANCHORS", not_empty);
    let names = names(env);
    let spire = match env.has("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS") {
        true => "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
        // The older name.
        false => "IDENTITY_SPIRE_SOCKET",
    };
    let source = if env.has(spire) { workload_api(env, spire) } else { controller(env) };
    if let Some((id_name, id, server)) = &names {
        match (env.has(spire), id.as_dns()) {
            (true, Some(_)) => env.refuse(id_name, format!("is {id}, but certificates of a Workload API are for spiffe:// names")),
            (false, None) => env.refuse(id_name, format!("is {id}, but certificates of the identity controller are for DNS names")),
            (false, Some(dns)) if dns != server => {
                env.refuse(id_name, format!("is {dns}, but the server name is {server}: they must be the same"));
            }
            (true, None) | (false, Some(_)) => {}
        }
    }
    let ((_, name, server_name), trust_anchors, source) = (names?, trust_anchors?, source?);
    Some(Identity { name, server_name, trust_anchors, source })
}

/// The setting that the identity is from, the identity, and the name that clients ask for.
fn names(env: &mut Reader) -> Option<(&'static str, meshkit_core::Identity, String)> {
    const LOCAL: &str = "IDENTITY_LOCAL_NAME";
    const ID: &str = "IDENTITY_SERVER_ID";
    const SERVER: &str = "IDENTITY_SERVER_NAME";
    let dns = |text: &str| {
        let dns = text.parse::<meshkit_core::Identity>().ok().and_then(|id| id.as_dns().map(str::to_owned));
        dns.ok_or_else(|| syntax::InvalidSyntax::new(text, "a DNS name"))
    };
    if env.has(LOCAL) {
        let server = env.read(LOCAL, dns)?;
        return Some((LOCAL, server.parse().ok()?, server));
    }
    if !env.has(ID) && !env.has(SERVER) {
        env.refuse(LOCAL, "is required, or both LINKERD2_PROXY_IDENTITY_SERVER_ID and LINKERD2_PROXY_IDENTITY_SERVER_NAME");
        return None;
    }
    let id = env.required(ID, name);
    let server = env.required(SERVER, dns);
    Some((ID, id?, server?))
}

fn controller(env: &mut Reader) -> Option<CertificateSource> {
    let dir = env.required("IDENTITY_DIR", reader::path);
    let token_file = env.required("IDENTITY_TOKEN_FILE", reader::path);
    let min_refresh = env.read("IDENTITY_MIN_REFRESH", syntax::duration).unwrap_or(Duration::from_secs(10));
    let max_refresh = env.read("IDENTITY_MAX_REFRESH", syntax::duration).unwrap_or(Duration::from_secs(24 * 3600));
    let controller = env.required_controller("IDENTITY_SVC");
    Some(CertificateSource::Controller { controller: controller?, dir: dir?, token_file: token_file?, min_refresh, max_refresh })
}

fn workload_api(env: &mut Reader, setting: &str) -> Option<CertificateSource> {
    let socket = env.read(setting, |text| reader::path(text.strip_prefix("unix:").unwrap_or(text)));
    let default = Backoff::new(Duration::from_millis(100), SPIRE_BACKOFF_MAX, 0.1).ok()?;
    // The prefix of all settings stands twice in the names of these.
    let backoff = env.backoff("LINKERD2_PROXY_IDENTITY_SPIRE", default);
    Some(CertificateSource::WorkloadApi { socket: socket?, backoff })
}

pub(super) fn check_token(identity: &Identity) -> Result<(), EnvError> {
    let CertificateSource::Controller { token_file, .. } = &identity.source else {
        return Ok(());
    };
    let error = |reason| EnvError { name: "LINKERD2_PROXY_IDENTITY_TOKEN_FILE".to_owned(), reason };
    match fs::metadata(token_file) {
        Err(cause) => Err(error(format!("{} cannot be read: {cause}", token_file.display()))),
        Ok(file) if file.len() == 0 => Err(error(format!("{} is empty", token_file.display()))),
        Ok(_) => Ok(()),
    }
}
