//! HTTP/1 as it should not be, at the inbound side.

use std::time::Duration;

use crate::support::{Running, pause, start, start_with};

const HTTP_ERRORS: &str = "inbound_http_errors_total";
const TCP_ERRORS: &str = "inbound_tcp_errors_total";

/// Sends `bytes` to the inbound side, and returns the answer and the client's name.
fn refused(proxy: &Running, bytes: &[u8]) -> (String, String) {
    let mut peer = proxy.peer();
    peer.send(bytes);
    (peer.rest(), peer.name())
}

fn is_bad_request(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 ")
}

#[test]
fn what_is_no_request_is_answered_with_400_counted_and_logged() {
    let proxy = start();
    let steady = proxy.steady();
    let malformed: [&[u8]; 10] = [
        b"GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rl5d-client-id: admin\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded: yes\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    for (count, bytes) in (1..).zip(malformed) {
        let (answer, client) = refused(&proxy, bytes);
        assert!(is_bad_request(&answer), "{:?}: {answer:?}", String::from_utf8_lossy(bytes));
        proxy.counted(TCP_ERRORS, &["target_port=\"8080\"", "error=\"i/o\""], f64::from(count));
        proxy.logged(&["connection closed", &client]);
    }
    assert!(!proxy.app.received().contains("host: a"), "nothing of it reached the application: {}", proxy.app.received());
    steady.was_served();
}

#[test]
fn of_two_lengths_the_application_sees_one_and_what_is_behind_is_read_by_nobody() {
    let proxy = start();
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for lengths in [
        format!("content-length: {}\r\ntransfer-encoding: chunked", smuggled.len()),
        format!("transfer-encoding: chunked\r\ncontent-length: {}", smuggled.len()),
        "content-length: 0\r\nTransfer-Encoding: chunked".to_owned(),
    ] {
        // RFC 9112, section 6.3: the body is what the chunks say, the other length is removed, and the connection is closed.
        let (answer, _) = refused(&proxy, format!("POST /front HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\n{smuggled}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{lengths}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{lengths}: {answer:?}");
    }
    let received = proxy.app.received();
    assert_eq!(received.matches("POST /front").count(), 3, "{received}");
    assert!(!received.contains("smuggled") && !received.to_ascii_lowercase().contains("content-length"), "{received}");
}

#[test]
fn a_chunked_body_that_breaks_off_or_is_malformed_ends_its_connection_only() {
    let proxy = start();
    let steady = proxy.steady();
    for (count, body) in (1..).zip(["zz\r\nhello\r\n0\r\n\r\n", "ffffffffffffffffff\r\nx", "5\r\nhelloXX0\r\n\r\n", "5;\u{1}\r\nhello"]) {
        let mut peer = proxy.peer();
        peer.send(format!("POST /chunks HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}").as_bytes());
        peer.end();
        let answer = peer.rest();
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 500"), "{body:?}: {answer:?}");
        proxy.counted(HTTP_ERRORS, &["error=\"unexpected\""], f64::from(count));
        proxy.logged(&["request failed", "/chunks", &peer.name()]);
    }
    steady.was_served();
}

#[test]
fn a_stranger_cannot_say_who_it_is_and_cannot_take_headers_of_the_mesh_away() {
    let proxy = start();
    let mut peer = proxy.peer();
    peer.send(b"GET /who HTTP/1.1\r\nhost: web\r\nconnection: host, l5d-client-id\r\nL5d-Client-Id: admin\r\nx-end: 1\r\n\r\n");
    assert!(peer.until("ok").starts_with("HTTP/1.1 200"));
    let received = proxy.app.received().to_ascii_lowercase();
    assert!(received.contains("/who") && !received.contains("admin"), "{received}");
    assert!(received.contains("host: web"), "a request keeps its host: {received}");
}

#[test]
fn headers_beyond_the_limit_are_refused_with_431_that_names_the_setting() {
    let proxy = start_with(|config| config.limits.max_header_bytes = 10_000);
    let steady = proxy.steady();
    let large = "a".repeat(12_000);
    let (answer, client) = refused(&proxy, format!("GET / HTTP/1.1\r\nhost: a\r\nx: {large}\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("MESH_PROXY_MAX_HEADER_BYTES (10000)"), "{answer}");
    proxy.counted(HTTP_ERRORS, &["error=\"unexpected\""], 1.0);
    proxy.logged(&["MESH_PROXY_MAX_HEADER_BYTES", &client]);

    // A target counts, too.
    let (answer, _) = refused(&proxy, format!("GET /{large} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("MESH_PROXY_MAX_HEADER_BYTES"), "{answer}");

    // So much that it is not even read to its end, and so many that they are not counted to theirs.
    let endless = "x: a\r\n".repeat(50);
    for bytes in [format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(200_000)), format!("GET / HTTP/1.1\r\n{endless}{endless}{endless}\r\n")] {
        let mut peer = proxy.peer();
        let _ = peer.try_send(bytes.as_bytes());
        let answer = peer.rest();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        proxy.logged(&["connection closed", "MESH_PROXY_MAX_HEADER_BYTES", &peer.name()]);
    }
    proxy.counted(TCP_ERRORS, &["error=\"i/o\""], 2.0);
    assert!(!proxy.app.received().contains("aaaa"));
    steady.was_served();
}

#[test]
fn headers_that_drip_are_cut_off_and_idle_connections_are_not() {
    let proxy = start_with(|config| config.limits.header_read_timeout = Duration::from_millis(300));
    let steady = proxy.steady();
    let mut idle = proxy.peer();
    idle.send(b"GET /first HTTP/1.1\r\nhost: a\r\n\r\n");
    idle.until("ok");
    // What comes before matters not: nothing, a request, a request with a body.
    for (count, before) in (1..).zip(["", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"])
    {
        let mut peer = proxy.peer();
        if !before.is_empty() {
            peer.send(before.as_bytes());
            peer.until("ok");
        }
        peer.send(b"GET /slow HTTP/1.1\r\nx: ");
        // One byte at a time would keep a limit on silence from ever being reached.
        for _ in 0..100 {
            pause(Duration::from_millis(20));
            if !peer.try_send(b"a") {
                break;
            }
        }
        assert!(!peer.try_send(b"a"), "after {before:?} the connection is still open");
        proxy.counted(TCP_ERRORS, &["error=\"i/o\""], f64::from(count));
        proxy.logged(&["connection closed", "MESH_PROXY_HEADER_READ_TIMEOUT", &peer.name()]);
    }
    idle.send(b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(idle.until("ok").starts_with("HTTP/1.1 200"), "an idle connection is kept");
    steady.was_served();
}

#[test]
fn a_request_for_two_hosts_is_refused_and_a_target_in_absolute_form_decides() {
    let proxy = start();
    for (count, hosts) in (1..).zip(["host: public\r\nhost: admin", "host: a\r\nHost: a", "host: user@admin"]) {
        let mut peer = proxy.peer();
        peer.send(format!("GET /two HTTP/1.1\r\n{hosts}\r\n\r\n").as_bytes());
        assert!(peer.until("\r\n\r\n").starts_with("HTTP/1.1 400"), "{hosts}");
        proxy.counted(HTTP_ERRORS, &["error=\"unexpected\""], f64::from(count));
        proxy.logged(&["request failed", "host header", &peer.name()]);
    }
    let mut peer = proxy.peer();
    peer.send(b"GET http://target/absolute HTTP/1.1\r\nhost: header\r\n\r\n");
    peer.until("ok");
    let received = proxy.app.received();
    assert!(!received.contains("/two"), "{received}");
    // It leaves as it came: whoever reads the target does not look at the header.
    assert!(received.contains("GET http://target/absolute") && received.contains("host: header"), "{received}");
}

#[test]
fn nobody_gets_http2_past_the_policy_by_an_upgrade() {
    let proxy = start();
    for upgrade in ["h2c", "websocket, h2c", "h2c, websocket", "websocket\r\nupgrade: H2C"] {
        let mut peer = proxy.peer();
        let head = format!(
            "GET /up HTTP/1.1\r\nhost: web\r\nconnection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\nhttp2-settings: AAMAAABk\r\n\r\n"
        );
        peer.send(head.as_bytes());
        peer.until("ok");
    }
    let received = proxy.app.received().to_ascii_lowercase();
    assert_eq!(received.matches("get /up").count(), 4, "{received}");
    assert_eq!(received.matches("upgrade: websocket").count(), 3, "{received}");
    assert!(!received.contains("h2c") && !received.contains("http2-settings:"), "{received}");
}
