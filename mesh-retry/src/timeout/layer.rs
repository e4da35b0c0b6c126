use std::{
    error::Error as StdError,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use meshkit_core::Error;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Limits, RequestBody, ResponseBody, ResponseFuture,
    flow::{Flow, Sending},
    watchdog::Watchdog,
};
use crate::Timeouts;

/// Makes a [`Timeout`] of a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimeoutLayer {
    timeouts: Timeouts,
}

/// A service whose exchanges are limited in time.
#[derive(Clone, Copy, Debug)]
pub struct Timeout<S> {
    inner: S,
    timeouts: Timeouts,
}

impl TimeoutLayer {
    /// These limits for requests that do not carry [`Limits`] of their own. The default is none.
    #[must_use]
    pub const fn new(timeouts: Timeouts) -> Self {
        Self { timeouts }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, timeouts: self.timeouts }
    }
}

impl<S, B, RB> Service<Request<B>> for Timeout<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body,
{
    type Response = Response<ResponseBody<RB>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|e| Error::from_boxed(e.into()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limits = match request.extensions().get::<Limits>() {
            Some(limits) => Some(*limits).filter(|limits| !limits.is_empty()),
            None => Limits::starting(self.timeouts),
        };
        let Some(limits) = limits else {
            return ResponseFuture::new(self.inner.call(request.map(RequestBody::free)), None);
        };
        let now = Instant::now();
        if !limits.follow_request() || request.body().is_end_stream() {
            let response = self.inner.call(request.map(RequestBody::free));
            return ResponseFuture::new(response, Some(Watchdog::new(limits, Flow::alone(now))));
        }
        let sending = Sending::new(now);
        let response = self.inner.call(request.map(|body| RequestBody::told(body, sending.clone())));
        ResponseFuture::new(response, Some(Watchdog::new(limits, Flow::Told(sending))))
    }
}
