use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use meshkit_core::Error;
use pin_project::{pin_project, pinned_drop};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    flow::Sending,
    watchdog::{Phase, Watchdog},
};

/// A request body that tells when it moves, and when it has been sent: when it has ended, or is dropped.
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct RequestBody<B> {
    #[pin]
    inner: B,
    sending: Option<Sending>,
}

/// A response body that fails when a limit is reached.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B> {
    #[pin]
    inner: B,
    watchdog: Option<Watchdog>,
    /// Set when a frame is waited for. It is boxed, so that a body may be moved between two frames.
    sleep: Option<Pin<Box<Sleep>>>,
    failed: bool,
}

impl<B> RequestBody<B> {
    pub(super) const fn free(inner: B) -> Self {
        Self { inner, sending: None }
    }

    pub(super) const fn told(inner: B, sending: Sending) -> Self {
        Self { inner, sending: Some(sending) }
    }
}

impl<B> ResponseBody<B> {
    pub(super) const fn new(inner: B, watchdog: Option<Watchdog>) -> Self {
        Self { inner, watchdog, sleep: None, failed: false }
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if let Some(sending) = this.sending {
            let now = Instant::now();
            match &frame {
                Some(Ok(frame)) if !frame.is_trailers() && !this.inner.is_end_stream() => sending.active(now),
                _ => {
                    sending.sent(now);
                    *this.sending = None;
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
        if let Some(sending) = self.project().sending {
            sending.sent(Instant::now());
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
            match (&frame, &mut *this.watchdog) {
                (None | Some(Err(_)), _) => *this.watchdog = None,
                (Some(Ok(_)), Some(watchdog)) => watchdog.active(Instant::now()),
                (Some(Ok(_)), None) => {}
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|e| Error::from_boxed(e.into()))));
        }
        let Some(watchdog) = this.watchdog else { return Poll::Pending };
        let Some(next) = watchdog.next(Phase::Stream, cx) else { return Poll::Pending };
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(next)));
        let error = ready!(watchdog.poll(Phase::Stream, sleep.as_mut(), cx));
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
