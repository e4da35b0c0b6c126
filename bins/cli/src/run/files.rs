//! What a run keeps on disk.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use meshkit_identity::{Tokens, authority::Authority, token::ServiceAccount};
use meshkit_manifest::Object;

use super::{Description, names, objects, objects::Told, plan::Plan, replica::Replica};

/// What makes certificates, and what proves to it who asks.
pub(super) struct Trust {
    pub(super) authority: Authority,
    pub(super) tokens: Tokens,
}

/// Makes the state folder, or takes over what an earlier run left in it.
pub(super) fn prepare(state: &Path, plan: &Plan) -> io::Result<Trust> {
    for dir in [state.to_owned(), names::objects_dir(state), names::logs_dir(state)] {
        private(&dir)?;
    }
    // Another run with this state, or another block of addresses that is the same by chance.
    let probe = SocketAddr::new(plan.control_plane().into(), names::IDENTITY_PORT);
    drop(
        TcpListener::bind(probe)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {probe}: {e}; does another `mesh run` use it?")))?,
    );
    let now = meshkit_core::Clock::now(&meshkit_core::SystemClock);
    let authority = Authority::load_or_generate(&names::identity_dir(state), names::NAMESPACE, names::DOMAIN, now)?;
    Ok(Trust { authority, tokens: Tokens::load_or_generate(&names::token_key(state))? })
}

/// What a replica's proxy reads. Its key is a new one: an old one may be of another account.
pub(super) fn write_replica(state: &Path, replica: &Replica, tokens: &Tokens) -> io::Result<()> {
    let dir = names::replica_dir(state, &replica.name.namespace, &replica.name.name);
    let identity = dir.join("identity");
    if identity.exists() {
        fs::remove_dir_all(&identity)?;
    }
    private(&identity)?;
    let account = ServiceAccount::new(&replica.name.namespace, replica.spec.service_account())
        .ok_or_else(|| io::Error::other(format!("{}: the service account's name is not a DNS label", replica.name)))?;
    replace(&dir.join("token"), &tokens.issue(&account))?;
    write_listeners(state, replica)
}

/// Where a replica's proxy accepts, which it looks at while it runs.
pub(super) fn write_listeners(state: &Path, replica: &Replica) -> io::Result<()> {
    let file = names::replica_dir(state, &replica.name.namespace, &replica.name.name).join("listeners");
    let text = replica.listeners();
    if fs::read_to_string(&file).is_ok_and(|before| before == text) {
        return Ok(());
    }
    replace(&file, &text)
}

/// What runs, for `mesh viz stat`.
pub(super) fn write_description(state: &Path, description: &Description) -> io::Result<()> {
    replace(&names::run_file(state), &serde_json::to_string_pretty(description)?)
}

/// What runs, for the control plane.
pub(super) fn write_objects(state: &Path, told: &Told) -> io::Result<()> {
    let items = objects::objects(told);
    let items = items.iter().map(Object::to_json).collect::<Result<Vec<_>, _>>()?;
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    replace(&names::objects_dir(state).join("objects.json"), &list.to_string())
}

fn private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Readers see the old text or the new one, never a part.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_added_extension("part");
    fs::write(&part, text)?;
    fs::rename(part, path)
}
