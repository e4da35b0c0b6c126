//! Certificates that prove nothing, in both directions.

use meshkit_core::Endpoint;
use meshkit_wire::profile::Profile;

use crate::support::{
    CLIENT, NAME,
    authority::{Authority, Dates, Files},
    openssl,
    peer::exchange,
    start,
};

const TCP_ERRORS: &str = "inbound_tcp_errors_total";
const GET: &[u8] = b"GET /hello HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";

#[test]
fn a_client_with_a_bad_certificate_is_refused_by_an_alert_that_says_why() {
    let proxy = start();
    let steady = proxy.steady();
    let stranger = Authority::new();
    let good = proxy.authority.leaf(CLIENT, Dates::Now);
    let answer = openssl::client(proxy.published(), NAME, &openssl::shows(&good), GET);
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    assert!(proxy.app.received().contains(CLIENT), "the application is told who calls: {}", proxy.app.received());

    let bad: [(Files, &str, &str); 4] = [
        (proxy.authority.leaf(CLIENT, Dates::Expired), "certificate expired", "expired"),
        (proxy.authority.leaf(CLIENT, Dates::NotYet), "alert", "not valid"),
        (stranger.leaf(CLIENT, Dates::Now), "alert", "trust anchor"),
        // A leaf of the right authority signs itself one more.
        (good_signs_another(&proxy.authority, &good), "alert", "trust anchor"),
    ];
    for (count, (files, alert, logged)) in (1..).zip(bad) {
        let answer = openssl::client(proxy.published(), NAME, &openssl::shows(&files), GET);
        assert!(!answer.contains("200 OK") && answer.contains(alert), "{logged}: {answer}");
        proxy.counted(TCP_ERRORS, &["target_port=\"8080\"", "error=\"i/o\""], f64::from(count));
        proxy.logged(&["connection closed", "client.addr=127.", logged]);
    }
    steady.was_served();
}

/// A certificate for the client's name that is signed with the key of a leaf, which is nobody's authority.
fn good_signs_another(authority: &Authority, leaf: &Files) -> Files {
    let (certificate, key) = (authority.dir().join("grandchild.pem"), leaf.key.clone());
    let words = [
        "req",
        "-x509",
        "-new",
        "-config",
        "config",
        "-key",
        key.to_str().unwrap(),
        "-subj",
        "/CN=leaf",
        "-days",
        "3",
        "-addext",
        &format!("subjectAltName=DNS:{CLIENT}"),
        "-out",
        certificate.to_str().unwrap(),
    ];
    let out = std::process::Command::new("openssl").args(words).current_dir(authority.dir()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Files { certificate, key }
}

#[test]
fn a_server_that_cannot_prove_who_it_is_gets_no_request() {
    let proxy = start();
    let stranger = Authority::new();
    let cases = [
        (9443, proxy.authority.leaf("api.test", Dates::Expired), "expired"),
        (9444, proxy.authority.leaf("api.test", Dates::NotYet), "not valid"),
        (9445, stranger.leaf("api.test", Dates::Now), "trust anchor"),
        (9446, proxy.authority.leaf("other.test", Dates::Now), "api.test"),
        (9447, proxy.authority.leaf("api.test", Dates::Now), ""),
    ];
    for (port, files, why) in cases {
        let addr = proxy.on(port);
        let profile = Profile { endpoint: Some(Endpoint::new(addr).identity("api.test".parse().unwrap())), ..Profile::default() };
        proxy.control.profile(addr, profile);
        let _server = openssl::Server::start(addr, &files, &[]);
        let listen = proxy.outbound(addr);
        let answer = exchange(listen, b"GET / HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\r\n");
        if why.is_empty() {
            assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 "), "{answer}");
            continue;
        }
        assert!(answer.starts_with("HTTP/1.1 502"), "{why}: {answer}");
        assert!(answer.contains("l5d-proxy-error") && answer.contains(why), "the client is told: {answer}");
        proxy.logged(&["cannot connect", &addr.to_string(), why]);
        proxy.counted("response_total", &["direction=\"outbound\"", &format!("target_port=\"{port}\""), "status_code=\"502\""], 1.0);
    }
}
