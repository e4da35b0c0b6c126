use serde_json::Value;

use super::{
    metrics::Labels,
    review::{Answer, Request},
};
use crate::{
    annotation::{Annotations, inherit},
    decide::{Decision, Origin, Reason, decide},
    documents::owner_label,
    inject::{Owner, Target, annotate_pod, annotate_service, inject},
    template::{Template, list},
    values::Values,
};

/// Something that people should see beside an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How bad it is.
    pub kind: EventKind,
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
    /// What it is about.
    pub subject: Subject,
}

/// How bad an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // Kubernetes has these two.
pub enum EventKind {
    /// It is not.
    Normal,
    /// Somebody should look at it.
    Warning,
}

/// What an event is about: who makes the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its kind and name.
    pub owner: Owner,
}

/// What is answered, told and counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// For the API server.
    pub answer: Answer,
    /// For people. None if nothing is written anyway.
    pub events: Vec<Event>,
    pub(super) labels: Option<Labels>,
}

/// The direct owner of a pod: the one that controls it, or else the first.
pub(super) fn direct_owner(pod: &Value) -> Option<Owner> {
    let owners = || list(&pod["metadata"], "ownerReferences");
    let owner = owners().find(|owner| owner["controller"].as_bool() == Some(true)).or_else(|| owners().next())?;
    Some(Owner { kind: owner["kind"].as_str()?.to_owned(), name: owner["name"].as_str()?.to_owned() })
}

/// Judges one object. `owner` is who makes the pod in the end: a Deployment, where its ReplicaSet is the pod's direct owner.
#[must_use]
pub fn admit(values: &Values, request: &Request, namespace: &Annotations, owner: Option<&Owner>) -> Admitted {
    let object = &request.object;
    match (request.group.as_str(), request.kind.as_str()) {
        ("", "Pod") => pod(values, request, namespace, owner),
        ("", "Service") => Admitted {
            answer: Answer::allowed(annotate_service(values, object, namespace), Vec::new()),
            events: Vec::new(),
            labels: Some(Labels::new("service", &request.namespace).skipped(&[Reason::UnsupportedResource])),
        },
        _ => Admitted { answer: Answer::allowed(Default::default(), Vec::new()), events: Vec::new(), labels: None },
    }
}

fn pod(values: &Values, request: &Request, namespace: &Annotations, owner: Option<&Owner>) -> Admitted {
    let template = Template::new(&request.object);
    let own = template.annotations();
    let all: Annotations = inherit(&own, namespace).into_iter().chain(own).collect();
    let labels = Labels::new(&owner.map_or_else(|| "pod".to_owned(), |owner| owner.kind.to_lowercase()), &request.namespace).settings(&all);
    let subject = owner.map(|owner| Subject { namespace: request.namespace.clone(), owner: owner.clone() });
    let event = |kind, reason, message: String| subject.clone().map(|subject| Event { kind, reason, message, subject });
    let at = match decide(Origin::Webhook, Some(template), namespace, values) {
        Decision::Inject(at) => at,
        Decision::Skip(reasons) => {
            let words: Vec<_> = reasons.iter().map(ToString::to_string).collect();
            let message = format!("Linkerd sidecar proxy injection skipped: {}", words.join(", "));
            // Whoever asked for a proxy and gets none should hear it at once.
            let asked = reasons.iter().all(|reason| !is_wish(*reason));
            return Admitted {
                answer: Answer::allowed(
                    annotate_pod(values, &request.object, namespace),
                    if asked { vec![message.clone()] } else { Vec::new() },
                ),
                events: event(EventKind::Normal, "InjectionSkipped", message).into_iter().collect(),
                labels: Some(labels.skipped(&reasons)),
            };
        }
    };
    let by = format!("linkerd/proxy-injector {}", values.linkerd_version);
    let labelled = owner.filter(|owner| owner_label(&owner.kind).is_some());
    let target = Target {
        document: &request.object,
        prefix: "",
        namespace: &request.namespace,
        namespace_annotations: namespace,
        owner: labelled,
        created_by: &by,
    };
    let labels = labels.at(at);
    match inject(values, &target) {
        Ok(injection) => {
            let faults = injection.faults.iter().map(ToString::to_string);
            let warnings: Vec<_> = faults.chain(injection.unknown.iter().map(ToString::to_string)).collect();
            let told = warnings.iter().filter_map(|warning| event(EventKind::Warning, "AnnotationIgnored", warning.clone()));
            let injected = event(EventKind::Normal, "Injected", "Linkerd sidecar proxy injected".to_owned());
            let events = injected.into_iter().chain(told).collect();
            Admitted { answer: Answer::allowed(injection.patch, warnings), events, labels: Some(labels.injected()) }
        }
        Err(bad) => {
            let refused = event(EventKind::Warning, "InjectionRefused", bad.to_string());
            Admitted { answer: Answer::refused(bad), events: refused.into_iter().collect(), labels: Some(labels) }
        }
    }
}

/// Is it what somebody wants that there is no proxy?
const fn is_wish(reason: Reason) -> bool {
    matches!(reason, Reason::InjectAnnotationAbsent | Reason::InjectAnnotationDisabled)
}
