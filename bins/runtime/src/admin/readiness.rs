use std::sync::Arc;

use tokio::sync::watch;

/// Whether a program is ready: every latch that was made is released. It never becomes unready again.
///
/// Clones are the same state. Without a latch it is ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    waiting: Arc<watch::Sender<usize>>,
}

/// Holds readiness back until it is released. Dropping it instead holds readiness back for ever: what it stood for never
/// happened.
#[derive(Debug)]
#[must_use = "the program never becomes ready if the latch is dropped"]
pub struct Latch {
    waiting: Arc<watch::Sender<usize>>,
}

impl Readiness {
    /// Ready, until a latch is made.
    #[must_use]
    pub fn new() -> Self {
        Self { waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// One more thing to wait for. Latches are made before the server starts.
    pub fn latch(&self) -> Latch {
        self.waiting.send_modify(|waiting| *waiting += 1);
        Latch { waiting: Arc::clone(&self.waiting) }
    }

    /// Is every latch released?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.waiting.borrow() == 0
    }

    /// Waits until every latch is released.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ready(&self) {
        // The sender is held here, so the wait ends only with the last latch.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting == 0).await;
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Latch {
    /// What the latch stood for has happened.
    pub fn release(self) {
        self.waiting.send_modify(|waiting| *waiting -= 1);
    }
}
