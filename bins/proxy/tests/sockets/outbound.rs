//! The outbound side between an application and servers that do not behave.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use crate::support::{Running, peer::Peer, peer::exchange, start, start_with};

const TCP_ERRORS: &str = "outbound_tcp_errors_total";

/// Says the same to every client, whatever it was asked, and closes.
fn server(on: SocketAddr, says: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind(on).unwrap();
    thread::spawn(move || {
        for mut io in listener.incoming().map_while(Result::ok) {
            let _ = io.read(&mut [0; 4096]);
            let _ = io.write_all(says);
        }
    });
    on
}

fn get(through: SocketAddr) -> String {
    exchange(through, b"GET / HTTP/1.1\r\nhost: there\r\nconnection: close\r\n\r\n")
}

#[test]
fn an_application_that_breaks_the_protocol_is_told_so() {
    let proxy: Running = start_with(|config| {
        config.limits.max_header_bytes = 10_000;
        config.limits.header_read_timeout = Duration::from_millis(300);
    });
    let listen = proxy.outbound(server(proxy.on(9100), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    assert!(get(listen).contains(" 200 "));
    let send = |bytes: &[u8]| {
        let mut peer = Peer::connect(listen);
        peer.send(bytes);
        (peer.rest(), peer.name())
    };
    let (answer, client) = send(b"GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    proxy.counted(TCP_ERRORS, &["target_port=\"9100\""], 1.0);
    proxy.logged(&["connection closed", &client]);

    let (answer, client) = send(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(12_000)).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("MESH_PROXY_MAX_HEADER_BYTES"), "{answer}");
    proxy.counted("outbound_http_errors_total", &["error=\"unexpected\""], 1.0);
    proxy.logged(&["request failed", "MESH_PROXY_MAX_HEADER_BYTES", &client]);

    let (answer, client) = send(b"GET / HTTP/1.1\r\nhost:");
    assert_eq!(answer, "");
    proxy.counted(TCP_ERRORS, &["target_port=\"9100\""], 2.0);
    proxy.logged(&["connection closed", "MESH_PROXY_HEADER_READ_TIMEOUT", &client]);

    let (answer, client) = send(b"CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    proxy.logged(&[&client]);
    assert!(get(listen).contains(" 200 "));
}

#[test]
fn an_answer_that_is_none_becomes_a_502_and_the_next_server_is_not_harmed() {
    let proxy = start();
    let broken: [&[u8]; 7] = [
        b"",
        b"\x16\x03\x01 this is not HTTP at all\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        // Nobody asked for another protocol.
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ];
    for (port, says) in (9110..).zip(broken) {
        let addr = server(proxy.on(port), says);
        let answer = get(proxy.outbound(addr));
        assert!(answer.starts_with("HTTP/1.1 502"), "{:?}: {answer}", String::from_utf8_lossy(says));
        assert!(answer.contains("l5d-proxy-error"), "{answer}");
    }
    proxy.counted("response_total", &["direction=\"outbound\"", "status_code=\"502\""], 7.0);
    let good = server(proxy.on(9109), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert!(get(proxy.outbound(good)).contains(" 200 "));
}

#[test]
fn a_body_that_breaks_off_is_not_passed_off_as_whole() {
    let proxy = start();
    let broken: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n",
    ];
    for (port, says) in (9120..).zip(broken) {
        let answer = get(proxy.outbound(server(proxy.on(port), says)));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let whole = answer.ends_with("0\r\n\r\n") || !answer.contains("content-length: 100") && !answer.contains("chunked");
        assert!(!whole, "{:?}: {answer}", String::from_utf8_lossy(says));
    }
}

#[test]
fn headers_of_an_answer_are_bounded() {
    let proxy = start();
    static ENDLESS: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let endless = ENDLESS.get_or_init(|| [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 4 << 20]].concat());
    let answer = get(proxy.outbound(server(proxy.on(9130), endless)));
    assert!(answer.starts_with("HTTP/1.1 502"), "{}", &answer[..answer.len().min(400)]);
}

#[test]
fn an_answer_of_two_lengths_is_passed_on_with_one() {
    let proxy = start();
    let both: [&[u8]; 2] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nsmuggled",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 40\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nsmuggled",
    ];
    for (port, says) in (9140..).zip(both) {
        let listen = proxy.outbound(server(proxy.on(port), says));
        for _ in 0..2 {
            let answer = get(listen).to_ascii_lowercase();
            let lengths = answer.matches("content-length:").count() + answer.matches("transfer-encoding:").count();
            assert!(lengths == 1 && !answer.contains("content-length: 40") && !answer.contains("smuggled"), "{port} {answer:?}");
        }
    }
}

#[test]
fn a_server_of_http2_that_breaks_the_protocol_becomes_a_502_or_a_reset() {
    let proxy = start();
    // Their settings, and then: a frame on a stream that nobody opened, one that is too long, a header block that cannot be decoded, farewell.
    let broken: [&[u8]; 4] = [
        b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x00\0\0\0\0\x09x",
        b"\0\0\0\x04\0\0\0\0\0\xff\xff\xff\x00\0\0\0\0\x01",
        b"\0\0\0\x04\0\0\0\0\0\0\0\x04\x01\x04\0\0\0\x01\xff\xff\xff\xff",
        b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x02",
    ];
    for (port, says) in (9150..).zip(broken) {
        let listen = proxy.outbound(server(proxy.on(port), says));
        let url = format!("http://{listen}/");
        let args = ["--silent", "--http2-prior-knowledge", "--max-time", "15", "-o", "/dev/null", "-w", "%{http_code} %{errormsg}", &url];
        let out = std::process::Command::new("curl").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.starts_with("502") || text.starts_with("000") && text.contains("not closed cleanly"), "{says:?}: {text}");
    }
    let good = server(proxy.on(9159), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert!(get(proxy.outbound(good)).contains(" 200 "));
}

#[test]
fn an_odd_answer_is_an_answer() {
    let proxy = start();
    let odd: [(&[u8], &str); 8] = [
        (b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "204"),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", "204"),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n", "304"),
        (b"HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", "304"),
        (b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n", "999"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nto the end", "200"),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", "200"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "200"),
    ];
    for (port, (says, status)) in (9160..).zip(odd) {
        let answer = get(proxy.outbound(server(proxy.on(port), says)));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) || answer.starts_with(&format!("HTTP/1.0 {status} ")),
            "{:?}: {answer:?}",
            String::from_utf8_lossy(says)
        );
    }
}
