use std::{collections::VecDeque, task::Waker};

use tokio::time::Instant;

/// Requests that wait for an endpoint, in the order in which they came. They stay with their callers: the queue holds only their wakers.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    capacity: usize,
    next: u64,
    // Tickets below this one have failed.
    failed: u64,
    // Since when nothing was ready for those who wait.
    starved_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    waker: Waker,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), capacity, next: 0, failed: 0, starved_at: None }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.capacity
    }

    /// Takes a place at the end; `None` if there is none left.
    pub(super) fn join(&mut self, waker: Waker) -> Option<u64> {
        if self.is_full() {
            return None;
        }
        let ticket = self.next;
        self.next += 1;
        self.waiting.push_back(Waiting { ticket, waker });
        Some(ticket)
    }

    /// Goes on waiting at the same place.
    pub(super) fn stay(&mut self, ticket: u64, waker: &Waker) {
        if let Ok(at) = self.find(ticket) {
            self.waiting[at].waker.clone_from(waker);
        }
    }

    /// Gives the place up; false if it was lost before.
    pub(super) fn leave(&mut self, ticket: u64) -> bool {
        let left = self.find(ticket).ok().and_then(|at| self.waiting.remove(at)).is_some();
        if self.waiting.is_empty() {
            self.starved_at = None;
        }
        left
    }

    pub(super) fn has_failed(&self, ticket: u64) -> bool {
        ticket < self.failed
    }

    /// Who is to be woken next.
    pub(super) fn front(&self) -> Option<Waker> {
        self.waiting.front().map(|w| w.waker.clone())
    }

    /// Nothing is ready: the time runs, if it does not already and somebody waits. True if it has begun to.
    pub(super) fn starve(&mut self, now: Instant) -> bool {
        let begins = self.starved_at.is_none() && !self.waiting.is_empty();
        if begins {
            self.starved_at = Some(now);
        }
        begins
    }

    /// Something is ready: the time stops.
    pub(super) fn feed(&mut self) {
        self.starved_at = None;
    }

    pub(super) fn starved_at(&self) -> Option<Instant> {
        self.starved_at
    }

    /// Fails everyone who waits, and returns whom to wake.
    pub(super) fn fail(&mut self) -> Vec<Waker> {
        self.failed = self.next;
        self.starved_at = None;
        self.waiting.drain(..).map(|w| w.waker).collect()
    }

    fn find(&self, ticket: u64) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&ticket, |w| w.ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn places_are_kept_and_the_time_runs_only_while_somebody_waits() {
        let (mut queue, now) = (Queue::new(2), Instant::now());
        assert!(!queue.starve(now), "nobody waits");
        let first = queue.join(Waker::noop().clone()).unwrap();
        let second = queue.join(Waker::noop().clone()).unwrap();
        assert_eq!(queue.join(Waker::noop().clone()), None);
        assert!(queue.starve(now));
        assert!(!queue.starve(now));
        assert!(queue.leave(first));
        assert!(!queue.leave(first));
        assert_eq!(queue.starved_at(), Some(now));
        assert!(queue.leave(second));
        assert_eq!(queue.starved_at(), None);
    }

    #[test]
    fn failing_takes_those_who_wait_and_nobody_later() {
        let mut queue = Queue::new(8);
        let early = queue.join(Waker::noop().clone()).unwrap();
        assert_eq!(queue.fail().len(), 1);
        let late = queue.join(Waker::noop().clone()).unwrap();
        assert!(queue.has_failed(early) && !queue.has_failed(late));
    }
}
