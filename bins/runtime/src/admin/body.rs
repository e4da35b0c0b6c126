use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

use crate::logs::Stream;

/// The body of a response of the admin server: bytes, or the log for as long as somebody reads it.
pub struct Body(Kind);

enum Kind {
    Full(Full<Bytes>),
    Log {
        stream: Stream,
        ending: Pin<Box<dyn Future<Output = watch::Receiver<bool>> + Send>>,
    },
    /// The program ends: this much of what waits is still told, and waited for.
    Rest {
        stream: Stream,
        waiting_count: usize,
        _ending: watch::Receiver<bool>,
    },
}

impl Body {
    /// Until the client leaves, or `ending` turns true.
    pub(super) fn log(stream: Stream, mut ending: watch::Receiver<bool>) -> Self {
        let ending = Box::pin(async move {
            let _ = ending.wait_for(|ending| *ending).await;
            ending
        });
        Self(Kind::Log { stream, ending })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Full::new(bytes).into()
    }
}

impl From<Full<Bytes>> for Body {
    fn from(bytes: Full<Bytes>) -> Self {
        Self(Kind::Full(bytes))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Kind::Log { ending, .. } = &mut self.0
            && let Poll::Ready(_ending) = ending.as_mut().poll(cx)
        {
            self.0 = match std::mem::replace(&mut self.0, Kind::Full(Full::default())) {
                Kind::Log { stream, .. } => Kind::Rest { waiting_count: stream.waiting_count(), stream, _ending },
                other => other,
            };
        }
        match &mut self.0 {
            Kind::Full(bytes) => Pin::new(bytes).poll_frame(cx),
            Kind::Log { stream, .. } => stream.poll_line(cx).map(|line| Some(Ok(Frame::data(line)))),
            Kind::Rest { waiting_count: 0, .. } => Poll::Ready(None),
            Kind::Rest { stream, waiting_count, .. } => {
                *waiting_count -= 1;
                stream.poll_line(cx).map(|line| Some(Ok(Frame::data(line))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Full(bytes) if bytes.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => bytes.size_hint(),
            Kind::Log { .. } | Kind::Rest { .. } => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Full(bytes) => bytes.fmt(f),
            Kind::Log { stream, .. } | Kind::Rest { stream, .. } => stream.fmt(f),
        }
    }
}
