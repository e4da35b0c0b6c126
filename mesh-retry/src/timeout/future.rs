use std::{
    error::Error as StdError,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use meshkit_core::Error;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    ResponseBody,
    watchdog::{Phase, Watchdog},
};

/// Response of a [`Timeout`](super::Timeout) service. Dropping it cancels the request.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    #[pin]
    response: F,
    watchdog: Option<Watchdog>,
    /// Set when there is something to wait for.
    #[pin]
    sleep: Option<Sleep>,
}

impl<F> ResponseFuture<F> {
    pub(super) const fn new(response: F, watchdog: Option<Watchdog>) -> Self {
        Self { response, watchdog, sleep: None }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = Result<Response<ResponseBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // The response first: an answer that arrived in time is not thrown away.
        if let Poll::Ready(result) = this.response.poll(cx) {
            let mut watchdog = this.watchdog.take();
            if let Some(watchdog) = &mut watchdog {
                watchdog.active(Instant::now());
            }
            let wrap = |response: Response<B>| response.map(|body| ResponseBody::new(body, watchdog));
            return Poll::Ready(result.map(wrap).map_err(|e| Error::from_boxed(e.into())));
        }
        let Some(watchdog) = this.watchdog else { return Poll::Pending };
        let Some(next) = watchdog.next(Phase::Headers, cx) else { return Poll::Pending };
        if this.sleep.is_none() {
            this.sleep.set(Some(sleep_until(next)));
        }
        match this.sleep.as_pin_mut() {
            Some(sleep) => watchdog.poll(Phase::Headers, sleep, cx).map(Err),
            None => Poll::Pending,
        }
    }
}
