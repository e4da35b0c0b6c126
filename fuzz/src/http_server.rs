//! Everything that a client sends on a connection to the HTTP server.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use meshkit_core::drain;
use meshkit_http::{
    Body,
    detect::Version,
    server::{ClientEnd, Settings, serve},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{Input, Verdict};

/// What comes before the first frame that a client may choose: the preface, and empty settings.
const HTTP2_FRONT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Room for all that is sent and answered without anybody waiting: a body comes back once, and headers in refusals do.
const ROOM: usize = 1 << 20;
/// A hang of the server, not a slow machine: nothing here waits for anything but memory.
const HANG: Duration = Duration::from_secs(60);
const MAX_HEADER_BYTES: usize = 512;

/// The first byte says what kind of client this is; the others are what it sends, before it closes. Then the server must have ended, without a
/// panic of its tasks. What it answers over HTTP/1 must be responses, no more than there were requests; over HTTP/2, frames.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let kind = input.byte();
    let version = if kind & 1 == 0 { Version::Http1 } else { Version::Http2 };
    let front = if version == Version::Http2 && kind & 2 == 0 { HTTP2_FRONT } else { b"" };
    let client_end = if kind & 4 == 0 { ClientEnd::HalfClosed } else { ClientEnd::Gone };
    let settings = Settings { max_header_bytes: MAX_HEADER_BYTES, client_end, ..Settings::default() };
    let (calls, answer) = exchange(version, [front, input.rest()].concat(), settings);
    match version {
        Version::Http1 => check_responses(&answer, calls),
        Version::Http2 => check_frames(&answer),
    }
    Verdict::when(calls > 0)
}

/// The number of requests that came through, and what was answered.
fn exchange(version: Version, bytes: Vec<u8>, settings: Settings) -> (usize, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime of one thread needs nothing");
    runtime.block_on(async move {
        let (mut client, io) = tokio::io::duplex(ROOM);
        let (_signal, watch) = drain::channel();
        let (counted, calls) = std::sync::mpsc::channel();
        let echo = tower::service_fn(move |request: Request<Body>| {
            // The receiver outlives the connection.
            let _ = counted.send(());
            let size: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
            assert!(size <= MAX_HEADER_BYTES, "{size} bytes of headers came through");
            async move {
                let whole = request.into_body().collect().await;
                let response = match whole {
                    Ok(whole) => Response::new(Body::from(whole.to_bytes())),
                    Err(_) => Response::builder().status(StatusCode::BAD_REQUEST).body(Body::Empty).expect("a status alone"),
                };
                Ok::<_, Infallible>(response)
            }
        });
        let server = tokio::spawn(async move { serve(io, version, echo, &settings, watch).await });
        let talk = async {
            // A server that has ended reads no more.
            let _ = client.write_all(&bytes).await;
            let _ = client.shutdown().await;
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            // How the client broke the protocol is of no interest here, but a panic is.
            let _ = server.await.expect("the connection's task does not panic");
            answer
        };
        let answer = tokio::time::timeout(HANG, talk).await.expect("a connection ends with its client");
        (calls.try_iter().count(), answer)
    })
}

/// Reads responses until there are no more. One may be the library's own: to something that was no request.
fn check_responses(mut answer: &[u8], calls: usize) {
    let mut count = 0;
    while !answer.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let head = match response.parse(answer) {
            Ok(httparse::Status::Complete(head)) => head,
            other => panic!("{other:?} in {:?}", String::from_utf8_lossy(answer)),
        };
        let code = response.code.unwrap_or_default();
        let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
        answer = &answer[head..];
        if code == StatusCode::CONTINUE.as_u16() {
            continue;
        }
        count += 1;
        match length {
            Some(length) if length <= answer.len() => answer = &answer[length..],
            // To HEAD, or cut off with the connection; or without a length, to CONNECT or HTTP/1.0: whatever follows is no concern of ours.
            _ => break,
        }
        // The body of an answer to HEAD is announced, and does not come.
        if !answer.is_empty() && !answer.starts_with(b"HTTP/1.") {
            break;
        }
    }
    let refused = 1;
    assert!(count <= calls + TOO_LARGE_MAX + refused, "{count} responses to {calls} requests");
}

/// Requests whose headers are too large are answered without a call; each closes the connection.
const TOO_LARGE_MAX: usize = 1;

/// Nine bytes and as many as they say, again and again. The last one may be cut off.
fn check_frames(mut answer: &[u8]) {
    while let [a, b, c, kind, rest @ ..] = answer {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        assert!(length <= 16_384, "a frame of {length} bytes");
        assert!(*kind <= 9, "a frame of type {kind}");
        answer = rest.get(5 + length..).unwrap_or_default();
    }
}
