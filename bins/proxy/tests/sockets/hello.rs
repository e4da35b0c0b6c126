//! What comes in place of a TLS handshake, at the inbound side.

use std::time::Duration;

use crate::support::{NAME, Running, eventually, openssl, start, start_with};

const TCP_ERRORS: &str = "inbound_tcp_errors_total";

/// The proxy's own port.
const DIRECT: u16 = 4143;

#[test]
fn a_hello_that_stops_is_cut_off_in_time() {
    let proxy = start_with(|config| config.inbound.accept.detect_timeout = Duration::from_millis(300));
    let steady = proxy.steady();
    let hello = openssl::hello(NAME);
    let mut count = 0.0;
    // Nothing, one byte, a record's head, half a hello; and a whole one, after which nothing follows.
    for length in [0, 1, 5, hello.len() / 2, hello.len()] {
        // Where strangers come in, silence may be a protocol in which the server speaks first: it is given to the application.
        let ports = if length == 0 { vec![DIRECT] } else { vec![DIRECT, proxy.published().port()] };
        for port in ports {
            let mut peer = crate::support::peer::Peer::connect(proxy.on(port));
            peer.send(&hello[..length]);
            peer.rest_bytes();
            count += 1.0;
            proxy.counted(TCP_ERRORS, &["error=\"tls detection timeout\""], count);
            proxy.logged(&["connection closed", "timed out", &peer.name()]);
        }
    }
    steady.was_served();
}

#[test]
fn hellos_that_were_tampered_with_are_refused_and_nobody_notices() {
    let proxy = start();
    let steady = proxy.steady();
    let hello = openssl::hello(NAME);
    for at in (0..hello.len()).step_by(9) {
        for port in [DIRECT, proxy.published().port()] {
            let mut bytes = hello.clone();
            bytes[at] ^= 0x55;
            let mut peer = crate::support::peer::Peer::connect(proxy.on(port));
            peer.send(&bytes);
            peer.end();
            // An alert, or what the application says to strange bytes: nothing, here.
            let answer = peer.rest_bytes();
            assert!(answer.is_empty() || matches!(answer[0], 21 | 22), "byte {at}: {answer:?}");
        }
    }
    let whole_again = openssl::client(proxy.published(), NAME, &[], b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    assert!(whole_again.contains("HTTP/1.1 200"), "{whole_again}");
    steady.was_served();
}

#[test]
fn the_proxys_own_port_takes_nothing_but_the_mesh() {
    let proxy = start();
    let too_long = [&[22, 3, 1, 0x20, 1, 1, 0, 0x1f, 0xfd, 3, 3][..], &[0; 9000]].concat();
    let strangers: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nhost: web\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &too_long,
        // SSLv2, which some scanners still say.
        &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10],
    ];
    for (count, bytes) in (1..).zip(strangers) {
        let mut peer = crate::support::peer::Peer::connect(proxy.on(DIRECT));
        let _ = peer.try_send(bytes);
        assert_eq!(peer.rest(), "");
        proxy.counted(TCP_ERRORS, &["target_port=\"4143\"", "error=\"i/o\""], f64::from(count));
        proxy.logged(&["connection closed", "direct connections must be mutually authenticated", &peer.name()]);
    }
    // A handshake for somebody else, and one without a certificate.
    for server in ["somebody.else", NAME] {
        let before = proxy.metric(TCP_ERRORS, &["target_port=\"4143\""]);
        openssl::client(proxy.on(DIRECT), server, &["-alpn", "transport.l5d.io/v1"], b"");
        proxy.counted(TCP_ERRORS, &["target_port=\"4143\""], before + 1.0);
    }
}

#[test]
fn strangers_of_other_protocols_are_the_applications_own() {
    let proxy: Running = start();
    let mut peer = proxy.peer();
    peer.send(b"\x01\x02 no protocol that a proxy knows");
    let passed = eventually(|| proxy.app.received().contains("no protocol that a proxy knows").then_some(()));
    assert!(passed.is_some());
    proxy.counted("inbound_tcp_authz_allow_total", &["target_port=\"8080\""], 1.0);
}
