//! A body that is listened to until it ends, or is given up.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use meshkit_http::BoxError;
use pin_project::{pin_project, pinned_drop};

use super::Failure;

/// Hears how a body goes on. Each body ends exactly once.
pub(crate) trait Listen {
    /// A frame of data.
    fn data(&mut self, len: usize);
    /// The end: with trailers, without, or by a failure.
    fn end(self, end: End<'_>);
}

/// How a body ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// With trailers.
    Trailers(&'a HeaderMap),
    /// Without. Often nobody asks for the end of a body whose length is known: then this is what its drop is taken for.
    Plain,
    /// It broke.
    Failed(Failure),
}

/// A body that is listened to.
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub(crate) struct Followed<B, L: Listen> {
    #[pin]
    inner: B,
    listen: Option<L>,
}

impl<B, L: Listen> Followed<B, L> {
    pub(crate) fn new(inner: B, listen: L) -> Self {
        Self { inner, listen: Some(listen) }
    }
}

impl<'a> End<'a> {
    /// The trailers, if there are any.
    pub(crate) const fn trailers(&self) -> Option<&'a HeaderMap> {
        match self {
            Self::Trailers(trailers) => Some(trailers),
            Self::Plain | Self::Failed(_) => None,
        }
    }

    /// Why it broke, if it did.
    pub(crate) const fn failure(&self) -> Option<Failure> {
        match self {
            Self::Failed(failure) => Some(*failure),
            Self::Plain | Self::Trailers(_) => None,
        }
    }
}

impl<B, L> Body for Followed<B, L>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    L: Listen,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx).map_err(Into::into);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    if let Some(listen) = this.listen.take() {
                        listen.end(End::Trailers(trailers));
                    }
                } else if let (Some(listen), Some(data)) = (this.listen.as_mut(), frame.data_ref()) {
                    listen.data(data.len());
                }
            }
            Poll::Ready(None) => {
                if let Some(listen) = this.listen.take() {
                    listen.end(End::Plain);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(listen) = this.listen.take() {
                    listen.end(End::Failed(Failure::of(&**error)));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[pinned_drop]
impl<B, L: Listen> PinnedDrop for Followed<B, L> {
    fn drop(self: Pin<&mut Self>) {
        if let Some(listen) = self.project().listen.take() {
            listen.end(End::Plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Heard {
        fn tell(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Listen for Heard {
        fn data(&mut self, len: usize) {
            self.tell(len.to_string());
        }
        fn end(self, end: End<'_>) {
            self.tell(match end {
                End::Trailers(_) => "trailers".to_owned(),
                End::Plain => "plain".to_owned(),
                End::Failed(failure) => format!("{failure:?}"),
            });
        }
    }

    async fn heard(frames: Vec<Result<Frame<Bytes>, BoxError>>) -> Vec<String> {
        let heard = Heard::default();
        let body = Followed::new(StreamBody::new(futures_util::stream::iter(frames)), heard.clone());
        let _ = body.collect().await;
        std::mem::take(&mut *heard.0.lock().unwrap())
    }

    #[tokio::test]
    async fn a_body_ends_exactly_once_however_it_ends() {
        let data = || Ok(Frame::data(Bytes::from_static(b"abc")));
        assert_eq!(heard(vec![data(), data()]).await, ["3", "3", "plain"]);
        assert_eq!(heard(vec![data(), Ok(Frame::trailers(HeaderMap::new()))]).await, ["3", "trailers"]);
        assert_eq!(heard(vec![Err("broken".into()), data()]).await, ["Unknown"]);
    }

    #[test]
    fn a_body_that_nobody_reads_ends_too() {
        let heard = Heard::default();
        drop(Followed::new(http_body_util::Empty::<Bytes>::new(), heard.clone()));
        assert_eq!(*heard.0.lock().unwrap(), ["plain"]);
    }
}
