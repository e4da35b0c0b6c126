//! Garbage at the admin server, and the mesh's TLS.

use std::{process::Command, time::Duration};

use meshkit_policy::{
    Authentication, Authorization, Meta,
    inbound::{Policy, Protocol, default_route},
    net::Network,
};
use meshkit_proxy::config::Tap;

use crate::{
    header,
    support::{
        CLIENT, NAME, Running,
        authority::{Dates, Files},
        eventually, openssl,
        peer::Peer,
        start, start_with,
    },
};

/// Another pod's address: all of 127/8 is this machine's.
const ELSEWHERE: &str = "127.99.0.9";

/// Admits one identity and nobody else.
fn only(client: &str) -> Policy {
    let authorizations = [Authorization {
        networks: Network::all(),
        authentication: Authentication::TlsAuthenticated { identities: [client.parse().unwrap()].into(), suffixes: Vec::new() },
        meta: Meta::builtin("scrapes"),
    }];
    Policy {
        protocol: Protocol::Detect { timeout: Duration::from_secs(10), routes: [default_route([].into())].into(), rate_limit: None },
        server: Meta::builtin("admin"),
        authorizations: authorizations.into(),
    }
}

/// What curl says of a page, from another pod's address: status and body.
fn curl(url: &str) -> String {
    let args = ["-sS", "--max-time", "10", "-w", " %{http_code}", "--interface", ELSEWHERE, url];
    let output = Command::new("curl").args(args).output().expect("curl is installed");
    String::from_utf8(output.stdout).unwrap()
}

/// What a meshed client of another pod is answered.
fn scrape(proxy: &Running, client: &Files, path: &str) -> String {
    let from = format!("{ELSEWHERE}:0");
    let args = [&openssl::shows(client)[..], &["-bind", &from]].concat();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    openssl::client(proxy.on(4191), NAME, &args, request.as_bytes())
}

/// The same, through the inbound side of the proxy.
fn through(proxy: &Running, client: &Files, port: u16, request: &str) -> String {
    // The port as a varint, and HTTP/1 follows.
    let [low, high] = [u8::try_from(port & 0x7f).unwrap() | 0x80, u8::try_from(port >> 7).unwrap()];
    let message = [0x08, low, high, 0x1a, 2, 0x0a, 0];
    let from = format!("{ELSEWHERE}:0");
    let args = [&openssl::shows(client)[..], &["-bind", &from, "-alpn", "transport.l5d.io/v1"]].concat();
    openssl::client(proxy.on(4143), NAME, &args, &[header::header(&message), request.as_bytes().to_vec()].concat())
}

#[test]
fn other_pods_see_of_the_admin_server_what_the_policy_of_its_port_says() {
    let proxy = start();
    let url = |path: &str| format!("http://{}{path}", proxy.on(4191));
    assert!(curl(&url("/metrics")).ends_with(" 200"), "the default policy admits everybody");
    proxy.control.policy(4191, only(CLIENT));
    let refused = eventually(|| curl(&url("/metrics")).ends_with(" 403").then_some(()));
    assert!(refused.is_some(), "{}", curl(&url("/metrics")));
    // Nothing of the scrape is in the answer.
    assert_eq!(curl(&url("/env.json")), " 403");
    assert_eq!(curl(&url("/no-such-path")), " 403");
    assert_eq!((curl(&url("/live")), curl(&url("/ready"))), ("live\n 200".to_owned(), "ready\n 200".to_owned()));
    // This machine is admitted by what the proxy adds to every policy.
    assert!(proxy.admin("/metrics").starts_with("HTTP/1.1 200"));

    let (client, other) = (proxy.authority.leaf(CLIENT, Dates::Now), proxy.authority.leaf(&CLIENT.replace("client", "other"), Dates::Now));
    let admitted = scrape(&proxy, &client, "/metrics");
    assert!(admitted.contains("HTTP/1.1 200") && admitted.contains("process_start_time_seconds"), "{admitted}");
    let local_only = scrape(&proxy, &client, "/logs.json?info");
    assert!(local_only.contains("HTTP/1.1 403") && local_only.contains("only permitted from localhost"), "{local_only}");
    let denied = scrape(&proxy, &other, "/metrics");
    assert!(denied.contains("HTTP/1.1 403") && !denied.contains("process_start_time_seconds"), "{denied}");
    assert!(scrape(&proxy, &other, "/ready").contains("HTTP/1.1 200"));

    let labels = ["target_port=\"4191\"", "srv_name=\"admin\"", "route_name=\"default\""];
    proxy.counted("inbound_http_authz_deny_total", &[&labels[..], &["client_id=\"other."]].concat(), 1.0);
    proxy.counted("inbound_http_authz_allow_total", &[&labels[..], &["authz_name=\"scrapes\"", "client_id=\"client."]].concat(), 2.0);
    proxy.logged(&["Request denied", "client.ip=127.99.0.9"]);
}

#[test]
fn through_the_inbound_side_the_admin_server_is_a_server_among_others() {
    let proxy = start_with(|config| config.tap = Some(Tap { client: CLIENT.parse().unwrap() }));
    let (client, other) = (proxy.authority.leaf(CLIENT, Dates::Now), proxy.authority.leaf(&CLIENT.replace("client", "other"), Dates::Now));
    proxy.control.policy(4191, only(CLIENT));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let denied = eventually(|| Some(through(&proxy, &other, 4191, &get("/metrics"))).filter(|answer| answer.contains("HTTP/1.1 403")));
    assert!(denied.is_some_and(|answer| !answer.contains("process_start_time_seconds")));
    let admitted = through(&proxy, &client, 4191, &get("/metrics"));
    assert!(admitted.contains("HTTP/1.1 200") && admitted.contains("process_start_time_seconds"), "{admitted}");
    // The client is not of this machine, though the proxy that it came through is.
    for request in [get("/proxy-log-level"), get("/logs.json?info"), get("/shutdown").replace("GET", "POST")] {
        let answer = through(&proxy, &client, 4191, &request);
        assert!(answer.contains("HTTP/1.1 403") && answer.contains("Requests are only permitted from localhost."), "{answer}");
    }
    // The tap believes programs of this machine; the proxy is not to be one for others.
    let tap = through(&proxy, &client, 4190, &get("/"));
    assert!(!tap.contains(" 200 "), "{tap}");
    proxy.logged(&["inbound connection must not target port 4190"]);
}

#[test]
fn a_proxy_without_logs_has_none_to_read() {
    let proxy = start();
    let answer = proxy.admin("/logs.json?info");
    assert!(answer.starts_with("HTTP/1.1 404") && answer.ends_with("logs are off\n"), "{answer}");
}

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
