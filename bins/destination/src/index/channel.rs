//! The newest answer to a question, for all who wait for it.
//!
//! A value that is seen by many and replaced seldom, as in `tokio::sync::watch`, but for many thousand questions with a few watchers each: a
//! question takes a hundred bytes instead of five hundred, and who waits is a waker in a list instead of a future.

use std::{
    fmt,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Tells the newest answer. When it is dropped, the answers end.
pub(super) struct Sender<A>(Arc<Channel<A>>);

/// Waits for the newest answer, and never for one in between.
pub struct Receiver<A> {
    channel: Arc<Channel<A>>,
    place: usize,
    seen: u64,
}

/// There will be no further answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

struct Channel<A>(Mutex<State<A>>);

struct State<A> {
    answer: Arc<A>,
    /// Counts the answers from one on.
    version: u64,
    has_ended: bool,
    receiver_count: usize,
    places: Vec<Place>,
}

enum Place {
    Free,
    Taken,
    Waits(Waker),
}

impl<A> Sender<A> {
    pub(super) fn new(answer: Arc<A>) -> Self {
        let state = State { answer, version: 1, has_ended: false, receiver_count: 0, places: Vec::new() };
        Self(Arc::new(Channel(Mutex::new(state))))
    }

    /// A receiver that has seen the present answer.
    pub(super) fn subscribe(&self) -> Receiver<A> {
        let mut state = self.0.lock();
        state.receiver_count += 1;
        let has_free = state.receiver_count <= state.places.len();
        let free = has_free.then(|| state.places.iter().position(|place| matches!(place, Place::Free))).flatten();
        let place = free.unwrap_or(state.places.len());
        match free {
            Some(free) => state.places[free] = Place::Taken,
            None => {
                // As a rule there is one receiver and no second.
                state.places.reserve_exact(place.clamp(1, 64));
                state.places.push(Place::Taken);
            }
        }
        Receiver { channel: Arc::clone(&self.0), place, seen: state.version }
    }

    pub(super) fn send(&self, answer: Arc<A>) {
        let mut state = self.0.lock();
        let before = mem::replace(&mut state.answer, answer);
        state.version += 1;
        let waiting = state.take_waiting();
        drop(state);
        // What is dropped or woken may come back here, and finds the lock open.
        drop(before);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn borrow(&self) -> Arc<A> {
        Arc::clone(&self.0.lock().answer)
    }

    pub(super) fn receiver_count(&self) -> usize {
        self.0.lock().receiver_count
    }
}

impl<A> Receiver<A> {
    /// The newest answer, which stays unseen if it was.
    #[must_use]
    pub fn borrow(&self) -> Arc<A> {
        Arc::clone(&self.channel.lock().answer)
    }

    /// The newest answer, which now is seen.
    pub fn borrow_and_update(&mut self) -> Arc<A> {
        let state = self.channel.lock();
        self.seen = state.version;
        Arc::clone(&state.answer)
    }

    /// Is there an answer that is not seen yet?
    ///
    /// # Errors
    /// There is none, and there will be none.
    pub fn has_changed(&self) -> Result<bool, Ended> {
        let state = self.channel.lock();
        match state.version != self.seen {
            false if state.has_ended => Err(Ended),
            differs => Ok(differs),
        }
    }

    /// Makes the present answer one that is not seen yet.
    pub fn mark_changed(&mut self) {
        self.seen = 0;
    }

    /// Makes the present answer one that is seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.channel.lock().version;
    }

    /// Waits for an answer that is not seen yet, which then is seen.
    ///
    /// # Errors
    /// There will be none.
    ///
    /// # Cancel safety
    /// Nothing is lost: an answer counts as seen only when this returns.
    pub async fn changed(&mut self) -> Result<(), Ended> {
        poll_fn(|cx| self.poll_changed(cx)).await.map(drop)
    }

    /// As [`changed`](Self::changed), with the answer.
    pub(crate) fn poll_changed(&mut self, cx: &Context<'_>) -> Poll<Result<Arc<A>, Ended>> {
        let mut state = self.channel.lock();
        if state.version != self.seen {
            self.seen = state.version;
            return Poll::Ready(Ok(Arc::clone(&state.answer)));
        }
        if state.has_ended {
            return Poll::Ready(Err(Ended));
        }
        match &mut state.places[self.place] {
            Place::Waits(waker) => waker.clone_from(cx.waker()),
            place => *place = Place::Waits(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl<A> Channel<A> {
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        // Nothing that may panic happens under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> State<A> {
    fn take_waiting(&mut self) -> Vec<Waker> {
        let waiting = self.places.iter_mut().filter(|place| matches!(place, Place::Waits(_)));
        let taken = waiting.map(|place| mem::replace(place, Place::Taken));
        taken.filter_map(|place| if let Place::Waits(waker) = place { Some(waker) } else { None }).collect()
    }
}

impl<A> Drop for Sender<A> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.has_ended = true;
        let waiting = state.take_waiting();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl<A> Drop for Receiver<A> {
    fn drop(&mut self) {
        let mut state = self.channel.lock();
        state.receiver_count -= 1;
        let place = mem::replace(&mut state.places[self.place], Place::Free);
        if state.receiver_count == 0 {
            state.places = Vec::new();
        }
        drop(state);
        drop(place);
    }
}

impl<A> fmt::Debug for Sender<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("receiver_count", &self.receiver_count()).finish_non_exhaustive()
    }
}

impl<A> fmt::Debug for Receiver<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there will be no further answer")
    }
}

impl std::error::Error for Ended {}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_receiver_is_woken_once_for_answers_that_it_has_not_seen() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let sender = Sender::new(Arc::new(1));
        let (mut one, mut two) = (sender.subscribe(), sender.subscribe());
        assert!(one.poll_changed(&cx).is_pending() && one.poll_changed(&cx).is_pending() && two.poll_changed(&cx).is_pending());
        sender.send(Arc::new(2));
        sender.send(Arc::new(3));
        assert_eq!(woken.0.load(Ordering::Relaxed), 2, "a second answer wakes nobody who has not looked");
        assert_eq!(one.poll_changed(&cx), Poll::Ready(Ok(Arc::new(3))), "and the one in between is never seen");
        assert!(one.poll_changed(&cx).is_pending() && two.has_changed() == Ok(true));
        two.mark_unchanged();
        assert_eq!(two.has_changed(), Ok(false));
        two.mark_changed();
        assert_eq!(two.poll_changed(&cx), Poll::Ready(Ok(Arc::new(3))));
    }

    #[test]
    fn the_last_answer_is_seen_before_the_end() {
        let cx = Context::from_waker(Waker::noop());
        let sender = Sender::new(Arc::new(1));
        let mut receiver = sender.subscribe();
        sender.send(Arc::new(2));
        drop(sender);
        assert_eq!(receiver.has_changed(), Ok(true));
        assert_eq!(receiver.poll_changed(&cx), Poll::Ready(Ok(Arc::new(2))));
        assert_eq!((receiver.poll_changed(&cx), receiver.has_changed()), (Poll::Ready(Err(Ended)), Err(Ended)));
        assert_eq!(*receiver.borrow(), 2);
    }

    #[test]
    fn who_leaves_makes_room() {
        let sender = Sender::new(Arc::new(1));
        let mut all: Vec<_> = (0..10).map(|_| sender.subscribe()).collect();
        all.remove(3);
        let cx = Context::from_waker(Waker::noop());
        assert!(all.iter_mut().all(|receiver| receiver.poll_changed(&cx).is_pending()));
        all.push(sender.subscribe());
        assert_eq!((sender.receiver_count(), sender.0.lock().places.len()), (10, 10));
        sender.send(Arc::new(2));
        assert!(all.iter_mut().all(|receiver| receiver.poll_changed(&cx).is_ready()));
        drop(all);
        assert_eq!((sender.receiver_count(), sender.0.lock().places.capacity()), (0, 0));
    }
}
