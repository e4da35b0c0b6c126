use serde_json::Value;

use super::{
    inject::{each, is_made},
    report::{Outcome, Report, Row, Task},
    workload::Workload,
};
use crate::{
    annotation::{COMPONENT, CONFIG, CONFIG_ALPHA, CONFIG_BETA, INJECT, OPAQUE_PORTS, PROXY_LAYOUT, TRACE_ATTRIBUTE},
    ports::DEFAULT_OPAQUE,
    sidecar::{IDENTITY_VOLUME, PODINFO_VOLUME, TOKEN_VOLUME},
    template::{DEBUG, INIT, PROXY, Template, VALIDATOR, strings},
};

const LISTS_MAX: usize = 16;
const VOLUMES: &[&str] = &["linkerd-proxy-init-xtables-lock", IDENTITY_VOLUME, TOKEN_VOLUME, PODINFO_VOLUME];

/// What becomes of annotations that are settings of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // They are kept, or they are not.
pub enum Settings {
    /// They stay for the next injection.
    #[default]
    Kept,
    /// They go, too.
    Removed,
}

/// Takes from documents what injection has added.
///
/// Lists and maps that are empty then go as well.
#[must_use]
pub fn uninject(mut documents: Vec<Value>, settings: Settings) -> (Vec<Value>, Report) {
    let mut report = Report { rows: Vec::new(), task: Task::Uninject };
    for document in &mut documents {
        each(document, LISTS_MAX, &mut |document| {
            let outcome = if strip(document, settings) { Outcome::Uninjected } else { Outcome::Skipped };
            let workload = Workload::of(document);
            let (kind, name) = (workload.kind(), workload.name().to_owned());
            report.rows.push(Row { kind, name, outcome, reasons: Vec::new(), warnings: Vec::new() });
        });
    }
    (documents, report)
}

/// Takes from one document what injection has added. Has anything changed?
pub(super) fn strip(document: &mut Value, settings: Settings) -> bool {
    let workload = Workload::of(document);
    let prefix = match workload.prefix() {
        Some(prefix) => prefix,
        None if workload.is_namespace() => "",
        None if workload.is_service() && settings == Settings::Removed => "",
        None => return false,
    };
    let Some(template) = document.pointer_mut(prefix).filter(|template| template.is_object()) else {
        return false;
    };
    let opaque = is_made(template).then(|| Template::new(template).opaque_ports(DEFAULT_OPAQUE));
    let made_opaque = opaque.filter(|ports| strings(template, "/metadata/annotations").get(OPAQUE_PORTS) == Some(ports));

    let mut changed = false;
    let own = |item: &Value, names: &[&str]| item["name"].as_str().is_some_and(|name| names.contains(&name));
    changed |= retain(template, "/spec", "initContainers", |item| !own(item, &[INIT, PROXY, VALIDATOR]));
    changed |= retain(template, "/spec", "containers", |item| !(own(item, &[PROXY]) || own(item, &[DEBUG]) && made_debug(item)));
    changed |= retain(template, "/spec", "volumes", |item| !own(item, VOLUMES));
    // What a part of the control plane says of itself was not added by an injection.
    if Template::new(template).label(COMPONENT).is_none() {
        changed |= retain_keys(template, "annotations", |key, value| {
            let setting = [CONFIG, CONFIG_ALPHA, CONFIG_BETA, TRACE_ATTRIBUTE].iter().any(|prefix| key.starts_with(prefix));
            let computed = key == OPAQUE_PORTS && made_opaque.is_some();
            let removed = settings == Settings::Removed && (setting || key == PROXY_LAYOUT);
            let disabled = key == INJECT && value.as_str() == Some("disabled");
            disabled || !(key.starts_with("linkerd.io/") || computed || removed)
        });
        changed |= retain_keys(template, "labels", |key, _| !key.starts_with("linkerd.io/"));
    }
    changed
}

/// The container with tools is taken away only if it is as it was added.
fn made_debug(container: &Value) -> bool {
    container.get("command").is_none() && container.pointer("/livenessProbe/exec/command").is_some()
}

/// Keeps some items of a list; nothing of it if none are left.
fn retain(template: &mut Value, parent: &str, key: &str, keep: impl Fn(&Value) -> bool) -> bool {
    let Some(parent) = template.pointer_mut(parent).and_then(Value::as_object_mut) else {
        return false;
    };
    let Some(list) = parent.get_mut(key).and_then(Value::as_array_mut) else {
        return false;
    };
    let before = list.len();
    list.retain(keep);
    let after = list.len();
    if before > 0 && after == 0 {
        parent.remove(key);
    }
    before != after
}

/// Keeps some members of a map of the metadata; nothing of it if none are left.
fn retain_keys(template: &mut Value, key: &str, keep: impl Fn(&str, &Value) -> bool) -> bool {
    let Some(root) = template.as_object_mut() else {
        return false;
    };
    let Some(metadata) = root.get_mut("metadata").and_then(Value::as_object_mut) else {
        return false;
    };
    let Some(map) = metadata.get_mut(key).and_then(Value::as_object_mut) else {
        return false;
    };
    let before = map.len();
    map.retain(|key, value| keep(key, value));
    let changed = map.len() != before;
    if changed && map.is_empty() {
        metadata.remove(key);
        if metadata.is_empty() {
            root.remove("metadata");
        }
    }
    changed
}
