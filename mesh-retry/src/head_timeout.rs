//! A limit on the time until the head of a response: the timeout of a service profile's route.

use std::{
    error::Error as StdError,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use meshkit_core::{Cause, Error};
use pin_project::pin_project;
use tokio::time::{Sleep, sleep};
use tower_layer::Layer;
use tower_service::Service;

/// Makes a [`HeadTimeout`] of a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadTimeoutLayer {
    limit: Option<Duration>,
}

/// A service whose responses must begin in time; else it fails with [`Cause::ProfileTimeout`].
#[derive(Clone, Copy, Debug)]
pub struct HeadTimeout<S> {
    inner: S,
    limit: Option<Duration>,
}

impl HeadTimeoutLayer {
    /// Without a limit, the layer does nothing.
    #[must_use]
    pub const fn new(limit: Option<Duration>) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for HeadTimeoutLayer {
    type Service = HeadTimeout<S>;

    fn layer(&self, inner: S) -> HeadTimeout<S> {
        HeadTimeout { inner, limit: self.limit }
    }
}

impl<S, R> Service<R> for HeadTimeout<S>
where
    S: Service<R>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture { response: self.inner.call(request), timer: self.limit.map(|limit| Timer { sleep: sleep(limit), limit }) }
    }
}

/// Response of a [`HeadTimeout`] service. Dropping it cancels the request.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    response: F,
    #[pin]
    timer: Option<Timer>,
}

#[pin_project]
#[derive(Debug)]
struct Timer {
    #[pin]
    sleep: Sleep,
    limit: Duration,
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The response first: an answer that arrived in time is not thrown away.
        if let Poll::Ready(result) = this.response.poll(cx) {
            return Poll::Ready(result.map_err(|e| Error::from_boxed(e.into())));
        }
        if let Some(timer) = this.timer.as_pin_mut() {
            let timer = timer.project();
            if timer.sleep.poll(cx).is_ready() {
                return Poll::Ready(Err(Error::new(Cause::ProfileTimeout(*timer.limit))));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::time::{Instant, sleep};
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_response_has_to_begin_in_time() {
        let slow = service_fn(async |secs: u64| {
            sleep(Duration::from_secs(secs)).await;
            Ok::<_, Infallible>(secs)
        });
        let service = HeadTimeoutLayer::new(Some(Duration::from_secs(2))).layer(slow);
        assert_eq!(service.oneshot(1).await.unwrap(), 1);
        let begun = Instant::now();
        assert_eq!(service.oneshot(3).await.unwrap_err().to_string(), "HTTP response timeout after 2s");
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        assert_eq!(service.oneshot(2).await.unwrap(), 2, "just in time is in time");
        assert_eq!(HeadTimeoutLayer::default().layer(slow).oneshot(1_000).await.unwrap(), 1_000);
    }
}
