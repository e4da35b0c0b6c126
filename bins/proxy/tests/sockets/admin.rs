//! Garbage at the admin server, and the mesh's TLS.

use crate::support::{CLIENT, NAME, authority::Dates, openssl, peer::Peer, start};

#[test]
fn a_meshed_client_scrapes_over_the_tls_of_the_mesh() {
    let proxy = start();
    let client = proxy.authority.leaf(CLIENT, Dates::Now);
    let request = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let scrape = openssl::client(proxy.on(4191), NAME, &openssl::shows(&client), request);
    assert!(scrape.contains("HTTP/1.1 200") && scrape.contains("process_start_time_seconds"), "{scrape}");
}

#[test]
fn the_admin_server_refuses_what_is_no_request_and_goes_on_serving() {
    let proxy = start();
    let steady = proxy.steady();
    let large = format!("GET /metrics HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(300_000));
    let refused: [(&[u8], &str); 6] = [
        (b"garbage\r\n\r\n", "HTTP/1.1 400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""),
        (b"GET /metrics HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n", "HTTP/1.1 400"),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", ""),
        (b"GET /no-such-path HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "HTTP/1.1 404"),
        (large.as_bytes(), "HTTP/1.1 431"),
    ];
    for (bytes, answer) in refused {
        let mut peer = Peer::connect(proxy.on(4191));
        let _ = peer.try_send(bytes);
        peer.end();
        let found = peer.rest();
        // Who is still sending when it is refused may be reset before it reads why.
        assert!(found.starts_with(answer) || found.is_empty(), "{answer}: {found}");
        assert!(!found.contains(" 200 "), "{found}");
    }
    assert!(proxy.admin("/ready").starts_with("HTTP/1.1 200"));
    steady.was_served();
}
