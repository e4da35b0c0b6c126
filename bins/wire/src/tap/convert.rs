//! Requests to observe and events, to and from their messages.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use linkerd2_proxy_api::{http_types, tap as proto};

use super::{Direction, Eos, Event, Headers, Observe, StreamId, What, matches};
use crate::{Invalid, net};

/// Reads what is asked of a tap.
///
/// # Errors
/// There is no limit or no match, or the match is malformed or too large.
pub fn read_observe(message: proto::ObserveRequest) -> Result<Observe, Invalid> {
    use proto::observe_request::extract::{Extract, Http, http};

    if message.limit == 0 {
        return Err(Invalid::new("limit", "must be above 0"));
    }
    let headers = match message.extract.and_then(|extract| extract.extract) {
        Some(Extract::Http(Http { extract: Some(http::Extract::Headers(_)) })) => Headers::Shown,
        _ => Headers::Hidden,
    };
    Ok(Observe { limit: message.limit, matches: matches::read(message.r#match.ok_or_else(|| Invalid::missing("match"))?)?, headers })
}

/// The message of what is asked of a tap.
#[must_use]
pub fn observe_to(observe: &Observe) -> proto::ObserveRequest {
    use proto::observe_request::{
        Extract,
        extract::{Extract as Of, Http, http},
    };

    let shown = http::Extract::Headers(http::Headers {});
    let extract = || Extract { extract: Some(Of::Http(Http { extract: Some(shown) })) };
    proto::ObserveRequest {
        limit: observe.limit,
        r#match: Some(matches::write(&observe.matches)),
        extract: (observe.headers == Headers::Shown).then(extract),
    }
}

/// The message of an event, with the headers if whoever asked wants them: then those come first that HTTP/2 has in place of a first line.
#[must_use]
pub fn event_to(event: &Event, shown: Headers) -> proto::TapEvent {
    use proto::tap_event::{EndpointMeta, Event as Of, Http, ProxyDirection, RouteMeta, http};

    let id = Some(http::StreamId { base: event.id.base, stream: event.id.stream });
    let span = |time: Duration| Some(net::duration_to(time));
    let told = |pseudo: &[(&str, &str)], headers: &HeaderMap| match shown {
        Headers::Shown => headers_to(pseudo, headers),
        Headers::Hidden => None,
    };
    let what = match &event.what {
        What::Request { method, scheme, authority, path, headers } => http::Event::RequestInit(http::RequestInit {
            id,
            method: Some(method.clone().into()),
            scheme: Some(matches::scheme(scheme)),
            authority: authority.clone(),
            path: path.clone(),
            headers: told(&[(":method", method.as_str()), (":scheme", scheme), (":authority", authority), (":path", path)], headers),
        }),
        What::Response { since_request, status, headers } => http::Event::ResponseInit(http::ResponseInit {
            id,
            since_request_init: span(*since_request),
            http_status: status.as_u16().into(),
            headers: told(&[(":status", status.as_str())], headers),
        }),
        What::End { since_request, since_response, bytes, eos, trailers } => http::Event::ResponseEnd(http::ResponseEnd {
            id,
            since_request_init: span(*since_request),
            since_response_init: span(*since_response),
            response_bytes: *bytes,
            eos: match eos {
                Eos::Ended => None,
                Eos::Grpc(code) => Some(proto::Eos { end: Some(proto::eos::End::GrpcStatusCode(*code)) }),
                Eos::Reset(code) => Some(proto::Eos { end: Some(proto::eos::End::ResetErrorCode(*code)) }),
            },
            trailers: told(&[], trailers),
        }),
    };
    let direction = match event.direction {
        Direction::Inbound => ProxyDirection::Inbound,
        Direction::Outbound => ProxyDirection::Outbound,
    };
    let labels = |labels: &super::Labels| labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    proto::TapEvent {
        source: Some(net::tcp_address(event.source)),
        source_meta: Some(EndpointMeta { labels: labels(&event.source_labels) }),
        destination: Some(net::tcp_address(event.destination)),
        destination_meta: Some(EndpointMeta { labels: labels(&event.destination_labels) }),
        route_meta: Some(RouteMeta { labels: labels(&event.route_labels) }),
        proxy_direction: direction.into(),
        event: Some(Of::Http(Http { event: Some(what) })),
    }
}

/// Reads an event.
///
/// # Errors
/// A field is missing or malformed.
pub fn event(message: proto::TapEvent) -> Result<Event, Invalid> {
    use proto::tap_event::{Event as Of, ProxyDirection, http};

    let labels = |meta: Option<proto::tap_event::EndpointMeta>| meta.unwrap_or_default().labels.into_iter().collect();
    let direction = match message.proxy_direction() {
        ProxyDirection::Inbound => Direction::Inbound,
        ProxyDirection::Outbound => Direction::Outbound,
        ProxyDirection::Unknown => return Err(Invalid::missing("proxy_direction")),
    };
    let Some(Of::Http(what)) = message.event else { return Err(Invalid::missing("event")) };
    let span = |time: Option<prost_types::Duration>, field: &str| Ok(net::duration(time, field)?.unwrap_or_default());
    let (id, what) = match what.event.ok_or_else(|| Invalid::missing("http.event"))? {
        http::Event::RequestInit(init) => {
            let method = init.method.ok_or_else(|| Invalid::missing("method"))?;
            let what = What::Request {
                method: Method::try_from(method).map_err(|e| Invalid::new("method", e))?,
                scheme: matches::read_scheme(init.scheme.unwrap_or_default()),
                authority: init.authority,
                path: init.path,
                headers: headers(init.headers)?,
            };
            (init.id, what)
        }
        http::Event::ResponseInit(init) => {
            let status = u16::try_from(init.http_status).ok().and_then(|status| StatusCode::from_u16(status).ok());
            let what = What::Response {
                since_request: span(init.since_request_init, "since_request_init")?,
                status: status.ok_or_else(|| Invalid::new("http_status", format_args!("{} is not a status", init.http_status)))?,
                headers: headers(init.headers)?,
            };
            (init.id, what)
        }
        http::Event::ResponseEnd(end) => {
            let what = What::End {
                since_request: span(end.since_request_init, "since_request_init")?,
                since_response: span(end.since_response_init, "since_response_init")?,
                bytes: end.response_bytes,
                eos: match end.eos.and_then(|eos| eos.end) {
                    None => Eos::Ended,
                    Some(proto::eos::End::GrpcStatusCode(code)) => Eos::Grpc(code),
                    Some(proto::eos::End::ResetErrorCode(code)) => Eos::Reset(code),
                },
                trailers: headers(end.trailers)?,
            };
            (end.id, what)
        }
    };
    let id = id.ok_or_else(|| Invalid::missing("id"))?;
    Ok(Event {
        source: net::socket_addr(message.source)?,
        source_labels: labels(message.source_meta),
        destination: net::socket_addr(message.destination)?,
        destination_labels: labels(message.destination_meta),
        route_labels: message.route_meta.unwrap_or_default().labels.into_iter().collect(),
        direction,
        id: StreamId { base: id.base, stream: id.stream },
        what,
    })
}

/// No headers are no message.
fn headers_to(pseudo: &[(&str, &str)], headers: &HeaderMap) -> Option<http_types::Headers> {
    let header = |name: &str, value: &[u8]| http_types::headers::Header { name: name.to_owned(), value: value.to_vec() };
    let pseudo = pseudo.iter().map(|(name, value)| header(name, value.as_bytes()));
    let headers: Vec<_> = pseudo.chain(headers.iter().map(|(name, value)| header(name.as_str(), value.as_bytes()))).collect();
    (!headers.is_empty()).then_some(http_types::Headers { headers })
}

/// Pseudo headers, which say again what the event says, are passed over.
fn headers(message: Option<http_types::Headers>) -> Result<HeaderMap, Invalid> {
    let mut headers = HeaderMap::new();
    for header in message.unwrap_or_default().headers.into_iter().filter(|header| !header.name.starts_with(':')) {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|e| Invalid::new("headers.name", e))?;
        headers.append(name, HeaderValue::from_bytes(&header.value).map_err(|e| Invalid::new("headers.value", e))?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::Match;

    fn sample(what: What) -> Event {
        let labels = |key: &str| [(key.to_owned(), "x".to_owned())].into();
        Event {
            source: "10.0.0.1:4000".parse().unwrap(),
            source_labels: labels("client_id"),
            destination: "[fd00::1]:80".parse().unwrap(),
            destination_labels: labels("deployment"),
            route_labels: labels("route"),
            direction: Direction::Outbound,
            id: StreamId { base: 7, stream: 9 },
            what,
        }
    }

    #[test]
    fn events_come_out_as_they_went_in() {
        let headers: HeaderMap = [(HeaderName::from_static("x"), HeaderValue::from_static("y"))].into_iter().collect();
        let (long, short) = (Duration::from_millis(1500), Duration::from_micros(3));
        let request = |scheme: &str| What::Request {
            method: Method::from_bytes(b"PURGE").unwrap(),
            scheme: scheme.to_owned(),
            authority: "web:80".to_owned(),
            path: "/a?b".to_owned(),
            headers: headers.clone(),
        };
        let end = |eos| What::End { since_request: long, since_response: short, bytes: 5, eos, trailers: headers.clone() };
        let response = What::Response { since_request: long, status: StatusCode::IM_A_TEAPOT, headers: HeaderMap::new() };
        for what in [request("http"), request("https"), request("ws"), response, end(Eos::Ended), end(Eos::Grpc(7)), end(Eos::Reset(8))] {
            let before = sample(what);
            assert_eq!(event(event_to(&before, Headers::Shown)), Ok(before));
        }
    }

    #[test]
    fn headers_that_are_shown_begin_with_those_of_http_2() {
        use proto::tap_event::{Event as Of, http::Event as Http};

        let names = |event: &Event, shown| {
            let Some(Of::Http(what)) = event_to(event, shown).event else { panic!("{event:?}") };
            let headers = match what.event {
                Some(Http::RequestInit(init)) => init.headers,
                Some(Http::ResponseInit(init)) => init.headers,
                Some(Http::ResponseEnd(end)) => end.trailers,
                None => None,
            };
            let text = |header: http_types::headers::Header| format!("{} {}", header.name, String::from_utf8_lossy(&header.value));
            headers.map(|headers| headers.headers.into_iter().map(text).collect::<Vec<_>>())
        };
        let headers: HeaderMap = [(HeaderName::from_static("x"), HeaderValue::from_static("y"))].into_iter().collect();
        let (method, scheme) = (Method::GET, "http".to_owned());
        let request = What::Request { method, scheme, authority: "web".to_owned(), path: "/a".to_owned(), headers: headers.clone() };
        let response = What::Response { since_request: Duration::ZERO, status: StatusCode::OK, headers: HeaderMap::new() };
        let (since_request, since_response) = (Duration::ZERO, Duration::ZERO);
        let end = |trailers| What::End { since_request, since_response, bytes: 0, eos: Eos::Ended, trailers };
        let all = |lines: &[&str]| Some(lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        for (what, want) in [
            (request, all(&[":method GET", ":scheme http", ":authority web", ":path /a", "x y"])),
            (response, all(&[":status 200"])),
            (end(headers), all(&["x y"])),
            (end(HeaderMap::new()), None),
        ] {
            let event = sample(what);
            assert_eq!(names(&event, Headers::Shown), want);
            assert_eq!(names(&event, Headers::Hidden), None);
        }
    }

    #[test]
    fn a_limit_is_needed_and_headers_are_told_only_to_who_asks() {
        let mut asked = Observe { limit: 5, matches: Match::All(Vec::new()), headers: Headers::Shown };
        assert_eq!(read_observe(observe_to(&asked)), Ok(asked.clone()));
        asked.headers = Headers::Hidden;
        assert_eq!(read_observe(observe_to(&asked)), Ok(asked.clone()));
        asked.limit = 0;
        assert_eq!(read_observe(observe_to(&asked)).unwrap_err().to_string(), "limit: must be above 0");
        assert!(read_observe(proto::ObserveRequest { limit: 1, ..Default::default() }).is_err());
    }
}
