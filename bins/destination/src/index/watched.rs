use std::{collections::HashMap, hash::Hash, sync::Arc};

use meshkit_core::grpc::Code;
use meshkit_wire::Refused;
use tokio::sync::watch;

/// Questions that nobody waits for any more are looked for when there are this many, and again when their number has doubled.
const FEW: usize = 64;

/// Questions, and who waits for their answers.
#[derive(Debug)]
pub(super) struct Watched<Q, A> {
    questions: HashMap<Q, watch::Sender<Arc<A>>>,
    sweep_at: usize,
}

impl<Q: Hash + Eq, A> Watched<Q, A> {
    /// Waits for the answers to a question, the present one first.
    ///
    /// # Errors
    /// It would be one question more than `max`.
    pub(super) fn subscribe(
        &mut self,
        question: Q,
        answer: impl FnOnce() -> Arc<A>,
        max: usize,
    ) -> Result<watch::Receiver<Arc<A>>, Refused> {
        if let Some(sender) = self.questions.get(&question) {
            return Ok(sender.subscribe());
        }
        self.sweep(max);
        if self.questions.len() >= max {
            let what = format!("{max} different questions are watched, and more are not allowed: see the setting max_questions");
            return Err(Refused::new(Code::RESOURCE_EXHAUSTED, what));
        }
        let (sender, receiver) = watch::channel(answer());
        self.questions.insert(question, sender);
        Ok(receiver)
    }

    /// Tells the answers that differ from the ones before, and forgets the questions that nobody waits for.
    pub(super) fn refresh(&mut self, mut answer: impl FnMut(&Q, &Arc<A>) -> Arc<A>) {
        self.questions.retain(|_, sender| sender.receiver_count() > 0);
        for (question, sender) in &self.questions {
            let next = answer(question, &sender.borrow());
            sender.send_if_modified(|known| {
                let differs = !Arc::ptr_eq(known, &next);
                *known = next;
                differs
            });
        }
    }

    fn sweep(&mut self, max: usize) {
        if self.questions.len() >= self.sweep_at.min(max) {
            self.questions.retain(|_, sender| sender.receiver_count() > 0);
            self.sweep_at = FEW.max(2 * self.questions.len());
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.questions.len()
    }
}

impl<Q, A> Default for Watched<Q, A> {
    fn default() -> Self {
        Self { questions: HashMap::new(), sweep_at: FEW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_is_told_to_all_and_only_if_it_is_another() {
        let mut watched = Watched::default();
        let (one, two) = (Arc::new("one"), Arc::new("two"));
        let mut first = watched.subscribe(1, || Arc::clone(&one), FEW).unwrap();
        let second = watched.subscribe(1, || unreachable!("it is known"), FEW).unwrap();
        assert!(Arc::ptr_eq(&first.borrow_and_update(), &second.borrow()));
        watched.refresh(|_, known| Arc::clone(known));
        assert!(!first.has_changed().unwrap());
        watched.refresh(|_, _| Arc::clone(&two));
        assert!(first.has_changed().unwrap() && Arc::ptr_eq(&second.borrow(), &two));
    }

    #[test]
    fn questions_without_watchers_are_forgotten() {
        let mut watched = Watched::default();
        let kept = watched.subscribe(0, || Arc::new(0), usize::MAX).unwrap();
        for question in 1..10 * FEW {
            drop(watched.subscribe(question, || Arc::new(question), usize::MAX));
        }
        assert!(watched.len() <= FEW + 1, "{} are kept", watched.len());
        watched.refresh(|_, known| Arc::clone(known));
        assert_eq!(watched.len(), 1);
        assert!(kept.has_changed().is_ok());
    }

    #[test]
    fn there_are_so_many_questions_and_no_more() {
        let mut watched = Watched::default();
        let mut ask = |question| watched.subscribe(question, || Arc::new(question), 2);
        let (first, second) = (ask(1).unwrap(), ask(2).unwrap());
        let refused = ask(3).unwrap_err();
        assert!(refused.code() == Code::RESOURCE_EXHAUSTED && refused.to_string().contains("max_questions"), "{refused}");
        assert!(ask(1).is_ok(), "who asks the same is not one more");
        drop(second);
        assert!(ask(3).is_ok(), "who is gone makes room");
        assert_eq!(**first.borrow(), 1);
    }
}
