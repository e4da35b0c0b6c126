use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use meshkit_core::Endpoint;
use tokio::time::Instant;

use crate::{
    accrual::{Breaker, Pass},
    ewma::PeakEwma,
    track::{Penalty, Pending},
};

/// What is known about calls to one endpoint. It outlives a change of the endpoint's description.
#[derive(Debug)]
pub(crate) struct Estimate {
    ewma: Mutex<PeakEwma>,
    pending: AtomicUsize,
}

impl Estimate {
    pub(crate) fn new(rtt: Duration, decay: Duration, now: Instant) -> Self {
        Self { ewma: Mutex::new(PeakEwma::new(rtt, decay, now)), pending: AtomicUsize::new(0) }
    }

    pub(crate) fn load(&self, share: f64, now: Instant) -> f64 {
        let ewma = *self.ewma();
        ewma.load(self.pending.load(Ordering::Relaxed), share, now)
    }

    pub(crate) fn ewma(&self) -> MutexGuard<'_, PeakEwma> {
        self.ewma.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One endpoint of a pool, without its service: what a request in flight holds on to.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) estimate: Arc<Estimate>,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) penalty: Option<Penalty>,
}

impl Member {
    /// Counts a request until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, pass: Option<Pass>, now: Instant) -> Pending {
        self.estimate.pending.fetch_add(1, Ordering::Relaxed);
        Pending::new(Arc::clone(self), pass, now)
    }

    pub(crate) fn end(&self) {
        self.estimate.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An endpoint and its service: what a pick yields.
///
/// It is the same one for as long as neither the address nor the description changes, whatever its place in the pool.
pub struct Entry<S> {
    pub(crate) member: Arc<Member>,
    /// Tells apart entries of one address.
    pub(crate) id: u64,
    service: Mutex<S>,
    // An instance that was polled ready for a request that waits.
    primed: Mutex<Option<S>>,
}

impl<S> Entry<S> {
    pub(crate) fn new(member: Member, id: u64, service: S) -> Self {
        Self { member: Arc::new(member), id, service: Mutex::new(service), primed: Mutex::new(None) }
    }

    /// The description of the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.member.endpoint
    }

    /// How many requests are in flight to it.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.member.estimate.pending.load(Ordering::Relaxed)
    }

    /// Its load at `now`, in seconds, for a weight that is the mean of its pool.
    #[must_use]
    pub fn load(&self, now: Instant) -> f64 {
        self.member.estimate.load(1.0, now)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.member.endpoint.addr
    }

    /// Keeps an instance that was polled ready, and returns one that was kept before.
    pub(crate) fn prime(&self, ready: S) -> Option<S> {
        self.primed.lock().unwrap_or_else(PoisonError::into_inner).replace(ready)
    }

    pub(crate) fn take_primed(&self) -> Option<S> {
        self.primed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Replaces a service that has failed, and returns it.
    pub(crate) fn replace(&self, service: S) -> S {
        std::mem::replace(&mut *self.service.lock().unwrap_or_else(PoisonError::into_inner), service)
    }
}

impl<S: Clone> Entry<S> {
    /// An instance of the service, not ready yet.
    pub(crate) fn service(&self) -> S {
        self.service.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S> fmt::Debug for Entry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("endpoint", self.endpoint()).field("pending", &self.pending_count()).finish_non_exhaustive()
    }
}
