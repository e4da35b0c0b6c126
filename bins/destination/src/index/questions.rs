use std::{collections::HashMap, sync::Arc};

use super::channel::Sender;
use crate::model::Text;
use meshkit_core::grpc::Code;
use meshkit_wire::Refused;

/// Questions that nobody waits for any more are looked for when there are this many, and again when their number has doubled.
pub(super) const FEW: usize = 64;

/// What is asked about a Service or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) port: u16,
    /// One endpoint of a Service.
    pub(super) instance: Option<Text>,
    /// What counts of the client: its node or its namespace.
    pub(super) client: Text,
}

/// A question that somebody waits for.
#[derive(Debug)]
pub(super) struct Asked<A> {
    pub(super) sender: Sender<A>,
    /// How many answers it has had.
    pub(super) answer_count: u64,
}

/// The questions about one thing.
pub(super) type Questions<A> = HashMap<Question, Asked<A>>;

impl<A> Asked<A> {
    pub(super) fn new(answer: Arc<A>) -> Self {
        Self { sender: Sender::new(answer), answer_count: 1 }
    }

    /// Tells the answer if it is another. Was it?
    pub(super) fn tell(&mut self, answer: Arc<A>) -> bool {
        let differs = !Arc::ptr_eq(&self.sender.borrow(), &answer);
        if differs {
            self.sender.send(answer);
            self.answer_count += 1;
        }
        differs
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.sender.receiver_count() > 0
    }
}

/// Forgets questions that nobody waits for; tells how many.
pub(super) fn sweep<A>(questions: &mut Questions<A>) -> usize {
    let count = questions.len();
    questions.retain(|_, asked| asked.is_waited_for());
    count - questions.len()
}

pub(super) fn too_many(max: usize) -> Refused {
    let what = format!("{max} different questions are watched, and more are not allowed: see the setting max_questions");
    Refused::new(Code::RESOURCE_EXHAUSTED, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_to_all_and_only_if_it_is_another() {
        let (one, two) = (Arc::new("one"), Arc::new("two"));
        let mut asked = Asked::new(Arc::clone(&one));
        let (first, second) = (asked.sender.subscribe(), asked.sender.subscribe());
        assert!(!asked.tell(one) && !first.has_changed().unwrap());
        assert!(asked.tell(Arc::clone(&two)));
        assert!(first.has_changed().unwrap() && Arc::ptr_eq(&second.borrow(), &two));
        assert_eq!(asked.answer_count, 2);
        drop((first, second));
        assert!(!asked.is_waited_for());
    }
}
