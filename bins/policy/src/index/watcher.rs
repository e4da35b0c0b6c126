use std::{fmt, sync::Arc};

use tokio::sync::watch;

/// Somebody who waits for the answers to a question. A slow one finds the newest answer. Dropping the last watcher of an answer drops the answer.
#[derive(Debug)]
pub struct Watcher<A> {
    answers: watch::Receiver<Arc<A>>,
    // Behind the receiver: it is to be gone when the board looks who is left.
    _leave: Leave,
}

struct Leave(Option<Box<dyn FnOnce() + Send + Sync>>);

impl<A> Watcher<A> {
    pub(super) fn new(answers: watch::Receiver<Arc<A>>, leave: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { answers, _leave: Leave(Some(Box::new(leave))) }
    }

    /// The newest answer; it counts as seen.
    pub fn seen(&mut self) -> Arc<A> {
        Arc::clone(&self.answers.borrow_and_update())
    }

    /// The next answer that was not seen; the first one, if none was. `None` at the end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Arc<A>> {
        self.answers.changed().await.ok()?;
        Some(self.seen())
    }

    /// Is there an answer that was not seen? Not after the end.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.answers.has_changed().unwrap_or(false)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(leave) = self.0.take() {
            leave();
        }
    }
}

impl fmt::Debug for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leave")
    }
}
