//! HTTP/2 as it should not be, at the inbound side. The error codes are those of RFC 9113, section 7.

use crate::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, POST, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, field,
        frame, next, until,
    },
    support::{Running, peer::Peer, start, start_with},
};

const TCP_ERRORS: &str = "inbound_tcp_errors_total";

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

fn open(proxy: &Running) -> Peer {
    let mut peer = proxy.peer();
    peer.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    peer
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
}

/// A request on a connection of its own is answered.
fn is_served(proxy: &Running) {
    let mut peer = open(proxy);
    peer.send(&get(1));
    // `:status: 200`, of the static table.
    assert_eq!(until(&mut peer, HEADERS).payload[0], 0x88);
    assert_eq!(until(&mut peer, DATA).payload, b"ok");
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_how_and_its_connection_is_closed() {
    let proxy = start();
    is_served(&proxy);
    let steady = proxy.steady();
    let block = |last: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &[GET, last].concat());
    let broken: [(&str, Vec<u8>, u32); 11] = [
        ("DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, GET), PROTOCOL_ERROR),
        ("HEADERS on a stream of the server", frame(HEADERS, END_HEADERS, 2, GET), PROTOCOL_ERROR),
        ("a frame that is too long", vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1], FRAME_SIZE_ERROR),
        // RFC 9113 has closer codes for the next three; these are what the library says.
        ("a PING of the wrong length", frame(PING, 0, 0, b"x"), PROTOCOL_ERROR),
        ("SETTINGS of the wrong length", frame(SETTINGS, 0, 0, b"x"), PROTOCOL_ERROR),
        // These could be reset alone (section 8.1.1); the library does not read on behind them.
        ("upper case", block(&field("X-Upper", "1")), PROTOCOL_ERROR),
        ("a line break", block(&field("x", "a\r\nl5d-client-id: admin")), PROTOCOL_ERROR),
        ("an unknown pseudo header", block(&field(":evil", "1")), PROTOCOL_ERROR),
        ("a header block that cannot be decoded", frame(HEADERS, END_HEADERS, 1, &[0xff; 40]), PROTOCOL_ERROR),
        ("a window beyond 2^31", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), FLOW_CONTROL_ERROR),
    ];
    for (count, (what, bytes, code)) in (1..).zip(broken) {
        let mut peer = open(&proxy);
        peer.send(&bytes);
        assert_eq!(until(&mut peer, GOAWAY).code(), code, "{what}");
        peer.rest();
        proxy.counted(TCP_ERRORS, &["error=\"i/o\""], f64::from(count));
        proxy.logged(&["connection closed", &peer.name()]);
    }
    is_served(&proxy);
    steady.was_served();
}

#[test]
fn a_preface_that_is_none_ends_the_connection() {
    let proxy = start();
    let mut peer = proxy.peer();
    peer.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    peer.rest();
    proxy.counted(TCP_ERRORS, &["error=\"i/o\""], 1.0);
    proxy.logged(&["connection closed", &peer.name()]);
    is_served(&proxy);
}

#[test]
fn a_malformed_request_is_reset_and_its_neighbors_are_served() {
    let proxy = start();
    let mut peer = open(&proxy);
    let pseudo_last = [field("x-first", "1"), GET.to_vec()].concat();
    let malformed: [(&str, Vec<u8>); 5] = [
        ("no pseudo headers", field("x-only", "1")),
        ("pseudo headers behind others", pseudo_last),
        ("a header of one connection", [GET, &field("connection", "close")].concat()),
        ("transfer-encoding", [GET, &field("transfer-encoding", "chunked")].concat()),
        ("a path twice", [GET, &[0x84]].concat()),
    ];
    let mut stream = 1;
    for (what, block) in &malformed {
        peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, block));
        let reset = until(&mut peer, RST_STREAM);
        assert_eq!((reset.stream, reset.code()), (stream, PROTOCOL_ERROR), "{what}");
        stream += 2;
    }
    // A host for each reader. `:authority` is the first of the static table.
    let authority = [&[0x01, 6][..], b"public"].concat();
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &[GET, &authority, &field("host", "admin")].concat()));
    assert_eq!(until(&mut peer, HEADERS).stream, stream);
    proxy.logged(&["request failed", "name different hosts", &peer.name()]);
    drop(peer);

    let mut peer = open(&proxy);
    let stream = 1;
    // A body that is longer than it says, which a server of HTTP/1 behind would read as the next request.
    peer.send(&frame(HEADERS, END_HEADERS, stream, &[POST, &field("content-length", "1")].concat()));
    peer.send(&frame(DATA, END_STREAM, stream, b"xGET /smuggled HTTP/1.1\r\n\r\n"));
    let reset = until(&mut peer, RST_STREAM);
    assert_eq!((reset.stream, reset.code()), (stream, PROTOCOL_ERROR));

    peer.send(&get(stream + 2));
    assert_eq!(until(&mut peer, HEADERS).stream, stream + 2);
    assert!(!proxy.app.received().contains("smuggled"));
}

#[test]
fn floods_are_bounded_and_the_others_are_served() {
    let proxy = start();
    let steady = proxy.steady();

    // Headers without an end (CVE-2024-27316).
    let mut peer = open(&proxy);
    peer.send(&frame(HEADERS, 0, 1, GET));
    let more = frame(CONTINUATION, 0, 1, &field("x", &"a".repeat(10_000)));
    let sent = (0..1000).take_while(|_| peer.try_send(&more)).count();
    assert!(sent < 1000, "headers without an end are taken for ever");
    proxy.counted(TCP_ERRORS, &["error=\"i/o\""], 1.0);
    proxy.logged(&["connection closed", &peer.name()]);

    // Continuations of nothing: each is cheap, and none is ever the last.
    let mut peer = open(&proxy);
    peer.send(&frame(HEADERS, 0, 1, GET));
    let nothing = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
    let sent = (0..1000).take_while(|_| peer.try_send(&nothing)).count();
    assert!(sent < 1000, "empty continuations are taken for ever");

    // Requests that are withdrawn at once (CVE-2023-44487).
    let mut peer = open(&proxy);
    for stream in (1..20_000).step_by(2) {
        let reset = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
        if !peer.try_send(&[get(stream), reset].concat()) {
            break;
        }
    }
    let goaway = until(&mut peer, GOAWAY);
    assert_eq!(goaway.code(), ENHANCE_YOUR_CALM);
    proxy.logged(&["connection closed", &peer.name()]);
    is_served(&proxy);
    steady.was_served();
}

#[test]
fn answers_that_nobody_reads_are_not_kept_without_end() {
    let proxy = start();
    let steady = proxy.steady();
    // Each of these asks for an acknowledgement, and the client reads none.
    for flood in [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[0; 8])] {
        let mut peer = open(&proxy);
        let many = flood.repeat(1000);
        peer.patience(std::time::Duration::from_millis(300));
        let sent = (0..4000).take_while(|_| peer.try_send(&many)).count();
        assert!(sent < 4000, "the proxy takes what it cannot answer");
    }
    is_served(&proxy);
    steady.was_served();
}

#[test]
fn headers_beyond_the_limit_are_refused_with_431_that_names_the_setting() {
    let proxy = start_with(|config| config.limits.max_header_bytes = 10_000);
    let mut peer = open(&proxy);
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[GET, &field("x", &"a".repeat(12_000))].concat()));
    until(&mut peer, HEADERS);
    let text = String::from_utf8(until(&mut peer, DATA).payload).unwrap();
    assert!(text.contains("MESH_PROXY_MAX_HEADER_BYTES (10000)"), "{text}");
    proxy.counted("inbound_http_errors_total", &["error=\"unexpected\""], 1.0);
    proxy.logged(&["MESH_PROXY_MAX_HEADER_BYTES", &peer.name()]);

    // So much that the library refuses it: nobody behind it sees anything.
    let mut peer = open(&proxy);
    let block = [GET.to_vec(), field("x", &"a".repeat(16_000))].concat();
    peer.send(&frame(HEADERS, 0, 1, &block));
    for _ in 0..9 {
        if !peer.try_send(&frame(CONTINUATION, 0, 1, &field("x", &"a".repeat(16_000)))) {
            break;
        }
    }
    let _ = peer.try_send(&frame(CONTINUATION, END_HEADERS, 1, &[]));
    let mut refused = false;
    while let Some(frame) = next(&mut peer) {
        // `:status: 431` is not in the static table: a literal that names the field of the status by its index.
        refused |= frame.kind == GOAWAY || frame.kind == RST_STREAM || (frame.kind == HEADERS && frame.payload[0] != 0x88);
        if refused {
            break;
        }
    }
    assert!(refused);
    is_served(&proxy);
}
