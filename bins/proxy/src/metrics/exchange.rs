//! One exchange, from its request to the end of its response, whichever way it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Response, StatusCode};
use http_body::Body as _;
use meshkit_core::{Error, grpc::Code};
use meshkit_http::Body;
use meshkit_runtime::metrics::Histogram;
use tokio::time::Instant;

use super::{
    Failure,
    follow::{End, Followed, Listen},
};

/// What an exchange is counted in.
pub trait Count {
    /// A frame of data of the response.
    fn frame(&self, len: usize);
    /// The end. The error is empty unless something broke.
    fn ended(&self, took: Took, status: Option<StatusCode>, code: Option<Code>, error: &'static str);
}

/// How long an exchange took until the end of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // An exchange has two beginnings.
pub struct Took {
    /// From the start of the request.
    pub request: Duration,
    /// From the end of the request.
    pub response: Duration,
}

/// An exchange that goes on. Dropped before its response, it counts as given up by the client.
#[derive(Debug)]
#[must_use = "the exchange counts as given up as soon as this is dropped"]
pub struct Exchange<C: Count>(Option<Open<C>>);

#[derive(Debug)]
struct Open<C> {
    count: C,
    clock: Clock,
    status: Option<StatusCode>,
    code: Option<Code>,
}

/// When an exchange began, and when its request had been sent.
#[derive(Debug)]
pub(crate) enum Clock {
    /// Both at once, or only the first is asked for.
    Begun(Instant),
    /// The request has a body, whose end is noted.
    Sending(Arc<Sent>),
}

/// The end of a request, in nanoseconds after its start; 0 while it is being sent.
#[derive(Debug)]
pub(crate) struct Sent {
    begun: Instant,
    nanos: AtomicU64,
}

/// Notes the end of a request, and measures its frames where that is asked for.
#[derive(Debug)]
pub(crate) struct Sending {
    sent: Arc<Sent>,
    sizes: Option<Arc<Histogram>>,
}

/// Measures frames of data.
#[derive(Debug)]
pub(crate) struct Sizes(pub(crate) Arc<Histogram>);

impl<C: Count + Send + 'static> Exchange<C> {
    pub(crate) const fn new(count: C, clock: Clock) -> Self {
        Self(Some(Open { count, clock, status: None, code: None }))
    }

    /// Goes on with the response.
    #[must_use]
    pub fn response(mut self, response: Response<Body>) -> Response<Body> {
        let Some(mut open) = self.0.take() else { return response };
        open.status = Some(response.status());
        open.code = Code::from_headers(response.headers());
        if response.body().is_end_stream() {
            open.end(End::Plain);
            return response;
        }
        response.map(|body| Body::wrap(Followed::new(body, open)))
    }

    /// Ends without a response.
    pub fn failed(mut self, error: &Error) {
        if let Some(open) = self.0.take() {
            open.end(End::Failed(Failure::of(error)));
        }
    }
}

impl<C: Count> Drop for Exchange<C> {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.end(End::Failed(Failure::Cause("CANCEL")));
        }
    }
}

impl<C: Count> Listen for Open<C> {
    fn data(&mut self, len: usize) {
        self.count.frame(len);
    }

    fn end(self, end: End<'_>) {
        let code = self.code.or_else(|| end.trailers().and_then(Code::from_headers));
        let error = end.failure().map_or("", Failure::route_label);
        self.count.ended(self.clock.took(), self.status, code, error);
    }
}

impl Clock {
    /// A clock that begins at the end of a request, and what notes that end; nothing where there is no body.
    pub(crate) fn of(body: &Body) -> (Self, Option<Sending>) {
        let begun = Instant::now();
        if body.is_end_stream() {
            return (Self::Begun(begun), None);
        }
        let sent = Arc::new(Sent { begun, nanos: AtomicU64::new(0) });
        (Self::Sending(Arc::clone(&sent)), Some(Sending { sent, sizes: None }))
    }

    fn took(&self) -> Took {
        let now = Instant::now();
        match self {
            Self::Begun(at) => {
                let request = now.saturating_duration_since(*at);
                Took { request, response: request }
            }
            Self::Sending(sent) => {
                let request = now.saturating_duration_since(sent.begun);
                let response = match sent.nanos.load(Ordering::Relaxed) {
                    // The response was complete before the request was: it took no time.
                    0 => Duration::ZERO,
                    nanos => request.saturating_sub(Duration::from_nanos(nanos)),
                };
                Took { request, response }
            }
        }
    }
}

impl Sending {
    /// Measures the frames, too.
    pub(crate) fn sizes(mut self, sizes: Arc<Histogram>) -> Self {
        self.sizes = Some(sizes);
        self
    }
}

impl Listen for Sending {
    fn data(&mut self, len: usize) {
        if let Some(sizes) = &self.sizes {
            sizes.record(len as f64);
        }
    }

    fn end(self, _: End<'_>) {
        let nanos = u64::try_from(self.sent.begun.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        self.sent.nanos.store(nanos, Ordering::Relaxed);
    }
}

impl Listen for Sizes {
    fn data(&mut self, len: usize) {
        self.0.record(len as f64);
    }

    fn end(self, _: End<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::BodyExt as _;
    use meshkit_core::Cause;

    use super::*;

    type Told = (Duration, Duration, Option<u16>, &'static str);

    #[derive(Clone, Default)]
    struct Counted(Arc<Mutex<Vec<Told>>>);

    impl Count for Counted {
        fn frame(&self, _: usize) {}
        fn ended(&self, took: Took, status: Option<StatusCode>, _: Option<Code>, error: &'static str) {
            self.0.lock().unwrap().push((took.request, took.response, status.map(|s| s.as_u16()), error));
        }
    }

    fn told(counted: &Counted) -> Vec<Told> {
        counted.0.lock().unwrap().clone()
    }

    fn begun(counted: &Counted) -> Exchange<Counted> {
        Exchange::new(counted.clone(), Clock::Begun(Instant::now()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_lasts_until_its_response_has_ended() {
        let counted = Counted::default();
        let response = begun(&counted).response(Response::new(Body::from("text")));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(told(&counted).is_empty());
        let _ = response.into_body().collect().await.unwrap();
        assert_eq!(told(&counted), [(Duration::from_secs(2), Duration::from_secs(2), Some(200), "")]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_that_nobody_waits_for_is_given_up() {
        let counted = Counted::default();
        drop(begun(&counted));
        begun(&counted).failed(&Error::new(Cause::LoadShed));
        let none = Duration::ZERO;
        assert_eq!(told(&counted), [(none, none, None, "CANCEL"), (none, none, None, "LOAD_SHED")]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_backend_begins_when_the_request_is_sent() {
        let counted = Counted::default();
        let body = Body::from("request");
        let (clock, sending) = Clock::of(&body);
        let exchange = Exchange::new(counted.clone(), clock);
        tokio::time::advance(Duration::from_secs(3)).await;
        let _ = Followed::new(body, sending.unwrap()).collect().await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let _ = exchange.response(Response::new(Body::Empty));
        assert_eq!(told(&counted), [(Duration::from_secs(4), Duration::from_secs(1), Some(200), "")]);
    }
}
