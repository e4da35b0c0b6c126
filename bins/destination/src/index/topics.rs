//! Distinct answers, each worked out once per change that concerns it.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};

use meshkit_wire::profile::Profile;
use tracing::warn;

use super::Endpoints;
use crate::{
    model::{Fault, Model, Scope, Subject},
    target::Name,
};

/// The endpoints of names, by what the answer depends on.
#[derive(Debug, Default)]
pub(super) struct EndpointTopics {
    now: HashMap<Name, Vec<(Scope, Arc<Endpoints>)>>,
    /// The answers before the last change, for as long as new ones are compared to them.
    before: HashMap<Name, Vec<(Scope, Arc<Endpoints>)>>,
    /// Namespaces in which something has changed between the two.
    changed: HashSet<String>,
    last: u64,
}

/// Profiles by their subjects.
#[derive(Debug, Default)]
pub(super) struct ProfileTopics {
    now: HashMap<Subject, ProfileTopic>,
    before: HashMap<Subject, ProfileTopic>,
    changed: HashSet<String>,
}

#[derive(Clone, Debug)]
struct ProfileTopic {
    profile: Arc<Profile>,
    faults: Vec<Fault>,
    is_in_force: bool,
}

impl EndpointTopics {
    /// Begins to answer anew, for something has changed in these namespaces.
    pub(super) fn next(&mut self, changed: HashSet<String>) {
        self.before = mem::take(&mut self.now);
        self.changed = changed;
    }

    /// Nothing is compared to earlier answers any more.
    pub(super) fn forget(&mut self) {
        self.before = HashMap::new();
    }

    /// The answer. Equal ones are one.
    pub(super) fn answer(&mut self, model: &Model<'_>, name: &Name, scope: Scope) -> Arc<Endpoints> {
        let present = self.now.get(name).map_or(&[][..], Vec::as_slice);
        if let Some((_, known)) = present.iter().find(|(of, _)| *of == scope) {
            return Arc::clone(known);
        }
        let before = self.before.get(name).and_then(|all| all.iter().find(|(of, _)| *of == scope)).map(|(_, before)| before);
        let answer = match before.filter(|_| !model.concerns(name, &self.changed)) {
            Some(before) => Arc::clone(before),
            None => {
                // A Service that is gone has no endpoints; it may come back.
                let set = model.endpoints(name, &scope).unwrap_or_default();
                let same = before.into_iter().chain(present.iter().map(|(_, other)| other)).find(|known| known.set == set);
                same.cloned().unwrap_or_else(|| {
                    self.last += 1;
                    let step = before.map(|before| before.set.updates_to(&set)).unwrap_or_default();
                    Arc::new(Endpoints { set, number: self.last, before: before.map(|before| before.number), step })
                })
            }
        };
        self.now.entry(name.clone()).or_default().push((scope, Arc::clone(&answer)));
        answer
    }
}

impl ProfileTopics {
    /// Begins to answer anew, for something has changed in these namespaces.
    pub(super) fn next(&mut self, changed: HashSet<String>) {
        self.before = mem::take(&mut self.now);
        self.changed = changed;
    }

    /// Nothing is compared to earlier answers any more.
    pub(super) fn forget(&mut self) {
        self.before = HashMap::new();
    }

    /// The profile, and whether it is what the objects say now. If they cannot be read, it is what they said last, or without any profile
    /// object the Service would have. Equal ones are one.
    pub(super) fn answer(&mut self, model: &Model<'_>, subject: Subject) -> (Arc<Profile>, bool) {
        if let Some(topic) = self.now.get(&subject) {
            return (Arc::clone(&topic.profile), topic.is_in_force);
        }
        let before = self.before.get(&subject);
        if let Some(before) = before.filter(|_| !subject.is_concerned(&self.changed)) {
            let topic = before.clone();
            let answer = (Arc::clone(&topic.profile), topic.is_in_force);
            self.now.insert(subject, topic);
            return answer;
        }
        let same = |profile: Profile| match before {
            Some(before) if *before.profile == profile => Arc::clone(&before.profile),
            _ => Arc::new(profile),
        };
        let topic = match model.profile(&subject) {
            Ok(reading) => ProfileTopic { profile: same(reading.profile), faults: reading.faults, is_in_force: true },
            Err(fault) => {
                let kept = before.map(|before| Arc::clone(&before.profile));
                let profile = kept.unwrap_or_else(|| Arc::new(model.plain_profile(&subject)));
                ProfileTopic { profile, faults: vec![fault], is_in_force: false }
            }
        };
        if before.is_none_or(|before| before.faults != topic.faults) {
            report(&subject, &topic);
        }
        let answer = (Arc::clone(&topic.profile), topic.is_in_force);
        self.now.insert(subject, topic);
        answer
    }
}

fn report(subject: &Subject, topic: &ProfileTopic) {
    let Subject::Service { name, namespace, profile: Some(of), .. } = subject else { return };
    let consequence = if topic.is_in_force { "it is left out" } else { "the profile before stays in force" };
    for fault in &topic.faults {
        warn!(service = %name, %namespace, profile.namespace = %of, %fault, consequence, "a part of a ServiceProfile cannot be used");
    }
}
