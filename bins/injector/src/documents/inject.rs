use std::fmt;

use serde_json::{Map, Value};

use super::{
    report::{Outcome, Report, Row, Task},
    uninject::{Settings, strip},
    workload::Workload,
};
use crate::{
    annotation::{Annotations, COMPONENT, CREATED_BY, INJECT, OPAQUE_PORTS, UnknownKey, unknown},
    decide::{Decision, Origin, Reason, decide},
    inject::{Target, inject as additions},
    overrides::Overridden,
    template::{Template, strings},
    values::Values,
};

/// How deep lists may stand in lists.
const LISTS_MAX: usize = 16;

/// How much is added to a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // There are these two.
pub enum Mode {
    /// Annotations, by which the webhook will go.
    #[default]
    Annotate,
    /// Everything that the webhook would add.
    Manual,
}

/// How documents are injected.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// How much is added.
    pub mode: Mode,
    /// The mesh's values, with the flags of the command over them.
    pub values: Values,
    /// Annotations that workloads and Namespaces get: what the flags say other than the mesh ([`super::overrides`]).
    pub overrides: Annotations,
}

/// A document that should have been injected and could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotInjected {
    place: String,
    reasons: Vec<String>,
}

impl Options {
    /// With annotations, for values of this mesh.
    #[must_use]
    pub fn new(values: Values) -> Self {
        Self { values, ..Self::default() }
    }

    /// How much is added.
    #[must_use]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Annotations that workloads and Namespaces get.
    #[must_use]
    pub fn overrides(mut self, overrides: Annotations) -> Self {
        self.overrides = overrides;
        self
    }
}

/// Injects documents. Those of a List are injected one by one, and stay in it.
///
/// # Errors
/// Every document that could not be injected. Then none is.
pub fn inject(mut documents: Vec<Value>, options: &Options) -> Result<(Vec<Value>, Report), Vec<NotInjected>> {
    let mut report = Report { rows: Vec::new(), task: Task::Inject };
    let mut errors = Vec::new();
    for document in &mut documents {
        each(document, LISTS_MAX, &mut |document| match one(document, options) {
            Ok(row) => report.rows.push(row),
            Err(error) => errors.push(error),
        });
    }
    if errors.is_empty() { Ok((documents, report)) } else { Err(errors) }
}

/// Calls `act` for a document, or for each item of a List.
pub(super) fn each(document: &mut Value, depth: usize, act: &mut dyn FnMut(&mut Value)) {
    let is_list = document["kind"].as_str() == Some("List") && document["apiVersion"].as_str() == Some("v1");
    match document.get_mut("items").and_then(Value::as_array_mut).filter(|_| is_list && depth > 0) {
        Some(items) => items.iter_mut().for_each(|item| each(item, depth - 1, act)),
        None => act(document),
    }
}

fn one(document: &mut Value, options: &Options) -> Result<Row, NotInjected> {
    let workload = Workload::of(document);
    let mut row = Row {
        kind: workload.kind(),
        name: workload.name().to_owned(),
        outcome: Outcome::Skipped,
        reasons: Vec::new(),
        warnings: Vec::new(),
    };
    if workload.is_namespace() {
        strip(document, Settings::Kept);
        return Ok(annotated(document, row, injecting(&options.overrides)));
    }
    if workload.is_service() {
        let ports = options.overrides.get(OPAQUE_PORTS).map(|ports| (OPAQUE_PORTS.to_owned(), ports.clone()));
        return Ok(if ports.is_some() { annotated(document, row, ports.into_iter().collect()) } else { row });
    }
    let (Some(_), Some(prefix)) = (workload.template(), workload.prefix()) else {
        return Ok(row);
    };

    // It is injected anew: what was injected before may have been another version, or with other options.
    let mut fresh = document.clone();
    strip(&mut fresh, Settings::Kept);
    let place = format!("{}/{}", row.kind, row.name);
    let refuse = |reasons: Vec<String>| Err(NotInjected { place, reasons });
    let template = Template::new(fresh.pointer(prefix).unwrap_or(&Value::Null));
    if template.has_udp_ports() {
        row.reasons.push(Reason::UdpPorts);
    }
    if let Decision::Skip(reasons) = decide(Origin::Cli, Some(template), &Annotations::new(), &options.values) {
        if !reasons.contains(&Reason::InjectAnnotationDisabled) {
            return refuse(reasons.iter().map(ToString::to_string).collect());
        }
        row.reasons.extend(reasons);
        return Ok(row);
    }
    if template.label(COMPONENT).is_some() && options.mode == Mode::Annotate {
        return refuse(vec!["a part of the control plane is injected with --manual only".to_owned()]);
    }
    match options.mode {
        Mode::Annotate => {
            let faults = Overridden::of(&options.values, &template.annotations(), &template.named_ports()).faults;
            row.warnings = faults.iter().map(ToString::to_string).chain(told(&unknown(&template.annotations()))).collect();
            annotate(&mut fresh, prefix, injecting(&options.overrides));
        }
        Mode::Manual => {
            annotate(&mut fresh, prefix, options.overrides.clone());
            let by = format!("linkerd/cli {}", options.values.linkerd_version);
            let owner = Workload::of(&fresh).owner();
            let target = Target {
                document: &fresh,
                prefix,
                namespace: Workload::of(&fresh).namespace(),
                namespace_annotations: &Annotations::new(),
                owner: owner.as_ref(),
                created_by: &by,
            };
            let injection = match additions(&options.values, &target) {
                Ok(injection) => injection,
                Err(bad) => return refuse(vec![bad.to_string()]),
            };
            row.warnings = injection.faults.iter().map(ToString::to_string).chain(told(&injection.unknown)).collect();
            if let Err(error) = injection.patch.apply(&mut fresh) {
                return refuse(vec![error.to_string()]);
            }
        }
    }
    *document = fresh;
    row.outcome = Outcome::Injected;
    Ok(row)
}

fn told(unknown: &[UnknownKey]) -> impl Iterator<Item = String> {
    unknown.iter().map(ToString::to_string)
}

/// The annotations by which the webhook goes.
fn injecting(overrides: &Annotations) -> Annotations {
    let mut annotations = overrides.clone();
    annotations.entry(INJECT.to_owned()).or_insert_with(|| "enabled".to_owned());
    annotations
}

fn annotated(document: &mut Value, mut row: Row, annotations: Annotations) -> Row {
    annotate(document, "", annotations);
    row.outcome = Outcome::Annotated;
    row.warnings = told(&unknown(&strings(document, "/metadata/annotations"))).collect();
    row
}

/// Puts annotations over those of the object at a place.
fn annotate(document: &mut Value, prefix: &str, annotations: Annotations) {
    let mut at = document.pointer_mut(prefix);
    if annotations.is_empty() {
        return;
    }
    for key in ["metadata", "annotations"] {
        at = at.and_then(Value::as_object_mut).map(|map| {
            let next = map.entry(key).or_insert(Value::Null);
            if !next.is_object() {
                *next = Value::Object(Map::new());
            }
            next
        });
    }
    if let Some(map) = at.and_then(Value::as_object_mut) {
        map.extend(annotations.into_iter().map(|(key, value)| (key, Value::String(value))));
    }
}

/// Was this made by the injector, and not only asked for?
pub(super) fn is_made(template: &Value) -> bool {
    strings(template, "/metadata/annotations").contains_key(CREATED_BY)
}

impl fmt::Display for NotInjected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to inject {}: {}", self.place, self.reasons.join(", "))
    }
}

impl std::error::Error for NotInjected {}
