//! One request while somebody looks.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, Response};
use meshkit_core::{Error, grpc::Code};
use meshkit_http::Body;
use meshkit_wire::tap::{Direction, Eos, Event, Headers, Labels, Seen, StreamId, What};
use tokio::{sync::mpsc::error::TrySendError, time::Instant};

use super::Tapping;
use crate::metrics::{End, Failure, Followed, Listen};

/// HTTP/2's codes for what has no code of its own. Source: RFC 9113, section 7.
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// A request that somebody looks at. Dropped before its response, it was given up.
#[derive(Debug)]
pub(crate) struct Tapped(Option<Open>);

#[derive(Debug)]
struct Open {
    taps: Vec<(Arc<Tapping>, StreamId)>,
    source: SocketAddr,
    source_labels: Labels,
    destination: SocketAddr,
    destination_labels: Labels,
    route_labels: Labels,
    direction: Direction,
    begun: Instant,
}

/// The body of a response that somebody looks at.
#[derive(Debug)]
struct Answer {
    open: Open,
    begun: Instant,
    bytes: u64,
    code: Option<Code>,
}

impl Tapped {
    pub(super) fn begin(
        taps: Vec<(Arc<Tapping>, StreamId)>,
        seen: &Seen<'_>,
        source_labels: &Labels,
        direction: Direction,
        headers: &HeaderMap,
    ) -> Self {
        let open = Open {
            taps,
            source: seen.source,
            source_labels: source_labels.clone(),
            destination: seen.destination,
            destination_labels: seen.destination_labels.clone(),
            route_labels: seen.route_labels.clone(),
            direction,
            begun: Instant::now(),
        };
        open.tell(|shown| What::Request {
            method: seen.method.clone(),
            scheme: seen.scheme.to_owned(),
            authority: seen.authority.to_owned(),
            path: seen.path.to_owned(),
            headers: shown_of(shown, Some(headers)),
        });
        Self(Some(open))
    }

    /// The response is here; its body is followed to its end.
    pub(crate) fn response(mut self, response: Response<Body>) -> Response<Body> {
        let Some(open) = self.0.take() else { return response };
        let since_request = open.begun.elapsed();
        open.tell(|shown| What::Response { since_request, status: response.status(), headers: shown_of(shown, Some(response.headers())) });
        let code = Code::from_headers(response.headers());
        response.map(|body| Body::wrap(Followed::new(body, Answer { open, begun: Instant::now(), bytes: 0, code })))
    }

    /// There is no response.
    pub(crate) fn failed(mut self, error: &Error) {
        if let Some(open) = self.0.take() {
            open.end(Duration::ZERO, 0, Eos::Reset(reset_code(Failure::of(error))), None);
        }
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.end(Duration::ZERO, 0, Eos::Reset(CANCEL), None);
        }
    }
}

impl Open {
    fn tell(&self, what: impl Fn(Headers) -> What) {
        for (tap, id) in &self.taps {
            let event = Event {
                source: self.source,
                source_labels: self.source_labels.clone(),
                destination: self.destination,
                destination_labels: self.destination_labels.clone(),
                route_labels: self.route_labels.clone(),
                direction: self.direction,
                id: *id,
                what: what(tap.headers),
            };
            // Whoever is too slow misses some; whoever is gone misses nothing.
            if let Err(TrySendError::Full(_)) = tap.events.try_send(event) {
                tap.dropped.incr();
            }
        }
    }

    fn end(&self, since_response: Duration, bytes: u64, eos: Eos, trailers: Option<&HeaderMap>) {
        let since_request = self.begun.elapsed();
        self.tell(|shown| What::End { since_request, since_response, bytes, eos, trailers: shown_of(shown, trailers) });
    }
}

impl Listen for Answer {
    fn data(&mut self, len: usize) {
        self.bytes += len as u64;
    }

    fn end(self, end: End<'_>) {
        let code = self.code.or_else(|| end.trailers().and_then(Code::from_headers));
        let eos = match (end.failure(), code) {
            (Some(failure), _) => Eos::Reset(reset_code(failure)),
            (None, Some(code)) => Eos::Grpc(code.get().into()),
            (None, None) => Eos::Ended,
        };
        self.open.end(self.begun.elapsed(), self.bytes, eos, end.trailers());
    }
}

const fn reset_code(failure: Failure) -> u32 {
    match failure {
        Failure::Reset(code) => code,
        Failure::Timeout(_) => CANCEL,
        Failure::Cause(_) | Failure::Unknown => INTERNAL_ERROR,
    }
}

fn shown_of(shown: Headers, headers: Option<&HeaderMap>) -> HeaderMap {
    match (shown, headers) {
        (Headers::Shown, Some(headers)) => headers.clone(),
        _ => HeaderMap::new(),
    }
}
