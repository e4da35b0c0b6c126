//! Events as a person reads them, or a program.

use std::fmt::Write as _;

use http::HeaderMap;
use meshkit_core::grpc::Code;
use meshkit_wire::tap::{Direction, Eos, Event, Labels, What};
use serde_json::{Value, json};

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A line for each
    Plain,
    /// The same, with all labels
    Wide,
    /// A JSON object for each, with headers
    Json,
}

/// One event.
pub(crate) fn show(event: &Event, output: Output) -> String {
    match output {
        Output::Plain => line(event),
        Output::Wide => wide(event),
        Output::Json => json(event).to_string(),
    }
}

fn line(event: &Event) -> String {
    let (direction, labels) = match event.direction {
        Direction::Inbound => ("in", &event.source_labels),
        Direction::Outbound => ("out", &event.destination_labels),
    };
    let kind = match event.what {
        What::Request { .. } => "req",
        What::Response { .. } => "rsp",
        What::End { .. } => "end",
    };
    let tls = labels.get("tls").map_or("", String::as_str);
    let id = event.id;
    let mut out = format!("{kind} id={}:{} proxy={direction} src={} dst={} tls={tls}", id.base, id.stream, event.source, event.destination);
    // Writing to a `String` cannot fail.
    let _ = match &event.what {
        What::Request { method, authority, path, .. } => write!(out, " :method={method} :authority={authority} :path={path}"),
        What::Response { since_request, status, .. } => write!(out, " :status={} latency={}µs", status.as_u16(), since_request.as_micros()),
        What::End { since_request: _, since_response, bytes, eos, .. } => {
            let ended = match eos {
                Eos::Ended => String::new(),
                Eos::Grpc(code) => format!(" grpc-status={}", grpc_name(*code)),
                Eos::Reset(code) => format!(" reset-error={code}"),
            };
            write!(out, "{ended} duration={}µs response-length={bytes}B", since_response.as_micros())
        }
    };
    out
}

/// `DEADLINE_EXCEEDED` is shown as `DeadlineExceeded`.
fn grpc_name(code: u32) -> String {
    let Some(code) = u8::try_from(code).ok().and_then(Code::new) else { return code.to_string() };
    let word = |word: &str| word.get(..1).unwrap_or_default().to_owned() + &word.get(1..).unwrap_or_default().to_ascii_lowercase();
    match code {
        Code::OK => "OK".to_owned(),
        code => code.name().split('_').map(word).collect(),
    }
}

fn wide(event: &Event) -> String {
    let mut out = line(event);
    for (prefix, labels) in [("src", &event.source_labels), ("dst", &event.destination_labels), ("rt", &event.route_labels)] {
        for (key, value) in labels {
            let _ = write!(out, " {prefix}_{key}={value}");
        }
    }
    out
}

fn json(event: &Event) -> Value {
    let end = |addr: std::net::SocketAddr, labels: &Labels| json!({"ip": addr.ip().to_string(), "port": addr.port(), "metadata": labels});
    let direction = match event.direction {
        Direction::Inbound => "INBOUND",
        Direction::Outbound => "OUTBOUND",
    };
    let id = json!({"base": event.id.base, "stream": event.id.stream});
    let span = |time: std::time::Duration| json!({"seconds": time.as_secs(), "nanos": time.subsec_nanos()});
    let mut out = json!({
        "source": end(event.source, &event.source_labels),
        "destination": end(event.destination, &event.destination_labels),
        "routeMeta": event.route_labels,
        "proxyDirection": direction,
    });
    let (key, what) = match &event.what {
        What::Request { method, scheme, authority, path, headers } => {
            let headers = list(headers);
            let what =
                json!({"id": id, "method": method.as_str(), "scheme": scheme, "authority": authority, "path": path, "headers": headers});
            ("requestInitEvent", what)
        }
        What::Response { since_request, status, headers } => {
            let what = json!({"id": id, "sinceRequestInit": span(*since_request), "httpStatus": status.as_u16(), "headers": list(headers)});
            ("responseInitEvent", what)
        }
        What::End { since_request, since_response, bytes, eos, trailers } => {
            let mut what = json!({
                "id": id,
                "sinceRequestInit": span(*since_request),
                "sinceResponseInit": span(*since_response),
                "responseBytes": bytes,
                "trailers": list(trailers),
            });
            match eos {
                Eos::Ended => {}
                Eos::Grpc(code) => what["grpcStatusCode"] = json!(code),
                Eos::Reset(code) => what["resetErrorCode"] = json!(code),
            }
            ("responseEndEvent", what)
        }
    };
    out[key] = what;
    out
}

/// A value that is not text is shown as its bytes.
fn list(headers: &HeaderMap) -> Vec<Value> {
    let one = |(name, value): (&http::HeaderName, &http::HeaderValue)| match value.to_str() {
        Ok(text) => json!({"name": name.as_str(), "valueStr": text}),
        Err(_) => json!({"name": name.as_str(), "valueBin": value.as_bytes()}),
    };
    headers.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode};
    use meshkit_wire::tap::StreamId;

    use super::*;

    fn event(what: What) -> Event {
        let labels = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
        Event {
            source: "10.0.0.1:4000".parse().unwrap(),
            source_labels: labels("tls", "true"),
            destination: "10.0.0.2:80".parse().unwrap(),
            destination_labels: labels("deployment", "web"),
            route_labels: labels("route", "a"),
            direction: Direction::Inbound,
            id: StreamId { base: 3, stream: 4 },
            what,
        }
    }

    fn end(eos: Eos) -> Event {
        let (since_request, since_response) = (Duration::from_millis(2), Duration::from_micros(7));
        event(What::End { since_request, since_response, bytes: 5, eos, trailers: HeaderMap::new() })
    }

    #[test]
    fn a_line_says_who_and_what() {
        const HEAD: &str = "id=3:4 proxy=in src=10.0.0.1:4000 dst=10.0.0.2:80 tls=true";
        let (scheme, authority, path) = ("http".to_owned(), "web:80".to_owned(), "/a".to_owned());
        let request = event(What::Request { method: Method::GET, scheme, authority, path, headers: HeaderMap::new() });
        assert_eq!(show(&request, Output::Plain), format!("req {HEAD} :method=GET :authority=web:80 :path=/a"));
        let wide = show(&request, Output::Wide);
        assert!(wide.ends_with(" src_tls=true dst_deployment=web rt_route=a"), "{wide}");

        let response = event(What::Response { since_request: Duration::from_millis(1), status: StatusCode::OK, headers: HeaderMap::new() });
        assert_eq!(show(&response, Output::Plain), format!("rsp {HEAD} :status=200 latency=1000µs"));
        for (eos, said) in [
            (Eos::Ended, ""),
            (Eos::Grpc(4), " grpc-status=DeadlineExceeded"),
            (Eos::Grpc(0), " grpc-status=OK"),
            (Eos::Reset(8), " reset-error=8"),
        ] {
            assert_eq!(show(&end(eos), Output::Plain), format!("end {HEAD}{said} duration=7µs response-length=5B"));
        }
    }

    #[test]
    fn json_has_headers_and_times() {
        let headers: HeaderMap = [("x", "1")].iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect();
        let response = event(What::Response { since_request: Duration::from_millis(1500), status: StatusCode::OK, headers });
        let json: Value = serde_json::from_str(&show(&response, Output::Json)).unwrap();
        assert_eq!(json["proxyDirection"], "INBOUND");
        assert_eq!(json["source"], json!({"ip": "10.0.0.1", "port": 4000, "metadata": {"tls": "true"}}));
        let init = &json["responseInitEvent"];
        assert_eq!(init["sinceRequestInit"], json!({"seconds": 1, "nanos": 500_000_000}));
        assert_eq!(init["headers"], json!([{"name": "x", "valueStr": "1"}]));
        let json: Value = serde_json::from_str(&show(&end(Eos::Grpc(7)), Output::Json)).unwrap();
        assert_eq!(json["responseEndEvent"]["grpcStatusCode"], 7);
    }
}
