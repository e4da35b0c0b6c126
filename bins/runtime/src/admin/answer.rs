//! What the server answers: a function of the request and the program's state.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, VARY},
};

use super::{Access, Admin, Body, Client, Reply, Unheard, env};
use crate::logs::StreamError;

impl Admin {
    pub(super) async fn reply(&self, request: Request<Bytes>) -> Reply {
        match request.uri().path() {
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" if self.readiness.is_ready() => text(StatusCode::OK, "ready\n"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/metrics" => scrape(self.registry.encode(), request.headers()),
            "/proxy-log-level" => self.log_level(&request),
            "/logs.json" => self.log(&request),
            "/env.json" => env::answer(&self.environment, &request),
            "/shutdown" => self.request_shutdown(&request),
            path => match self.routes.get(path) {
                Some((Access::Local, _)) if !is_local(&request) => forbidden(),
                Some((_, route)) => route(request).await,
                None => text(StatusCode::NOT_FOUND, ""),
            },
        }
    }

    fn log_level(&self, request: &Request<Bytes>) -> Reply {
        if !is_local(request) {
            return forbidden();
        }
        let Some(level) = &self.logs else {
            return text(StatusCode::NOT_FOUND, "logs are off\n");
        };
        match *request.method() {
            Method::GET => text(StatusCode::OK, level.current()),
            Method::PUT => {
                let set = std::str::from_utf8(request.body()).map_err(|error| error.to_string());
                match set.and_then(|filter| level.set(filter.trim()).map_err(|error| error.to_string())) {
                    Ok(()) => text(StatusCode::NO_CONTENT, ""),
                    Err(reason) => text(StatusCode::BAD_REQUEST, reason),
                }
            }
            _ => not_allowed("GET, PUT"),
        }
    }

    /// The log from now on, through the filter that the query (`GET`) or the body (`QUERY`) is.
    fn log(&self, request: &Request<Bytes>) -> Reply {
        if !is_local(request) {
            return forbidden();
        }
        let Some(level) = &self.logs else {
            return text(StatusCode::NOT_FOUND, "logs are off\n");
        };
        let filter = match request.method().as_str() {
            "GET" => request.uri().query().map(|query| percent_decoded(query.as_bytes())),
            "QUERY" => Some(request.body().to_vec()),
            _ => return not_allowed("GET, QUERY"),
        };
        let Some(filter) = filter else {
            return text(StatusCode::BAD_REQUEST, "expected a log filter in the query, as in ?linkerd=debug\n");
        };
        let Ok(filter) = String::from_utf8(filter) else {
            return text(StatusCode::BAD_REQUEST, "the log filter is not UTF-8\n");
        };
        match level.stream(filter.trim()) {
            Ok(stream) => {
                let mut reply = Response::new(Body::log(stream, self.ending.subscribe()));
                set(&mut reply, CONTENT_TYPE, "application/json");
                reply
            }
            Err(StreamError::Filter(invalid)) => text(StatusCode::BAD_REQUEST, format!("{invalid}\n")),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        }
    }

    fn request_shutdown(&self, request: &Request<Bytes>) -> Reply {
        if request.method() != Method::POST {
            return not_allowed("POST");
        }
        if !is_local(request) {
            return forbidden();
        }
        match self.shutdown.as_ref().map(crate::shutdown::Trigger::request) {
            None => text(StatusCode::NOT_FOUND, "shutdown endpoint is not enabled\n"),
            Some(Ok(())) => text(StatusCode::OK, "shutdown\n"),
            Some(Err(Unheard)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{Unheard}\n")),
        }
    }
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    with_type(status, "text/plain", body)
}

pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::from(body.into()));
    *reply.status_mut() = status;
    set(&mut reply, CONTENT_TYPE, content_type);
    reply
}

pub(super) fn not_allowed(allow: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "");
    set(&mut reply, ALLOW, allow);
    reply
}

fn set(reply: &mut Reply, name: HeaderName, value: &'static str) {
    reply.headers_mut().insert(name, HeaderValue::from_static(value));
}

fn forbidden() -> Reply {
    text(StatusCode::FORBIDDEN, "Requests are only permitted from localhost.")
}

/// An address of another pod, even one in 127.0.0.0/8, is not this machine: where pods run as local processes, they have those.
fn is_local(request: &Request<Bytes>) -> bool {
    let local = |ip: std::net::IpAddr| ip == std::net::Ipv4Addr::LOCALHOST || ip == std::net::Ipv6Addr::LOCALHOST;
    request.extensions().get::<Client>().is_some_and(|client| local(client.0.ip().to_canonical()))
}

/// What is not an escape stands for itself.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        rest = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                &tail[2..]
            }
            _ => {
                out.push(*first);
                tail
            }
        };
    }
    out
}

fn scrape(metrics: String, headers: &HeaderMap) -> Reply {
    let mentions_gzip = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("gzip"));
    let compressed = headers.get_all(ACCEPT_ENCODING).iter().any(mentions_gzip).then(|| gzip(metrics.as_bytes())).and_then(Result::ok);
    let mut reply = match compressed {
        Some(compressed) => {
            let mut reply = text(StatusCode::OK, compressed);
            set(&mut reply, CONTENT_ENCODING, "gzip");
            reply
        }
        None => text(StatusCode::OK, metrics),
    };
    set(&mut reply, VARY, "accept-encoding");
    reply
}

fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    // The fastest level already takes nine tenths off a scrape.
    let mut out = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    out.write_all(plain)?;
    out.finish()
}
