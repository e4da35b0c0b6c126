use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use meshkit_core::{
    Clock, Outcome,
    grpc::{self, Code},
};
use pin_project::pin_project;
use tokio::time::Instant;

use super::Pending;
use crate::accrual::Verdict;

/// Follows an HTTP response: the latency is that of the first frame of its body, and the request is pending until the body ends or is
/// dropped.
///
/// The outcome is decided by the head if it can be, else by the trailers. A body that breaks off with an error is a failure; one that
/// is dropped before its trailers came decides nothing.
#[derive(Clone, Default)]
pub struct Track {
    dates: Option<(Arc<dyn Clock>, ParseDate)>,
}

type ParseDate = fn(&str) -> Option<SystemTime>;

/// A response body that is followed to its end.
#[pin_project]
#[derive(Debug)]
pub struct Body<B> {
    #[pin]
    inner: B,
    pending: Option<Pending>,
}

impl fmt::Debug for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track").field("dates", &self.dates.is_some()).finish_non_exhaustive()
    }
}

impl Track {
    /// Also understands a `retry-after` that is a date, by `parse` (an HTTP date, RFC 9110 section 5.6.7) and the date that `clock` tells.
    #[must_use]
    pub fn dates(mut self, clock: Arc<dyn Clock>, parse: fn(&str) -> Option<SystemTime>) -> Self {
        self.dates = Some((clock, parse));
        self
    }

    /// What the head says, if it decides.
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Option<Verdict> {
        let outcome = Outcome::of_head(status, headers)?;
        let limited = status == StatusCode::TOO_MANY_REQUESTS || exhausted(headers);
        if !outcome.is_failure() && !limited {
            return Some(Verdict::SUCCESS);
        }
        // A refused permission counts against the endpoint's success and says nothing about its load.
        let penalized = status.is_server_error() || limited || Code::from_headers(headers) != Some(Code::PERMISSION_DENIED);
        Some(Verdict { outcome, limited, penalized, retry_after: self.hint(headers) })
    }

    fn hint(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
        if let Some(millis) = text("grpc-retry-pushback-ms").and_then(|v| v.parse().ok()) {
            return Some(Duration::from_millis(millis));
        }
        let after = text("retry-after")?;
        match after.parse() {
            Ok(secs) => Some(Duration::from_secs(secs)),
            Err(_) => {
                let (clock, parse) = self.dates.as_ref()?;
                // A date that has passed asks for nothing.
                Some(parse(after)?.duration_since(clock.now()).unwrap_or_default())
            }
        }
    }
}

fn exhausted(headers: &HeaderMap) -> bool {
    grpc::is_grpc(headers) && Code::from_headers(headers) == Some(Code::RESOURCE_EXHAUSTED)
}

impl<B: HttpBody> super::Track<Response<B>> for Track {
    type Tracked = Response<Body<B>>;

    fn track(&self, response: Response<B>, mut pending: Pending) -> Self::Tracked {
        let now = Instant::now();
        let head = self.head(response.status(), response.headers());
        match head {
            // The body may still break off.
            Some(verdict) if verdict.is_good() => pending.assume(verdict),
            // A failure cannot become better.
            Some(verdict) => pending.classify(verdict, now),
            None => {}
        }
        let mut pending = Some(pending);
        if response.body().is_end_stream() {
            finish(&mut pending, None, now);
        }
        response.map(|inner| Body { inner, pending })
    }
}

/// The body is over: everything not yet told is told.
fn finish(pending: &mut Option<Pending>, trailers: Option<&HeaderMap>, now: Instant) {
    if let Some(mut pending) = pending.take() {
        let verdict = pending.assumed().unwrap_or_else(|| match trailers.and_then(Code::from_headers) {
            Some(Code::RESOURCE_EXHAUSTED) => Verdict::LIMITED,
            Some(code) if Outcome::of_code(code).is_failure() => Verdict::FAILURE,
            _ => Verdict::SUCCESS,
        });
        // The status came late: what it costs is the time it took.
        pending.classify(Verdict { penalized: false, ..verdict }, now);
        pending.sample(now);
    }
}

impl<B> Body<B> {
    /// The body beneath, which is no longer followed.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: HttpBody> HttpBody for Body<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        // Once the request is over, nothing needs the time.
        let Some(pending) = this.pending.as_mut() else {
            return Poll::Ready(frame);
        };
        let now = Instant::now();
        match &frame {
            Some(Ok(frame)) => {
                let trailers = frame.trailers_ref();
                if trailers.is_some() || this.inner.is_end_stream() {
                    finish(this.pending, trailers, now);
                } else {
                    pending.sample(now);
                }
            }
            Some(Err(_)) => {
                if let Some(pending) = this.pending.take() {
                    pending.fail(now);
                }
            }
            None => finish(this.pending, None, now),
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
