//! Transport headers that are none, from a client that has a certificate.

use std::time::Duration;

use crate::support::{
    CLIENT, NAME, Running,
    authority::{Dates, Files},
    openssl, start_with,
};

const TCP_ERRORS: &str = "inbound_tcp_errors_total";
const PREFACE: &[u8] = b"transport.l5d.io/v1\r\n\r\n";
const GET: &[u8] = b"GET /hello HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
/// Port 8080, and HTTP/1 follows.
const HTTP1: &[u8] = &[0x08, 0x90, 0x3f, 0x1a, 2, 0x0a, 0];
/// Port 8080, and bytes follow.
const OPAQUE: &[u8] = &[0x08, 0x90, 0x3f];

pub(crate) fn header(message: &[u8]) -> Vec<u8> {
    [PREFACE, &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn send(proxy: &Running, files: &Files, bytes: &[u8]) -> String {
    let args = [&openssl::shows(files)[..], &["-alpn", "transport.l5d.io/v1"]].concat();
    openssl::client(proxy.on(4143), NAME, &args, bytes)
}

#[test]
fn a_header_that_is_none_closes_the_connection_and_says_why_in_the_log() {
    let proxy = start_with(|config| config.inbound.accept.detect_timeout = Duration::from_secs(1));
    let steady = proxy.steady();
    let client = proxy.authority.leaf(CLIENT, Dates::Now);
    let answer = send(&proxy, &client, &[header(HTTP1), GET.to_vec()].concat());
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");

    let bad: [(Vec<u8>, &str); 8] = [
        (b"transport.l5d.io/v2\r\n\r\n\0\0\0\0".to_vec(), "transport header"),
        (GET.to_vec(), "transport header"),
        ([PREFACE, &[0xff; 4], &[0; 64]].concat(), "4294967295"),
        (header(&[0xff; 12]), "transport header"),
        // A field that is longer than its message.
        (header(&[0x08, 0x90, 0x3f, 0x12, 0x7f, b'a']), "transport header"),
        // Port 0, none at all, and one beyond all ports.
        (header(&[0x08, 0]), "port"),
        (header(&[]), "port"),
        (header(&[0x08, 0xff, 0xff, 0x07]), "port"),
    ];
    for (count, (bytes, why)) in (1..).zip(bad) {
        let answer = send(&proxy, &client, &bytes);
        assert!(!answer.contains("HTTP/1.1"), "{bytes:?}: {answer}");
        proxy.counted(TCP_ERRORS, &["target_port=\"4143\"", "error=\"i/o\""], f64::from(count));
        proxy.logged(&["connection closed", "client.addr=127.", why]);
    }
    // One that never ends.
    send(&proxy, &client, &header(HTTP1)[..20]);
    proxy.counted(TCP_ERRORS, &["target_port=\"4143\"", "error=\"tls detection timeout\""], 1.0);
    proxy.logged(&["connection closed", "Reading a transport header timed out"]);
    steady.was_served();
}

#[test]
fn a_header_leads_nowhere_but_to_the_workload() {
    let proxy = start_with(|_| {});
    let client = proxy.authority.leaf(CLIENT, Dates::Now);
    // Back to the proxy itself, which would never end. Port 4143, HTTP/1 and opaque.
    for message in [&[0x08, 0xaf, 0x20, 0x1a, 2, 0x0a, 0][..], &[0x08, 0xaf, 0x20]] {
        let answer = send(&proxy, &client, &[header(message), GET.to_vec()].concat());
        assert!(!answer.contains(" 200 "), "{answer}");
        proxy.logged(&["inbound connection must not target port 4143"]);
    }
    // A name, at a proxy that is no gateway.
    let named = [OPAQUE, &[0x12, 5], b"other", &[0x1a, 2, 0x0a, 0]].concat();
    let answer = send(&proxy, &client, &[header(&named), GET.to_vec()].concat());
    assert!(answer.contains("HTTP/1.1 404") && answer.contains("bad gateway domain other"), "{answer}");
    proxy.counted("inbound_http_errors_total", &["error=\"gateway domain invalid\""], 1.0);
    // What was promised to be HTTP, and is not.
    let answer = send(&proxy, &client, &[&header(HTTP1)[..], b"\x01\x02\x03\r\n\r\n"].concat());
    assert!(answer.contains("HTTP/1.1 400"), "{answer}");
    assert!(proxy.app.received().is_empty(), "{}", proxy.app.received());
}
