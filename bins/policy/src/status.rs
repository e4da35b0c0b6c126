//! What is to be written into the statuses of objects.
//!
//! One controller of a mesh writes them, and all act on what is written. What other controllers have written stays as it is, and a
//! condition that says what it said before keeps its time.
//!
//! [`Model::status_changes`] says what is to be written, as a pure function. Over an API server a [`Writer`] writes it while it holds the
//! lease `policy-controller-write`: every write names the version of the object that it was worked out from, so that nobody is overwritten,
//! and a writer may crash, be late or write twice at any point.

mod candidate;
mod metrics;
mod pending;
mod writer;

use meshkit_manifest::{
    Key, Object,
    meta::Condition,
    policy::Reference,
    route::{ParentRef, ParentStatus, RouteStatus},
};
use serde_json::{Value, json};

pub use self::{candidate::Candidate, metrics::Metrics, writer::Writer};
use crate::{
    acceptance::{CONTROLLER, Verdict},
    model::Model,
    view::Route,
};

/// A status that is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The object.
    pub key: Key,
    /// What its `status` is to become: a merge patch, whose lists are whole.
    pub status: Value,
}

impl Model<'_> {
    /// Every status that is not as it should be. `now` is a time as RFC 3339 writes it.
    #[must_use]
    pub fn status_changes(&self, now: &str) -> Vec<Change> {
        self.view.cluster().objects().filter_map(|object| self.status_change(object, now)).collect()
    }

    /// What the status of an object is to become, unless it is that already or there is nothing to say of it.
    #[must_use]
    pub fn status_change(&self, object: &Object, now: &str) -> Option<Change> {
        let status = match object {
            Object::HTTPLocalRateLimitPolicy(it) => {
                let conditions = renewed(&[self.accepts_rate_limit(it)], &it.status.conditions, now);
                let is_same = conditions == it.status.conditions && it.status.target_ref.as_ref() == Some(&it.spec.target_ref);
                (!is_same).then(|| json!({"conditions": written(&conditions), "targetRef": reference(&it.spec.target_ref)}))
            }
            Object::EgressNetwork(it) => {
                let conditions = renewed(&[self.accepts_egress(it)], &it.status.conditions, now);
                (conditions != it.status.conditions).then(|| json!({"conditions": written(&conditions)}))
            }
            other => self.route_status(&Route::of(other)?, now),
        };
        Some(Change { key: object.key(), status: status? })
    }

    fn route_status(&self, route: &Route, now: &str) -> Option<Value> {
        let RouteStatus { parents: before } = route.status();
        let (own, others): (Vec<_>, Vec<_>) = before.iter().partition(|told| told.controller_name == CONTROLLER);
        let mut wanted: Vec<ParentStatus> = Vec::new();
        for parent in route.parents() {
            let Some(accepted) = self.accepts_route(route, parent) else { continue };
            if wanted.iter().any(|told| told.parent_ref == *parent) {
                continue;
            }
            let verdicts: Vec<_> = [accepted].into_iter().chain(self.resolves_backends(route, parent)).collect();
            let known = own.iter().find(|told| told.parent_ref == *parent).map_or(&[][..], |told| &told.conditions);
            let conditions = renewed(&verdicts, known, now);
            wanted.push(ParentStatus { parent_ref: parent.clone(), controller_name: CONTROLLER.to_owned(), conditions });
        }
        let is_same = own.len() == wanted.len() && wanted.iter().all(|told| own.contains(&told));
        (!is_same).then(|| json!({"parents": others.into_iter().chain(&wanted).map(parent).collect::<Vec<_>>()}))
    }
}

/// The verdicts as conditions. One that says what it said before is the same, its time included.
fn renewed(verdicts: &[Verdict], before: &[Condition], now: &str) -> Vec<Condition> {
    let condition = |verdict: &Verdict| {
        let status = if verdict.holds { "True" } else { "False" };
        let says = |known: &&Condition| {
            (&*known.kind, &*known.status, &*known.reason, &*known.message) == (verdict.kind, status, verdict.reason, verdict.message)
        };
        before.iter().find(says).cloned().unwrap_or_else(|| Condition {
            kind: verdict.kind.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.to_owned(),
            message: verdict.message.to_owned(),
            last_transition_time: Some(now.to_owned()),
            ..Condition::default()
        })
    };
    verdicts.iter().map(condition).collect()
}

/// The API server wants every one of these fields, empty or not.
fn written(conditions: &[Condition]) -> Vec<Value> {
    let one = |condition: &Condition| {
        let mut value = json!({
            "type": condition.kind,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": condition.last_transition_time,
        });
        if let Some(generation) = condition.observed_generation {
            value["observedGeneration"] = generation.into();
        }
        value
    };
    conditions.iter().map(one).collect()
}

fn parent(told: &ParentStatus) -> Value {
    json!({
        "parentRef": parent_ref(&told.parent_ref),
        "controllerName": told.controller_name,
        "conditions": written(&told.conditions),
    })
}

fn parent_ref(parent: &ParentRef) -> Value {
    let ParentRef { group, kind, namespace, name, section_name, port } = parent;
    let mut value = json!({"name": name});
    let texts = [("group", group), ("kind", kind), ("namespace", namespace), ("sectionName", section_name)];
    for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))) {
        value[key] = text.as_str().into();
    }
    if let Some(port) = port {
        value["port"] = (*port).into();
    }
    value
}

fn reference(target: &Reference) -> Value {
    json!({"group": target.group, "kind": target.kind, "name": target.name})
}

#[cfg(test)]
mod tests;
