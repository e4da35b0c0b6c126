//! A look at the trailers of a response that consists of little else.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A response body of which the first frames may have been read ahead. They come out again, in order.
pub struct PeekBody<B: Body> {
    inner: Option<B>,
    first: Option<Result<Frame<B::Data>, B::Error>>,
    second: Option<Result<Frame<B::Data>, B::Error>>,
}

impl<B: Body> PeekBody<B> {
    pub(crate) const fn new(inner: B) -> Self {
        Self { inner: Some(inner), first: None, second: None }
    }

    /// The trailers, if one of the frames read ahead has them.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        [&self.first, &self.second].into_iter().flatten().find_map(|frame| frame.as_ref().ok()?.trailers_ref())
    }
}

impl<B: Body + Unpin> PeekBody<B> {
    /// Waits for the first frame. If that is data, asks for the next one without waiting: the trailers of a short response arrive with it.
    pub(crate) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.first.is_some() {
            return Poll::Ready(());
        }
        let Some(inner) = &mut self.inner else { return Poll::Ready(()) };
        let first = ready!(Pin::new(&mut *inner).poll_frame(cx));
        match &first {
            None => self.inner = None,
            Some(Ok(frame)) if frame.is_data() => match Pin::new(inner).poll_frame(cx) {
                Poll::Ready(Some(second)) => self.second = Some(second),
                Poll::Ready(None) => self.inner = None,
                Poll::Pending => {}
            },
            Some(_) => {}
        }
        self.first = first;
        Poll::Ready(())
    }
}

// No frame is ever pinned.
impl<B: Body + Unpin> Unpin for PeekBody<B> {}

impl<B: Body + Unpin> Body for PeekBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(frame) = self.first.take() {
            return Poll::Ready(Some(frame));
        }
        if let Some(frame) = self.second.take() {
            return Poll::Ready(Some(frame));
        }
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.second.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        use bytes::Buf as _;
        let held = [&self.first, &self.second].into_iter().flatten().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let held = held.map(|data| data.remaining() as u64).sum::<u64>();
        let rest = self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

impl<B: Body> fmt::Debug for PeekBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekBody").field("peeked", &self.first.is_some()).finish_non_exhaustive()
    }
}
