//! Wall-clock time, for what has a date: certificates and `Retry-After`.

use std::{fmt, time::SystemTime};

/// Tells the date. Lengths of time are measured by `tokio::time` instead.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The date now.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        // The one place where the date is read.
        #[allow(clippy::disallowed_methods)]
        SystemTime::now()
    }
}

/// A date that stands still, for tests.
impl Clock for SystemTime {
    fn now(&self) -> SystemTime {
        *self
    }
}
