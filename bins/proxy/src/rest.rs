//! A pause for a server that refuses connections, so that requests go elsewhere meanwhile.

use std::{
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use meshkit_core::{Backoff, Dice};
use tokio::time::{Instant, Sleep, sleep_until};

/// Whether a server is given a rest; shared by all who send to it.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// The state without its lock, for the many requests that find nothing here.
    refuses: AtomicBool,
    since: Mutex<Refusals>,
}

#[derive(Debug, Default)]
struct Refusals {
    /// In a row.
    count: u32,
    until: Option<Instant>,
}

/// One sender's wait for the end of the pause.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<Pin<Box<Sleep>>>);

impl Rest {
    /// A connection could not be opened: the pause begins, longer each time. Failures during a pause were begun before it, and prolong nothing.
    pub(crate) fn refused(&self, backoff: &Backoff, dice: &Dice) {
        let now = Instant::now();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.until.is_some_and(|until| now < until) {
            return;
        }
        since.until = Some(now + backoff.delay(since.count, dice));
        since.count = since.count.saturating_add(1);
        self.refuses.store(true, Ordering::Release);
    }

    /// A connection was opened.
    pub(crate) fn accepted(&self) {
        if self.refuses.load(Ordering::Acquire) {
            *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Refusals::default();
            self.refuses.store(false, Ordering::Release);
        }
    }

    fn until(&self) -> Option<Instant> {
        if !self.refuses.load(Ordering::Acquire) {
            return None;
        }
        self.since.lock().unwrap_or_else(PoisonError::into_inner).until.filter(|until| Instant::now() < *until)
    }
}

impl Waiting {
    /// Ready when there is no pause.
    pub(crate) fn poll(&mut self, rest: &Rest, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(until) = rest.until() else {
                self.0 = None;
                return Poll::Ready(());
            };
            let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            std::task::ready!(sleep.as_mut().poll(cx));
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const MIN: Duration = Duration::from_millis(100);

    async fn wait(rest: &Rest) -> Duration {
        let begun = Instant::now();
        let mut waiting = Waiting::default();
        poll_fn(|cx| waiting.poll(rest, cx)).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_followed_by_a_pause_that_grows_until_a_connection_is_accepted() {
        let (rest, dice) = (Rest::default(), Dice::new(1));
        let backoff = Backoff::new(MIN, Duration::from_secs(1), 0.0).unwrap();
        assert_eq!(wait(&rest).await, Duration::ZERO);

        rest.refused(&backoff, &dice);
        // Begun before the pause.
        rest.refused(&backoff, &dice);
        assert!(wait(&rest).await.abs_diff(MIN) <= Duration::from_millis(1));
        rest.refused(&backoff, &dice);
        assert!(wait(&rest).await >= MIN * 2);

        rest.refused(&backoff, &dice);
        rest.accepted();
        assert_eq!(wait(&rest).await, Duration::ZERO);
        rest.refused(&backoff, &dice);
        assert!(wait(&rest).await.abs_diff(MIN) <= Duration::from_millis(1));
    }
}
