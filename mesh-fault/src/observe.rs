use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Hears which trouble was made, when it is made. Every method does nothing by default.
///
/// A request that a client gives up while it is held back has been delayed, and nothing else.
pub trait Observe {
    /// A request begins to wait, for so long.
    fn delayed(&self, length: Duration) {
        let _ = length;
    }
    /// A request has got a planned failure.
    fn aborted(&self) {}
    /// A request has been reset.
    fn reset(&self) {}
    /// A response has come, and its data will be slowed down.
    fn throttled(&self) {}
}

/// How often trouble was made. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    delayed: AtomicU64,
    aborted: AtomicU64,
    reset: AtomicU64,
    throttled: AtomicU64,
}

impl Observe for () {}

impl<O: Observe + ?Sized> Observe for Arc<O> {
    fn delayed(&self, length: Duration) {
        (**self).delayed(length);
    }
    fn aborted(&self) {
        (**self).aborted();
    }
    fn reset(&self) {
        (**self).reset();
    }
    fn throttled(&self) {
        (**self).throttled();
    }
}

impl Counts {
    /// Requests that had to wait.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.0.delayed.load(Relaxed)
    }

    /// Requests that were answered with a planned failure.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        self.0.aborted.load(Relaxed)
    }

    /// Requests that were reset.
    #[must_use]
    pub fn reset(&self) -> u64 {
        self.0.reset.load(Relaxed)
    }

    /// Responses that were slowed down.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.0.throttled.load(Relaxed)
    }
}

impl Observe for Counts {
    fn delayed(&self, _: Duration) {
        self.0.delayed.fetch_add(1, Relaxed);
    }
    fn aborted(&self) {
        self.0.aborted.fetch_add(1, Relaxed);
    }
    fn reset(&self) {
        self.0.reset.fetch_add(1, Relaxed);
    }
    fn throttled(&self) {
        self.0.throttled.fetch_add(1, Relaxed);
    }
}
