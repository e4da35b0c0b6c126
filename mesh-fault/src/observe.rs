use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Hears which trouble was made. Every method does nothing by default.
pub trait Observe {
    /// A request has to wait so long.
    fn delayed(&self, length: Duration) {
        let _ = length;
    }
    /// A request is answered with a planned failure.
    fn aborted(&self) {}
    /// A request is reset.
    fn reset(&self) {}
    /// A response is slowed down.
    fn throttled(&self) {}
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

/// How often trouble was made. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<[AtomicU64; 4]>);

impl Counts {
    fn add(&self, n: usize) {
        self.0[n].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self, n: usize) -> u64 {
        self.0[n].load(Ordering::Relaxed)
    }

    /// Requests that had to wait.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.read(0)
    }

    /// Requests that were answered with a planned failure.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        self.read(1)
    }

    /// Requests that were reset.
    #[must_use]
    pub fn reset(&self) -> u64 {
        self.read(2)
    }

    /// Responses that were slowed down.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.read(3)
    }
}

impl Observe for Counts {
    fn delayed(&self, _: Duration) {
        self.add(0);
    }
    fn aborted(&self) {
        self.add(1);
    }
    fn reset(&self) {
        self.add(2);
    }
    fn throttled(&self) {
        self.add(3);
    }
}
