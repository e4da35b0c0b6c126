//! One request, several backends: which of them takes it.
//!
//! Backends that are not available are passed over. If none is, the call fails with [`Cause::LoadShed`]; it does not wait.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use meshkit_core::{Cause, Dice, Error};
use pin_project::pin_project;
use tower_service::Service;

/// How a backend is chosen among those that are available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The API knows these; an empty set of backends is the third.
pub enum Strategy {
    /// The first in order.
    First,
    /// At random, by weight.
    Weighted,
}

/// One of the services that requests are distributed over.
#[derive(Clone, Debug)]
pub struct Backend<K, S> {
    key: K,
    weight: u32,
    service: S,
}

/// Distributes requests over backends.
///
/// It is always ready, because it does not wait; a call finds an available backend, or fails.
#[derive(Debug)]
pub struct Distribute<K, S> {
    backends: Vec<Backend<K, S>>,
    strategy: Strategy,
    dice: Dice,
    // Passed over in this round; kept for its memory.
    passed: Vec<bool>,
    // The backend that was polled ready, and waits for `call`. The list never changes, so its place names it.
    picked: Option<usize>,
}

/// Response of a [`Distribute`] service.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    response: Option<F>,
}

/// Draws one index by weight, among those that have not been passed over. Zero weight is never drawn.
#[must_use]
pub fn draw(weights: impl Fn(usize) -> u32, passed: &[bool], dice: &Dice) -> Option<usize> {
    let weight = |i: usize| if passed[i] { 0 } else { u64::from(weights(i)) };
    let total: u64 = (0..passed.len()).map(weight).sum();
    let mut ticket = (dice.unit() * total as f64) as u64;
    (0..passed.len()).find(|i| {
        let weight = weight(*i);
        let hit = ticket < weight;
        ticket = ticket.saturating_sub(weight);
        hit
    })
}

/// The first index that has not been passed over.
#[must_use]
pub fn first(passed: &[bool]) -> Option<usize> {
    passed.iter().position(|passed| !passed)
}

impl<K, S> Backend<K, S> {
    /// A backend by a name that callers know it by.
    #[must_use]
    pub const fn new(key: K, weight: u32, service: S) -> Self {
        Self { key, weight, service }
    }
}

impl<K, S> Distribute<K, S> {
    /// Distributes over `backends`, which may be none.
    #[must_use]
    pub fn new(strategy: Strategy, backends: Vec<Backend<K, S>>, dice: Dice) -> Self {
        let passed = vec![false; backends.len()];
        Self { backends, strategy, dice, passed, picked: None }
    }

    /// The key of the backend that the next call goes to, once `poll_ready` has found one.
    #[must_use]
    pub fn picked(&self) -> Option<&K> {
        self.picked.map(|i| &self.backends[i].key)
    }

    fn next(&self) -> Option<usize> {
        match self.strategy {
            Strategy::First => first(&self.passed),
            Strategy::Weighted => draw(|i| self.backends[i].weight, &self.passed, &self.dice),
        }
    }
}

impl<K: Clone, S: Clone> Clone for Distribute<K, S> {
    fn clone(&self) -> Self {
        Self::new(self.strategy, self.backends.clone(), self.dice.clone())
    }
}

impl<K, S, R> Service<R> for Distribute<K, S>
where
    S: Service<R>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // The one that was found before may have become unavailable since.
        if let Some(picked) = self.picked.take()
            && self.backends[picked].service.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))?.is_ready()
        {
            self.picked = Some(picked);
            return Poll::Ready(Ok(()));
        }
        self.passed.fill(false);
        while let Some(next) = self.next() {
            if self.backends[next].service.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))?.is_ready() {
                self.picked = Some(next);
                break;
            }
            self.passed[next] = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let response = self.picked.take().map(|i| self.backends[i].service.call(request));
        ResponseFuture { response }
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().response.as_pin_mut() {
            Some(response) => Poll::Ready(ready!(response.poll(cx)).map_err(|e| Error::from_boxed(e.into()))),
            None => Poll::Ready(Err(Error::new(Cause::LoadShed).message("no backend is available"))),
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{Ready, ready},
    };

    use tower::ServiceExt;

    use super::*;

    #[derive(Clone)]
    struct Stub {
        name: &'static str,
        available: bool,
    }

    impl Service<()> for Stub {
        type Response = &'static str;
        type Error = Infallible;
        type Future = Ready<Result<&'static str, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            if self.available { Poll::Ready(Ok(())) } else { Poll::Pending }
        }

        fn call(&mut self, (): ()) -> Self::Future {
            assert!(self.available);
            ready(Ok(self.name))
        }
    }

    fn over(strategy: Strategy, backends: &[(&'static str, u32, bool)]) -> Distribute<&'static str, Stub> {
        let backends = backends.iter().map(|(name, weight, available)| Backend::new(*name, *weight, Stub { name, available: *available }));
        Distribute::new(strategy, backends.collect(), Dice::new(3))
    }

    #[tokio::test]
    async fn the_first_available_is_taken() {
        let svc = over(Strategy::First, &[("a", 1, false), ("b", 1, true), ("c", 1, true)]);
        assert_eq!(svc.oneshot(()).await.unwrap(), "b");
    }

    #[tokio::test]
    async fn weights_are_followed_among_the_available() {
        let mut svc = over(Strategy::Weighted, &[("a", 1, true), ("gone", 100, false), ("b", 3, true), ("zero", 0, true)]);
        let mut seen = std::collections::HashMap::new();
        for _ in 0..4_000 {
            *seen.entry(svc.ready().await.unwrap().call(()).await.unwrap()).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!((850..1_150).contains(&seen["a"]), "{seen:?}");
    }

    #[tokio::test]
    async fn with_nothing_available_the_load_is_shed() {
        for svc in [over(Strategy::Weighted, &[]), over(Strategy::First, &[("a", 1, false)]), over(Strategy::Weighted, &[("a", 0, true)])] {
            assert_eq!(svc.oneshot(()).await.unwrap_err().cause(), &Cause::LoadShed);
        }
    }

    #[tokio::test]
    async fn a_failed_backend_is_told() {
        let broken = tower::service_fn(async |(): ()| Err::<(), _>(Error::new(Cause::Io)));
        let svc = Distribute::new(Strategy::First, vec![Backend::new("a", 1, broken)], Dice::new(0));
        assert_eq!(svc.oneshot(()).await.unwrap_err().cause(), &Cause::Io);
    }

    #[tokio::test]
    async fn a_choice_that_became_unavailable_is_made_anew() {
        let mut svc = over(Strategy::First, &[("a", 1, true), ("b", 1, true)]);
        svc.ready().await.unwrap();
        svc.backends[0].service.available = false;
        svc.ready().await.unwrap();
        assert_eq!(svc.call(()).await.unwrap(), "b");
    }

    #[tokio::test]
    async fn a_clone_has_not_picked() {
        let mut svc = over(Strategy::First, &[("a", 1, true)]);
        svc.ready().await.unwrap();
        assert_eq!(svc.picked(), Some(&"a"));
        assert_eq!(svc.clone().picked(), None);
    }
}
