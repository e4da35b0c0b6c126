//! The endpoints of Services that somebody watches.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};

use meshkit_wire::Refused;

use super::{
    Endpoints, Receiver,
    questions::{Asked, FEW, Question, Questions, sweep, too_many},
};
use crate::{
    model::{Model, Scope, ServiceKey, Text},
    target::{Context, Name},
};

/// Watched Services.
#[derive(Debug)]
pub(super) struct EndpointTopics {
    services: HashMap<Arc<ServiceKey>, Topic>,
    count: usize,
    sweep_at: usize,
    last: u64,
}

/// What is asked about one Service, and the answers to it. They are right whenever the Service is not among what has changed.
#[derive(Debug, Default)]
struct Topic {
    questions: Questions<Endpoints>,
    answers: Answers,
}

/// Answers by port, instance, and what else they depend on.
type Answers = HashMap<(u16, Option<Text>, Scope), Arc<Endpoints>>;

impl EndpointTopics {
    /// Waits for the answers to a question, the present one first.
    pub(super) fn subscribe(
        &mut self,
        key: &Arc<ServiceKey>,
        question: Question,
        model: &Model<'_>,
        max: usize,
    ) -> Result<Receiver<Endpoints>, Refused> {
        if let Some(asked) = self.services.get(key).and_then(|topic| topic.questions.get(&question)) {
            return Ok(asked.sender.subscribe());
        }
        if self.count >= self.sweep_at.min(max) {
            self.sweep();
        }
        if self.count >= max {
            return Err(too_many(max));
        }
        let topic = self.services.entry(Arc::clone(key)).or_default();
        let answer = answer(&mut topic.answers, &Answers::new(), &mut self.last, key, &question, model);
        let asked = Asked::new(answer);
        let receiver = asked.sender.subscribe();
        topic.questions.insert(question, asked);
        self.count += 1;
        Ok(receiver)
    }

    /// Answers what is asked about a Service anew. `told` hears of each question that has another answer.
    pub(super) fn refresh(&mut self, key: &ServiceKey, model: &Model<'_>, told: &mut impl FnMut(&Name, &str, &Endpoints)) {
        let Some((key, _)) = self.services.get_key_value(key) else { return };
        let key = Arc::clone(key);
        let Some(topic) = self.services.get_mut(&key) else { return };
        self.count -= sweep(&mut topic.questions);
        if topic.questions.is_empty() {
            self.services.remove(&key);
            return;
        }
        let before = mem::take(&mut topic.answers);
        for (question, asked) in &mut topic.questions {
            let answer = answer(&mut topic.answers, &before, &mut self.last, &key, question, model);
            if asked.tell(Arc::clone(&answer)) {
                told(&name(&key, question), &question.client, &answer);
            }
        }
    }

    /// Services that clients of these nodes ask for.
    pub(super) fn asked_by(&self, nodes: &HashSet<Text>) -> Vec<Arc<ServiceKey>> {
        let is_concerned = |topic: &Topic| topic.questions.keys().any(|question| nodes.contains(&question.client));
        self.services.iter().filter(|(_, topic)| is_concerned(topic)).map(|(key, _)| Arc::clone(key)).collect()
    }

    /// Forgets what nobody waits for.
    pub(super) fn sweep(&mut self) {
        self.services.retain(|_, topic| {
            self.count -= sweep(&mut topic.questions);
            !topic.questions.is_empty()
        });
        self.services.shrink_to(FEW.max(2 * self.services.len()));
        self.sweep_at = FEW.max(2 * self.count);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &Question, &Asked<Endpoints>)> {
        self.services.iter().flat_map(|(key, topic)| topic.questions.iter().map(|(question, asked)| (&**key, question, asked)))
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }
}

impl Default for EndpointTopics {
    fn default() -> Self {
        Self { services: HashMap::new(), count: 0, sweep_at: FEW, last: 0 }
    }
}

/// The answer to a question, which may be one that is there already. Equal ones are one.
fn answer(
    present: &mut Answers,
    before: &Answers,
    last: &mut u64,
    key: &ServiceKey,
    question: &Question,
    model: &Model<'_>,
) -> Arc<Endpoints> {
    let name = name(key, question);
    let scope = model.scope(&name, &Context { node_name: question.client.to_string(), ..Context::default() });
    let slot = (question.port, question.instance.clone(), scope);
    if let Some(known) = present.get(&slot) {
        return Arc::clone(known);
    }
    // A Service that is gone has no endpoints; it may come back.
    let found = model.endpoints(&name, &slot.2);
    let (exists, set, labels) = (found.is_ok(), found.unwrap_or_default(), model.set_labels(&name));
    let before = before.get(&slot);
    let others = present.iter().filter(|((port, instance, _), _)| (port, instance) == (&slot.0, &slot.1)).map(|(_, other)| other);
    let same = before
        .into_iter()
        .chain(others.clone())
        .find(|known| known.exists == exists && *known.labels == labels && known.set == set)
        .cloned();
    let answer = same.unwrap_or_else(|| {
        let set = before.into_iter().chain(others.clone()).fold(set, |set, other| set.like(&other.set));
        *last += 1;
        let labels = match before {
            Some(before) if *before.labels == labels => Arc::clone(&before.labels),
            _ => Arc::new(labels),
        };
        Arc::new(Endpoints::new(set, labels, exists, *last, before.map(|before| &**before)))
    });
    present.insert(slot, Arc::clone(&answer));
    answer
}

pub(super) fn name(key: &ServiceKey, question: &Question) -> Name {
    Name {
        instance: question.instance.as_deref().map(str::to_owned),
        service: key.name.to_string(),
        namespace: key.namespace.to_string(),
        port: question.port,
    }
}
