//! Spans of the requests that belong to a trace. A proxy continues a trace, and never begins one.

mod context;
mod export;

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, Request, Uri, header};
use meshkit_core::{Clock, Dice};
use meshkit_wire::trace::{Attribute, Kind, Span};
use tokio::sync::mpsc;

use self::context::Context;
pub(crate) use self::export::{Exporter, resource};

/// Spans that wait to be told of. Further ones are dropped, and counted.
const BACKLOG: usize = 100;

/// Which side of a proxy a request is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Makes spans of one direction's requests. Clones share the way to the collector.
#[derive(Clone, Debug)]
pub struct Tracer {
    direction: Direction,
    spans: mpsc::Sender<Span>,
    clock: Arc<dyn Clock>,
    dice: Dice,
    dropped: Arc<meshkit_runtime::metrics::Counter>,
}

/// A span that has begun. Dropping it ends it untold: what got no response has no span.
#[derive(Debug)]
pub(crate) struct Begun {
    tracer: Tracer,
    /// None where nobody wants to know: then only the headers were passed on.
    span: Option<Span>,
}

impl Tracer {
    /// Two tracers, inbound and outbound, and what their spans are taken from.
    pub(crate) fn pair(
        clock: &Arc<dyn Clock>,
        dice: &Dice,
        dropped: &Arc<meshkit_runtime::metrics::Counter>,
    ) -> (Self, Self, mpsc::Receiver<Span>) {
        let (spans, receiver) = mpsc::channel(BACKLOG);
        let tracer = |direction| Self {
            direction,
            spans: spans.clone(),
            clock: Arc::clone(clock),
            dice: dice.clone(),
            dropped: Arc::clone(dropped),
        };
        (tracer(Direction::Inbound), tracer(Direction::Outbound), receiver)
    }

    /// Begins a span if the request belongs to a trace, and makes it the parent of what follows.
    pub(crate) fn begin<B>(&self, request: &mut Request<B>, kind: Kind) -> Option<Begun> {
        let context = Context::of(request.headers())?;
        // All zeros would be no id.
        let span_id = self.dice.roll().max(1).to_be_bytes();
        context.pass_on(span_id, request.headers_mut());
        let span = context.sampled.then(|| Span {
            trace_id: context.trace_id,
            span_id,
            parent: context.parent,
            name: request.uri().path().to_owned(),
            kind,
            start: self.clock.now(),
            end: SystemTime::UNIX_EPOCH,
            attributes: attributes(self.direction, request),
        });
        Some(Begun { tracer: self.clone(), span })
    }
}

impl Begun {
    /// The response's head is here.
    pub(crate) fn ended(self, status: http::StatusCode) {
        let Some(mut span) = self.span else { return };
        span.end = self.tracer.clock.now();
        span.attributes.push(Attribute::number("http.response.status_code", status.as_u16().into()));
        if self.tracer.spans.try_send(span).is_err() {
            self.tracer.dropped.incr();
        }
    }
}

/// What a request tells of itself. Source of the names: OpenTelemetry semantic conventions, "HTTP spans".
fn attributes<B>(direction: Direction, request: &Request<B>) -> Vec<Attribute> {
    let (uri, headers) = (request.uri(), request.headers());
    let mut all = vec![
        Attribute::text("direction", direction.as_str()),
        Attribute::text("http.request.method", request.method().as_str()),
        Attribute::text("url.path", uri.path()),
        Attribute::text("url.full", without_credentials(uri)),
        Attribute::text("network.transport", "tcp"),
    ];
    all.extend(uri.scheme_str().map(|scheme| Attribute::text("url.scheme", scheme)));
    all.extend(uri.query().map(|query| Attribute::text("url.query", query)));
    let host =
        text(headers, "x-forwarded-host").or_else(|| text(headers, header::HOST.as_str())).or_else(|| uri.authority().map(|a| a.as_str()));
    if let Some(server) = host.and_then(|host| meshkit_core::Authority::parse(host, default_port(uri)).ok()) {
        let address = server.socket_addr().map(|addr| addr.ip().to_string()).or_else(|| server.name().map(str::to_owned));
        all.extend(address.map(|address| Attribute::text("server.address", address)));
        all.push(Attribute::number("server.port", server.port().into()));
    }
    let known = [
        ("user-agent", "user_agent.original"),
        ("content-length", "http.request.header.content-length"),
        ("content-type", "http.request.header.content-type"),
        ("l5d-orig-proto", "http.request.header.l5d-orig-proto"),
    ];
    all.extend(known.into_iter().filter_map(|(header, key)| Some(Attribute::text(key, text(headers, header)?))));
    all
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn default_port(uri: &Uri) -> u16 {
    if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 }
}

/// A user and a password are nobody's business.
fn without_credentials(uri: &Uri) -> String {
    match uri.authority().and_then(|authority| authority.as_str().rsplit_once('@')) {
        Some((credentials, _)) => uri.to_string().replacen(&format!("{credentials}@"), "REDACTED:REDACTED@", 1),
        None => uri.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use meshkit_core::SystemClock;
    use meshkit_runtime::metrics::Counter;
    use meshkit_wire::trace::Value;

    use super::*;

    fn tracer() -> (Tracer, mpsc::Receiver<Span>, Arc<Counter>) {
        let dropped = Arc::new(Counter::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (inbound, _, spans) = Tracer::pair(&clock, &Dice::new(1), &dropped);
        (inbound, spans, dropped)
    }

    fn request(flags: &str) -> Request<()> {
        let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        let request = Request::post("http://me:secret@web.ns:81/a?b=c").header("traceparent", parent);
        request.header("host", "web.ns:81").header("user-agent", "curl/8").body(()).unwrap()
    }

    #[test]
    fn a_sampled_request_makes_a_span_that_what_follows_is_a_part_of() {
        let (tracer, mut spans, _) = tracer();
        let mut request = request("01");
        tracer.begin(&mut request, Kind::Server).unwrap().ended(StatusCode::NOT_FOUND);
        let span = spans.try_recv().unwrap();
        let passed = Context::of(request.headers()).unwrap();
        assert_eq!((passed.parent, passed.trace_id), (span.span_id, span.trace_id));
        assert_eq!((span.parent[0], span.kind, span.name.as_str()), (0xb7, Kind::Server, "/a"));
        assert!(span.end >= span.start);
        let value = |key: &str| span.attributes.iter().find(|a| a.key == key).map(|a| a.value.clone());
        for (key, text) in [
            ("direction", "inbound"),
            ("http.request.method", "POST"),
            ("url.scheme", "http"),
            ("url.path", "/a"),
            ("url.query", "b=c"),
            ("url.full", "http://REDACTED:REDACTED@web.ns:81/a?b=c"),
            ("server.address", "web.ns"),
            ("user_agent.original", "curl/8"),
        ] {
            assert_eq!(value(key), Some(Value::Text(text.to_owned())), "{key}");
        }
        assert_eq!(value("server.port"), Some(Value::Number(81)));
        assert_eq!(value("http.response.status_code"), Some(Value::Number(404)));
    }

    #[test]
    fn what_is_not_sampled_is_passed_on_untold_and_what_has_no_trace_is_left_alone() {
        let (tracer, mut spans, _) = tracer();
        let mut unsampled = request("00");
        tracer.begin(&mut unsampled, Kind::Client).unwrap().ended(StatusCode::OK);
        assert_ne!(Context::of(unsampled.headers()).unwrap().parent[0], 0xb7);
        let mut untraced = Request::new(());
        assert!(tracer.begin(&mut untraced, Kind::Client).is_none());
        assert!(untraced.headers().is_empty());
        assert!(spans.try_recv().is_err());
    }

    #[test]
    fn spans_that_nobody_takes_are_dropped_and_counted() {
        let (tracer, _spans, dropped) = tracer();
        for _ in 0..BACKLOG + 3 {
            tracer.begin(&mut request("01"), Kind::Server).unwrap().ended(StatusCode::OK);
        }
        assert_eq!(dropped.value(), 3);
    }
}
