//! What a balancer tells about itself.

use std::{net::SocketAddr, time::Duration};

use crate::accrual::Transition;

/// How many endpoints a pool has, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Able to take a request now.
    pub ready: usize,
    /// Not able to: connecting, or pushing back.
    pub pending: usize,
    /// Kept out by their breaker.
    pub ejected: usize,
    /// Of weight zero: known, and given nothing.
    pub idle: usize,
}

/// The kind of an update of discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The label `op` has these values.
pub enum Op {
    /// Endpoints were named as existing.
    Add,
    /// Endpoints were named as gone.
    Remove,
    /// The whole set was named.
    Reset,
    /// The service was said not to exist.
    DoesNotExist,
}

/// Whether a balancer takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // It does or it does not.
pub enum Gate {
    /// Requests are taken, and wait if nothing is ready.
    Open,
    /// Fail-fast: nothing was ready for too long, and nothing is taken until something is.
    Shut,
}

/// Hears what a balancer does. Every method does nothing by default.
///
/// Most methods are called under the balancer's lock: they must be quick and must not call back.
pub trait Observe {
    /// The number of endpoints per state has changed.
    fn endpoints(&self, counts: Counts) {
        let _ = counts;
    }
    /// Discovery sent an update.
    fn update(&self, op: Op) {
        let _ = op;
    }
    /// This many requests wait now.
    fn queue_length(&self, count: usize) {
        let _ = count;
    }
    /// A request was given to an endpoint after waiting this long; zero if it did not wait.
    fn request(&self, waited: Duration) {
        let _ = waited;
    }
    /// The gate has changed.
    fn gate(&self, gate: Gate) {
        let _ = gate;
    }
    /// The service of an endpoint failed before it could be called, and is made anew.
    fn failed(&self, addr: SocketAddr) {
        let _ = addr;
    }
    /// A breaker has changed. With breakers shared between balancers, each of them hears it.
    fn breaker(&self, addr: SocketAddr, transition: Transition) {
        let _ = (addr, transition);
    }
}

impl Observe for () {}

impl<O: Observe + ?Sized> Observe for std::sync::Arc<O> {
    fn endpoints(&self, counts: Counts) {
        (**self).endpoints(counts);
    }
    fn update(&self, op: Op) {
        (**self).update(op);
    }
    fn queue_length(&self, count: usize) {
        (**self).queue_length(count);
    }
    fn request(&self, waited: Duration) {
        (**self).request(waited);
    }
    fn gate(&self, gate: Gate) {
        (**self).gate(gate);
    }
    fn failed(&self, addr: SocketAddr) {
        (**self).failed(addr);
    }
    fn breaker(&self, addr: SocketAddr, transition: Transition) {
        (**self).breaker(addr, transition);
    }
}
