use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use meshkit_core::Error;
use pin_project::{pin_project, pinned_drop};
use tokio::time::Instant;

use super::{
    flow::Flow,
    watchdog::{Phase, Watchdog},
};

/// A request body that tells when it moves, and when it has been sent: when it has ended, or is dropped.
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct RequestBody<B> {
    #[pin]
    inner: B,
    flow: Option<Flow>,
}

/// A response body that fails when a limit is reached.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B> {
    #[pin]
    inner: B,
    watchdog: Option<Watchdog>,
    failed: bool,
}

impl<B> RequestBody<B> {
    pub(super) const fn free(inner: B) -> Self {
        Self { inner, flow: None }
    }

    pub(super) const fn told(inner: B, flow: Flow) -> Self {
        Self { inner, flow: Some(flow) }
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn new(inner: B, watchdog: Option<Watchdog>) -> Self {
        Self { inner, watchdog, failed: false }
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if let Some(flow) = this.flow {
            let now = Instant::now();
            match &frame {
                Some(Ok(frame)) if !frame.is_trailers() && !this.inner.is_end_stream() => flow.active(now),
                _ => {
                    flow.sent(now);
                    *this.flow = None;
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[pinned_drop]
impl<B> PinnedDrop for RequestBody<B> {
    fn drop(self: Pin<&mut Self>) {
        if let Some(flow) = self.project().flow {
            flow.sent(Instant::now());
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let this = self.project();
        if *this.failed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            match (&frame, &*this.watchdog) {
                (None | Some(Err(_)), _) => *this.watchdog = None,
                (Some(Ok(_)), Some(watchdog)) => watchdog.active(Instant::now()),
                (Some(Ok(_)), None) => {}
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|e| Error::from_boxed(e.into()))));
        }
        let Some(watchdog) = this.watchdog else { return Poll::Pending };
        let error = ready!(watchdog.poll(Phase::Stream, cx));
        *this.failed = true;
        *this.watchdog = None;
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
