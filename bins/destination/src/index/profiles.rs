//! The profiles that somebody watches.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use meshkit_wire::{Refused, profile::Profile};
use tracing::warn;

use super::{
    Described, Receiver,
    endpoints::name,
    questions::{Asked, FEW, Question, Questions, sweep, too_many},
};
use crate::{
    model::{Fault, Model, ServiceKey, Subject},
    target::{Context, Target},
};

/// What a profile is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Service(Arc<ServiceKey>),
    Ip(IpAddr),
}

/// Watched profiles.
#[derive(Debug)]
pub(super) struct ProfileTopics {
    places: HashMap<Place, Questions<Described>>,
    /// The profiles by what they are about: several questions may be about one thing.
    subjects: HashMap<Subject, Topic>,
    count: usize,
    sweep_at: usize,
}

#[derive(Clone, Debug)]
struct Topic {
    profile: Arc<Described>,
    faults: Vec<Fault>,
    is_in_force: bool,
}

impl ProfileTopics {
    /// Waits for the profiles of a subject, the present one first.
    pub(super) fn subscribe(
        &mut self,
        place: &Place,
        question: Question,
        subject: Subject,
        model: &Model<'_>,
        max: usize,
    ) -> Result<Receiver<Described>, Refused> {
        if let Some(asked) = self.places.get(place).and_then(|questions| questions.get(&question)) {
            return Ok(asked.sender.subscribe());
        }
        if self.count >= self.sweep_at.min(max) {
            self.sweep();
        }
        if self.count >= max {
            return Err(too_many(max));
        }
        let asked = Asked::new(self.answer(model, subject).0);
        let receiver = asked.sender.subscribe();
        self.places.entry(place.clone()).or_default().insert(question, asked);
        self.count += 1;
        Ok(receiver)
    }

    /// Answers what is asked about a Service or an address anew. `told` hears of each question that has another answer.
    pub(super) fn refresh(&mut self, place: &Place, model: &Model<'_>, told: &mut impl FnMut(&Target, &str)) {
        let Some(mut questions) = self.places.remove(place) else { return };
        self.count -= sweep(&mut questions);
        if questions.is_empty() {
            return;
        }
        let mut done = HashSet::new();
        for (question, asked) in &mut questions {
            let target = place.target(question);
            let subject = model.subject(&target, &Context { ns: question.client.to_string(), ..Context::default() });
            // What is gone keeps its last profile.
            let Ok(subject) = subject else { continue };
            let (profile, is_in_force) = match self.subjects.get(&subject).filter(|_| done.contains(&subject)) {
                Some(topic) => (Arc::clone(&topic.profile), topic.is_in_force),
                None => {
                    done.insert(subject.clone());
                    self.answer(model, subject)
                }
            };
            if is_in_force && asked.tell(profile) {
                told(&target, &question.client);
            }
        }
        self.places.insert(place.clone(), questions);
        if self.subjects.len() > FEW.max(2 * self.count) {
            self.forget_subjects();
        }
    }

    /// The profile, and whether it is what the objects say now. If they cannot be read, it is what they said last, or without any profile
    /// object the Service would have. Equal ones are one.
    fn answer(&mut self, model: &Model<'_>, subject: Subject) -> (Arc<Described>, bool) {
        let before = self.subjects.get(&subject);
        let same = |profile: Profile| match before {
            Some(before) if **before.profile == profile => Arc::clone(&before.profile),
            _ => Arc::new(Described::new(profile)),
        };
        let topic = match model.profile(&subject) {
            Ok(reading) => Topic { profile: same(reading.profile), faults: reading.faults, is_in_force: true },
            Err(fault) => {
                let kept = before.map(|before| Arc::clone(&before.profile));
                let profile = kept.unwrap_or_else(|| Arc::new(Described::new(model.plain_profile(&subject))));
                Topic { profile, faults: vec![fault], is_in_force: false }
            }
        };
        if before.is_none_or(|before| before.faults != topic.faults) {
            report(&subject, &topic);
        }
        let answer = (Arc::clone(&topic.profile), topic.is_in_force);
        self.subjects.insert(subject, topic);
        answer
    }

    /// Forgets what nobody waits for.
    pub(super) fn sweep(&mut self) {
        self.places.retain(|_, questions| {
            self.count -= sweep(questions);
            !questions.is_empty()
        });
        self.places.shrink_to(FEW.max(2 * self.places.len()));
        self.forget_subjects();
        self.sweep_at = FEW.max(2 * self.count);
    }

    fn forget_subjects(&mut self) {
        self.subjects.retain(|_, topic| Arc::strong_count(&topic.profile) > 1);
        self.subjects.shrink_to(FEW.max(2 * self.subjects.len()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Target, &Question, &Asked<Described>)> {
        self.places
            .iter()
            .flat_map(|(place, questions)| questions.iter().map(move |(question, asked)| (place.target(question), question, asked)))
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }
}

impl Default for ProfileTopics {
    fn default() -> Self {
        Self { places: HashMap::new(), subjects: HashMap::new(), count: 0, sweep_at: FEW }
    }
}

impl Place {
    fn target(&self, question: &Question) -> Target {
        match self {
            Self::Service(key) => Target::Name(name(key, question)),
            Self::Ip(ip) => Target::Addr(SocketAddr::new(*ip, question.port)),
        }
    }
}

fn report(subject: &Subject, topic: &Topic) {
    let Subject::Service { name, namespace, profile: Some(of), .. } = subject else { return };
    let consequence = if topic.is_in_force { "it is left out" } else { "the profile before stays in force" };
    for fault in &topic.faults {
        warn!(service = %name, %namespace, profile.namespace = %of, %fault, consequence, "a part of a ServiceProfile cannot be used");
    }
}
