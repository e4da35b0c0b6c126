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

    /// Did it break off while it was looked at?
    pub(crate) const fn has_failed(&self) -> bool {
        matches!(&self.first, Some(Err(_)))
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

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// Frames that have come, and nothing after them if it stays open.
    struct Frames {
        queue: VecDeque<Result<Frame<Bytes>, &'static str>>,
        open: bool,
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            match self.queue.pop_front() {
                None if self.open => Poll::Pending,
                frame => Poll::Ready(frame),
            }
        }

        fn is_end_stream(&self) -> bool {
            self.queue.is_empty() && !self.open
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.queue.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref()).map(|data| data.len() as u64).sum())
        }
    }

    fn frame(kind: u8) -> Result<Frame<Bytes>, &'static str> {
        match kind {
            0..=3 => Ok(Frame::data(Bytes::from(vec![kind; kind.into()]))),
            4 => Ok(Frame::trailers(HeaderMap::new())),
            _ => Err("broken"),
        }
    }

    fn kinds() -> impl Strategy<Value = Vec<u8>> {
        (proptest::collection::vec(0u8..4, 0..5), proptest::option::of(4u8..6)).prop_map(|(mut data, last)| {
            data.extend(last);
            data
        })
    }

    proptest! {
        #[test]
        fn a_look_changes_nothing(kinds in kinds(), open: bool, looks in 0usize..3) {
            let mut cx = Context::from_waker(Waker::noop());
            let mut body = PeekBody::new(Frames { queue: kinds.iter().copied().map(frame).collect(), open });
            let size = body.size_hint().exact();
            for _ in 0..looks {
                prop_assert_eq!(body.poll_peek(&mut cx).is_pending(), kinds.is_empty() && open);
                prop_assert_eq!(body.size_hint().exact(), size);
            }
            prop_assert_eq!(body.has_failed(), looks > 0 && kinds.first() == Some(&5));
            prop_assert_eq!(body.trailers().is_some(), looks > 0 && kinds.iter().take(2).any(|kind| *kind == 4));
            for kind in &kinds {
                prop_assert!(!body.is_end_stream());
                let Poll::Ready(Some(seen)) = Pin::new(&mut body).poll_frame(&mut cx) else { panic!("a frame is missing") };
                let bytes = |frame: Result<Frame<Bytes>, &'static str>| frame.map(|frame| frame.into_data().ok());
                prop_assert_eq!(bytes(seen), bytes(frame(*kind)));
            }
            prop_assert_eq!(body.is_end_stream(), !open);
            prop_assert_eq!(Pin::new(&mut body).poll_frame(&mut cx).is_pending(), open);
        }
    }
}
