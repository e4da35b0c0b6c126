//! Live requests, shown to whoever may look.
//!
//! A request costs one relaxed load while nobody looks.

mod server;
mod tapped;

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};
use http::{Request, header::HOST};
use meshkit_core::{Dice, Endpoint, grpc::Code};
use meshkit_policy::TlsState;
use meshkit_runtime::metrics::Counter;
use meshkit_wire::{
    Refused,
    profile::Route,
    tap::{Direction, Event, Events, Headers, Labels, Match, Observe, Seen, StreamId},
};
use tokio::sync::mpsc;

pub(crate) use self::{server::Server, tapped::Tapped};
use crate::metrics::tls_server;

/// Events that wait for one who looks. Further ones are dropped: nobody's request waits for an observer.
const BACKLOG: usize = 400;
/// How many may look at a time.
const MAX_TAPS: usize = 32;

/// Everybody who looks at a proxy's requests. Clones are the same.
#[derive(Clone, Debug)]
pub struct Taps(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// How many look: the same as the length of the list.
    active: AtomicUsize,
    taps: Mutex<Vec<Arc<Tapping>>>,
    dice: Dice,
    dropped: Arc<Counter>,
}

/// One who looks.
#[derive(Debug)]
struct Tapping {
    base: u32,
    streams: AtomicU64,
    left: AtomicU32,
    matches: Match,
    headers: Headers,
    events: mpsc::Sender<Event>,
    /// Events that nobody saw, of all taps.
    dropped: Arc<Counter>,
}

/// The taps of one side of a proxy.
#[derive(Clone, Debug)]
pub struct Tap {
    taps: Taps,
    direction: Direction,
}

/// Where a request came from, in its extensions. It is there only while somebody looks.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    addr: SocketAddr,
    labels: Labels,
}

/// The events of one tap. It ends with the last event of the last request that it may see, or when it is dropped.
struct Watching {
    events: mpsc::Receiver<Event>,
    taps: Taps,
    base: u32,
}

impl Taps {
    /// Nobody looks yet. What those who look are too slow for is counted.
    pub(crate) fn new(dice: Dice, dropped: Arc<Counter>) -> Self {
        Self(Arc::new(Inner { active: AtomicUsize::new(0), taps: Mutex::default(), dice, dropped }))
    }

    /// The taps of one side.
    pub(crate) fn of(&self, direction: Direction) -> Tap {
        Tap { taps: self.clone(), direction }
    }

    /// Begins to look.
    ///
    /// # Errors
    /// Too many look already.
    pub(crate) fn observe(&self, observe: Observe) -> Result<Events, Refused> {
        let (events, receiver) = mpsc::channel(BACKLOG);
        let mut taps = self.0.taps.lock().unwrap_or_else(PoisonError::into_inner);
        if taps.len() >= MAX_TAPS {
            return Err(Refused::new(Code::RESOURCE_EXHAUSTED, format!("{MAX_TAPS} taps run already")));
        }
        let base = loop {
            let base = self.0.dice.below(u32::MAX);
            if taps.iter().all(|tap| tap.base != base) {
                break base;
            }
        };
        let Observe { limit, matches, headers } = observe;
        let (streams, left) = (AtomicU64::new(0), AtomicU32::new(limit));
        let dropped = Arc::clone(&self.0.dropped);
        taps.push(Arc::new(Tapping { base, streams, left, matches, headers, events, dropped }));
        self.0.active.store(taps.len(), Ordering::Relaxed);
        Ok(Watching { events: receiver, taps: self.clone(), base }.boxed())
    }

    fn end(&self, base: u32) {
        let mut taps = self.0.taps.lock().unwrap_or_else(PoisonError::into_inner);
        taps.retain(|tap| tap.base != base);
        self.0.active.store(taps.len(), Ordering::Relaxed);
    }

    fn are_active(&self) -> bool {
        self.0.active.load(Ordering::Relaxed) > 0
    }

    /// Those whose match a request meets, each with the request's number.
    fn that_match(&self, seen: &Seen<'_>) -> Vec<(Arc<Tapping>, StreamId)> {
        let taps = self.0.taps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let matching = taps.into_iter().filter(|tap| !tap.events.is_closed() && tap.matches.fits(seen));
        matching.filter_map(|tap| self.take(tap)).collect()
    }

    /// One of the requests that a tap may still see.
    fn take(&self, tap: Arc<Tapping>) -> Option<(Arc<Tapping>, StreamId)> {
        let before = tap.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        if before == 1 {
            // The stream ends when this last one does.
            self.end(tap.base);
        }
        let stream = tap.streams.fetch_add(1, Ordering::Relaxed);
        let id = StreamId { base: tap.base, stream };
        Some((tap, id))
    }
}

impl Tap {
    /// Notes on a request where it came from, if anybody looks.
    pub(crate) fn note<B>(&self, request: &mut Request<B>, addr: SocketAddr, tls: &TlsState) {
        if self.taps.are_active() {
            request.extensions_mut().insert(Source { addr, labels: tls_labels(tls) });
        }
    }

    /// Notes where a request of the workload itself came from, if anybody looks.
    pub(crate) fn note_local<B>(&self, request: &mut Request<B>, addr: SocketAddr) {
        if self.taps.are_active() {
            let labels = [("tls".to_owned(), "loopback".to_owned())].into();
            request.extensions_mut().insert(Source { addr, labels });
        }
    }

    /// Shows a request to whoever looks for one like it, as it is sent to an endpoint.
    pub(crate) fn begin<B>(&self, request: &Request<B>, endpoint: &Endpoint, route: Option<&Route>) -> Option<Tapped> {
        if !self.taps.are_active() {
            return None;
        }
        // It began before anybody looked.
        let source = request.extensions().get::<Source>()?;
        let (uri, headers) = (request.uri(), request.headers());
        let host = || headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let route_labels = route.map(|route| Labels::clone(&route.labels)).unwrap_or_default();
        let destination_labels = endpoint_labels(endpoint);
        let seen = Seen {
            source: source.addr,
            destination: endpoint.addr,
            destination_labels: &destination_labels,
            route_labels: &route_labels,
            scheme: uri.scheme_str().unwrap_or("http"),
            method: request.method(),
            authority: uri.authority().map_or_else(host, |authority| authority.as_str()),
            path: uri.path_and_query().map_or("/", |path| path.as_str()),
        };
        let taps = self.taps.that_match(&seen);
        (!taps.is_empty()).then(|| Tapped::begin(taps, &seen, &source.labels, self.direction, headers))
    }
}

/// What is known of an endpoint, with how its connection is secured.
fn endpoint_labels(endpoint: &Endpoint) -> Labels {
    let mut labels = Labels::clone(&endpoint.labels);
    match &endpoint.tls {
        Some(tls) => {
            labels.insert("tls".to_owned(), "true".to_owned());
            labels.insert("server_id".to_owned(), tls.identity.to_string());
        }
        None => {
            let reason = if endpoint.addr.ip().is_loopback() { "loopback" } else { "not_provided_by_service_discovery" };
            labels.insert("tls".to_owned(), reason.to_owned());
        }
    }
    labels
}

/// The metric labels of a connection, but for what is not TLS, where taps tell only why.
fn tls_labels(tls: &TlsState) -> Labels {
    let labels: Labels = tls_server(tls).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    match labels.get("no_tls_reason") {
        Some(reason) => [("tls".to_owned(), reason.clone())].into(),
        None => labels,
    }
}

impl Stream for Watching {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.taps.end(self.base);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Response, StatusCode};
    use http_body_util::{BodyExt as _, Full};
    use meshkit_core::Identity;
    use meshkit_http::Body;
    use meshkit_wire::tap::{Eos, Text, What};

    use super::*;

    fn taps() -> Taps {
        Taps::new(Dice::new(1), Arc::default())
    }

    fn endpoint() -> Endpoint {
        let web: Identity = "web.ns.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
        let labels = [("deployment".to_owned(), "web".to_owned())].into();
        Endpoint::new("10.0.0.2:80".parse().unwrap()).identity(web).labels(labels)
    }

    fn request(tap: &Tap, path: &str) -> Request<()> {
        let mut request = Request::get(format!("http://web{path}")).header("x", "1").body(()).unwrap();
        tap.note_local(&mut request, "10.0.0.1:4000".parse().unwrap());
        request
    }

    fn observe(limit: u32, headers: Headers) -> Observe {
        Observe { limit, matches: Match::Path(Text::Prefix("/api".to_owned())), headers }
    }

    #[tokio::test]
    async fn whoever_looks_sees_a_request_its_response_and_its_end() {
        let taps = taps();
        let tap = taps.of(Direction::Outbound);
        let mut before = request(&tap, "/api/before");
        let mut events = taps.observe(observe(1, Headers::Shown)).unwrap();
        assert!(tap.begin(&before, &endpoint(), None).is_none(), "its source was not noted");
        before = request(&tap, "/other");
        assert!(tap.begin(&before, &endpoint(), None).is_none());

        let tapped = tap.begin(&request(&tap, "/api/list"), &endpoint(), None).unwrap();
        assert!(tap.begin(&request(&tap, "/api/list"), &endpoint(), None).is_none(), "it was to see one");
        let response = Response::new(Body::wrap(Full::new(Bytes::from_static(b"hello"))));
        let body = tapped.response(response).into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "hello");

        let first = events.next().await.unwrap();
        assert_eq!((first.source, first.destination), ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:80".parse().unwrap()));
        assert_eq!((first.source_labels["tls"].as_str(), first.destination_labels["tls"].as_str()), ("loopback", "true"));
        assert_eq!(first.destination_labels["deployment"], "web");
        assert!(matches!(&first.what, What::Request { path, headers, .. } if path == "/api/list" && headers["x"] == "1"));
        let second = events.next().await.unwrap();
        assert!(second.id == first.id && matches!(second.what, What::Response { status: StatusCode::OK, .. }));
        assert!(matches!(events.next().await.unwrap().what, What::End { bytes: 5, eos: Eos::Ended, .. }));
        assert!(events.next().await.is_none(), "there is nothing more to see");
        assert!(!taps.are_active());
    }

    #[tokio::test]
    async fn one_who_stops_looking_costs_nothing_and_one_who_is_slow_holds_nobody_up() {
        let taps = taps();
        let tap = taps.of(Direction::Inbound);
        let mut events = taps.observe(observe(u32::MAX, Headers::Hidden)).unwrap();
        for _ in 0..BACKLOG {
            let tapped = tap.begin(&request(&tap, "/api"), &endpoint(), None).unwrap();
            drop(tapped.response(Response::new(Body::default())));
        }
        let mut seen = 0;
        while let Ok(Some(event)) = tokio::time::timeout(std::time::Duration::from_millis(10), events.next()).await {
            assert!(!matches!(&event.what, What::Request { headers, .. } if !headers.is_empty()));
            seen += 1;
        }
        assert_eq!(seen, BACKLOG);
        // Each request has three events.
        assert_eq!(taps.0.dropped.value(), 2 * BACKLOG as u64);
        drop(events);
        assert!(!taps.are_active());
        assert!(request(&tap, "/api").extensions().get::<Source>().is_none());
    }

    #[test]
    fn only_so_many_may_look() {
        let taps = taps();
        let all: Vec<_> = (0..MAX_TAPS).map(|_| taps.observe(observe(1, Headers::Hidden)).unwrap()).collect();
        assert_eq!(taps.observe(observe(1, Headers::Hidden)).err().unwrap().code(), Code::RESOURCE_EXHAUSTED);
        drop(all);
        assert!(taps.observe(observe(1, Headers::Hidden)).is_ok());
    }

    #[tokio::test]
    async fn what_gets_no_response_ends_with_a_reset() {
        let taps = taps();
        let tap = taps.of(Direction::Inbound);
        let mut events = taps.observe(observe(1, Headers::Hidden)).unwrap();
        drop(tap.begin(&request(&tap, "/api"), &endpoint(), None).unwrap());
        let _request = events.next().await.unwrap();
        assert!(matches!(events.next().await.unwrap().what, What::End { eos: Eos::Reset(8), .. }));
    }
}
