use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use meshkit_wire::Refused;
use tokio::sync::watch;
use tracing::warn;

use super::{Counts, topic::Topic};
use crate::{model::Model, remark::Remark, view::Changes};

/// Questions of one kind, what they are about, and who waits for the answers.
#[derive(Debug)]
pub(super) struct Board<T: Topic> {
    questions: HashMap<T::Question, Asked<T>>,
    subjects: HashMap<T::Subject, Known<T::Answer>>,
    /// Counts the changes.
    change: u64,
    worked_out: u64,
}

#[derive(Debug)]
struct Asked<T: Topic> {
    subject: T::Subject,
    told: watch::Sender<Arc<T::Answer>>,
    /// What it was about is gone: the last answer stays.
    is_gone: bool,
}

/// What is known of a subject.
#[derive(Debug)]
struct Known<A> {
    answer: Arc<A>,
    scope: BTreeSet<String>,
    /// How many questions are about it.
    questions: usize,
    /// The change at which it was worked out.
    change: u64,
    remarks: Vec<Remark>,
}

impl<T: Topic> Board<T> {
    /// Waits for the answers to a question; the present one counts as seen.
    ///
    /// # Errors
    /// It is about nothing.
    pub(super) fn ask(&mut self, model: &Model<'_>, question: &T::Question) -> Result<watch::Receiver<Arc<T::Answer>>, Refused> {
        // Who watches what is gone goes on watching; who comes later is told.
        let subject = T::subject(model, question)?;
        if let Some(asked) = self.questions.get(question) {
            return Ok(asked.told.subscribe());
        }
        let (told, answers) = watch::channel(self.join(model, &subject));
        self.questions.insert(question.clone(), Asked { subject, told, is_gone: false });
        Ok(answers)
    }

    /// Forgets a question if nobody waits for its answers any more, and what it was about if no other question is.
    pub(super) fn leave(&mut self, question: &T::Question) {
        if self.questions.get(question).is_some_and(|asked| asked.told.receiver_count() == 0)
            && let Some(asked) = self.questions.remove(question)
        {
            self.part(&asked.subject);
        }
    }

    /// Works out what may be different after a change, and tells those whose answer is.
    pub(super) fn refresh(&mut self, model: &Model<'_>, changes: &Changes) {
        self.change += 1;
        let mut moved = Vec::new();
        for (question, asked) in self.questions.iter_mut().filter(|(question, _)| T::is_moved(changes, question)) {
            let now = T::subject(model, question).ok();
            asked.is_gone = now.is_none();
            moved.extend(now.filter(|now| *now != asked.subject).map(|now| (question.clone(), now)));
        }
        for (question, now) in moved {
            self.join(model, &now);
            if let Some(asked) = self.questions.get_mut(&question) {
                let before = mem::replace(&mut asked.subject, now);
                self.part(&before);
            }
        }
        self.work_out(model, T::changed(changes));
        for asked in self.questions.values().filter(|asked| !asked.is_gone) {
            let Some(known) = self.subjects.get(&asked.subject) else { continue };
            asked.told.send_if_modified(|told| {
                // Another subject may have an equal answer.
                let differs = !Arc::ptr_eq(told, &known.answer) && **told != *known.answer;
                *told = Arc::clone(&known.answer);
                differs
            });
        }
    }

    fn work_out(&mut self, model: &Model<'_>, changed: &BTreeSet<String>) {
        if changed.is_empty() {
            return;
        }
        let older = self.subjects.iter_mut().filter(|(_, known)| known.change < self.change);
        for (subject, known) in older {
            let scope = T::scope(model.view(), subject);
            // What went away was in the old scope, what came is in the new one.
            if known.scope.is_disjoint(changed) && scope.is_disjoint(changed) {
                continue;
            }
            self.worked_out += 1;
            (known.change, known.scope) = (self.change, scope);
            let answer = T::answer(model, subject);
            if *known.answer != answer {
                known.answer = Arc::new(answer);
            }
            known.remark(T::remarks(model, subject));
        }
    }

    /// One more question is about a subject.
    fn join(&mut self, model: &Model<'_>, subject: &T::Subject) -> Arc<T::Answer> {
        if let Some(known) = self.subjects.get_mut(subject) {
            known.questions += 1;
            return Arc::clone(&known.answer);
        }
        self.worked_out += 1;
        let answer = Arc::new(T::answer(model, subject));
        let (scope, change) = (T::scope(model.view(), subject), self.change);
        let mut known = Known { answer: Arc::clone(&answer), scope, questions: 1, change, remarks: Vec::new() };
        known.remark(T::remarks(model, subject));
        self.subjects.insert(subject.clone(), known);
        answer
    }

    /// One question fewer is about a subject.
    fn part(&mut self, subject: &T::Subject) {
        if let Some(known) = self.subjects.get_mut(subject) {
            known.questions -= 1;
            if known.questions == 0 {
                self.subjects.remove(subject);
            }
        }
    }

    pub(super) fn count(&self, counts: Counts) -> Counts {
        Counts {
            questions: counts.questions + self.questions.len(),
            answers: counts.answers + self.subjects.len(),
            worked_out: counts.worked_out + self.worked_out,
            ..counts
        }
    }
}

impl<A> Known<A> {
    /// Says what was not said before.
    fn remark(&mut self, remarks: Vec<Remark>) {
        for remark in remarks.iter().filter(|remark| !self.remarks.contains(remark)) {
            warn!(object = %remark.object(), why = %remark.why(), "an object has no effect, or not all of the effect that it asks for");
        }
        self.remarks = remarks;
    }
}

impl<T: Topic> Default for Board<T> {
    fn default() -> Self {
        Self { questions: HashMap::new(), subjects: HashMap::new(), change: 0, worked_out: 0 }
    }
}
