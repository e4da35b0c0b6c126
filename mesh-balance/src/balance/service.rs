use std::{
    error::Error as StdError,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use meshkit_core::{Endpoint, Error};
use tower_service::Service;

use super::{Config, Driver, ResponseFuture, shared::Shared};
use crate::{observe::Observe, track};

/// Sends each request to one of many endpoints: of two drawn at random, the less loaded one.
///
/// `poll_ready` is pending while the balancer is unavailable, that is in fail-fast or with a full queue, so that a distributor or a
/// load-shedding layer above can turn elsewhere. Otherwise a request is taken, and waits in the queue if no endpoint is ready.
///
/// `S` is the service of an endpoint, `T` follows its responses, `O` hears what happens. Clones share everything but their readiness.
pub struct Balance<S, T = track::Http, O = ()> {
    owner: Arc<Owner<S, O>>,
    track: T,
    // Our name among those who wait for availability.
    handle: Option<u64>,
}

/// Held by every handle and every waiting request. When the last one is gone, the driver ends.
pub(super) struct Owner<S, O>(pub(super) Arc<Shared<S, O>>);

impl<S, O> Drop for Owner<S, O> {
    fn drop(&mut self) {
        self.0.signal.close();
    }
}

impl<S> Balance<S> {
    /// A balancer of HTTP requests, and the driver to be spawned. `new_endpoint` makes the service of an endpoint.
    pub fn new<F: Fn(Arc<Endpoint>) -> S>(config: Config, new_endpoint: F) -> (Self, Driver<S, F>) {
        Self::observed(config, track::Http::default(), (), new_endpoint)
    }
}

impl<S> Balance<S, track::Connect> {
    /// A balancer of connects: what is balanced is the service of an endpoint that yields a connection.
    pub fn connect<F: Fn(Arc<Endpoint>) -> S>(config: Config, new_endpoint: F) -> (Self, Driver<S, F>) {
        Self::observed(config, track::Connect, (), new_endpoint)
    }
}

impl<S, T, O: Observe> Balance<S, T, O> {
    /// A balancer that follows responses with `track` and tells `observe` what it does.
    pub fn observed<F: Fn(Arc<Endpoint>) -> S>(config: Config, track: T, observe: O, new_endpoint: F) -> (Self, Driver<S, F, O>) {
        let shared = Arc::new(Shared::new(config.zone, config.queue_capacity, config.failfast, config.seed, observe));
        let driver = Driver::new(Arc::clone(&shared), config, new_endpoint);
        (Self { owner: Arc::new(Owner(shared)), track, handle: None }, driver)
    }

    /// Would a request be taken now, to be sent at once or to wait in the queue?
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.owner.0.is_available()
    }

    /// The digest of the endpoints in use: see [`digest`](crate::digest()).
    #[must_use]
    pub fn digest(&self) -> u64 {
        let inner = self.owner.0.lock();
        crate::digest(inner.pool.iter().map(|(entry, _)| &**entry.endpoint()))
    }

    /// How many requests are in flight to the endpoints in use.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.owner.0.lock().pool.iter().map(|(entry, _)| entry.pending_count()).sum()
    }

    /// How many requests wait.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        self.owner.0.lock().queue.len()
    }

    /// How many endpoints there are, by state.
    #[must_use]
    pub fn endpoints(&self) -> crate::observe::Counts {
        self.owner.0.lock().pool.counts()
    }
}

impl<S, T: Clone, O> Clone for Balance<S, T, O> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), track: self.track.clone(), handle: None }
    }
}

impl<S, T, O> Drop for Balance<S, T, O> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            self.owner.0.forget(handle);
        }
    }
}

impl<S, T, O, R> Service<R> for Balance<S, T, O>
where
    S: Service<R> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    T: track::Track<S::Response> + Clone,
    O: Observe,
{
    type Response = T::Tracked;
    type Error = Error;
    type Future = ResponseFuture<S, R, T, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.owner.0.poll_available(&mut self.handle, cx).map(Ok)
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture::new(Arc::clone(&self.owner), self.track.clone(), request)
    }
}

impl<S, T, O> fmt::Debug for Balance<S, T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance").finish_non_exhaustive()
    }
}
