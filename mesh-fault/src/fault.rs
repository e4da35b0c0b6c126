use std::{num::NonZeroU64, ops::Deref, sync::Arc, time::Duration};

use http::StatusCode;
use meshkit_core::{Cause, Ratio, grpc::Code};

use crate::{Delay, Peers};

/// What goes wrong, for which share of the requests, and for whom.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// To which share of the requests of these peers.
    pub share: Ratio,
    /// Whose requests are meant.
    pub from: Peers,
}

/// What may happen to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// It waits before it is sent.
    Delay(Delay),
    /// It is answered in place of the service.
    Abort(Abort),
    /// Its response comes slowly.
    Throttle(Rate),
    /// Its connection or stream is reset.
    Reset,
}

/// A planned answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Abort {
    /// An HTTP status.
    Status(StatusCode),
    /// A gRPC code.
    Code(Code),
}

/// Bytes of response data a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

/// All faults of a route, each with a roll of its own. Delays add up and come first; a reset goes before an abort, the first abort counts, and
/// so does the slowest rate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(Arc<[Fault]>);

impl Fault {
    /// Happens to every request of everybody.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, share: Ratio::ONE, from: Peers::Everybody }
    }

    /// Happens to this share of the requests only.
    #[must_use]
    pub const fn share(mut self, share: Ratio) -> Self {
        self.share = share;
        self
    }

    /// Happens to requests of these peers only.
    #[must_use]
    pub fn from(mut self, peers: Peers) -> Self {
        self.from = peers;
        self
    }
}

impl Abort {
    pub(crate) const fn cause(self) -> Cause {
        match self {
            Self::Status(status) => Cause::InjectedStatus(status),
            Self::Code(code) => Cause::InjectedCode(code),
        }
    }
}

impl Rate {
    /// Returns `None` for zero: a response that never moves is a delay.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Option<Self> {
        NonZeroU64::new(bytes_per_second).map(Self)
    }

    /// Bytes a second.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// How long so many bytes take.
    #[must_use]
    pub fn time_of(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl From<Vec<Fault>> for Faults {
    fn from(faults: Vec<Fault>) -> Self {
        Self(faults.into())
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(Arc::new([fault]))
    }
}

impl Deref for Faults {
    type Target = [Fault];

    fn deref(&self) -> &[Fault] {
        &self.0
    }
}
