//! The proxy of one's own, between curl and backends that are not ours.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

use crate::program::{Program, curl, run};

/// A server that knows just enough HTTP to say what it was asked, byte for byte.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while !asked.ends_with(b"the end") {
                    if io.read_buf(&mut asked).await.unwrap() == 0 {
                        return;
                    }
                }
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", asked.len());
                io.write_all(&[head.as_bytes(), &asked].concat()).await.unwrap();
            });
        }
    });
    addr
}

/// A port that is taken, and refuses connections.
fn refusing() -> (TcpSocket, SocketAddr) {
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = taken.local_addr().unwrap();
    (taken, addr)
}

/// Where a proxy says that it listens.
async fn url(proxy: &mut Program) -> String {
    let line = proxy.line("listening on").await;
    line.split([' ', ',']).find(|word| word.starts_with("http://")).unwrap().to_owned()
}

#[tokio::test]
async fn planned_failures_are_retried_and_both_backends_are_used() {
    let ended = run("custom_proxy", &["--once"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let counted = |part: &str| -> u32 {
        let line =
            ended.stdout.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part:?} is missing in:\n{}", ended.stdout));
        line.split('x').next().unwrap().trim().parse().unwrap()
    };
    let (one, two) = (counted("200 backend one, called by proxy.emojivoto"), counted("200 backend two, called by proxy.emojivoto"));
    assert!(one > 0 && two > 0 && one + two == 100, "{}", ended.stdout);
}

#[tokio::test]
async fn curl_is_answered_through_mutual_tls_until_ctrl_c() {
    let mut proxy = Program::start("custom_proxy", &[]);
    let url = url(&mut proxy).await;
    let (status, body) = curl(&[&url]).await;
    assert_eq!(status, "200");
    assert!(body.ends_with("called by proxy.emojivoto"), "{body}");
    let ended = proxy.interrupt().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn requests_for_a_backend_that_refuses_go_to_the_other_one_whatever_their_method() {
    let alive = echo().await.to_string();
    let (_taken, dead) = refusing();
    let mut proxy = Program::start("custom_proxy", &["127.0.0.1:0", &dead.to_string(), &alive]);
    let url = url(&mut proxy).await;
    for _ in 0..10 {
        let (status, body) =
            curl(&["-X", "POST", "-d", "a vote, the end", "-H", "connection: x-hop", "-H", "x-hop: 1", "-H", "x-kept: 1", &url]).await;
        assert_eq!(status, "200", "{body}");
        assert!(body.starts_with("POST / HTTP/1.1\r\n") && body.contains("x-kept: 1") && !body.contains("x-hop"), "{body}");
    }
    let ended = proxy.interrupt().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn a_backend_that_never_answers_meets_the_route_timeout() {
    // It listens, so that connects succeed, and never accepts.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = silent.local_addr().unwrap();
    let mut proxy = Program::start("custom_proxy", &["127.0.0.1:0", &addr.to_string()]);
    let url = url(&mut proxy).await;
    let (status, _) = curl(&[&url]).await;
    assert_eq!(status, "504");
    let ended = proxy.interrupt().await;
    assert!(ended.stderr.contains("request timeout: 2s"), "{}", ended.stderr);
}

#[tokio::test]
async fn every_wrong_address_is_told_at_once() {
    let ended = run("custom_proxy", &["here", "127.0.0.1:80", "there"]).await;
    assert_eq!(ended.code, Some(64));
    assert!(ended.stderr.contains("\"here\"") && ended.stderr.contains("\"there\""), "{}", ended.stderr);
}

#[test]
fn it_is_made_of_the_crates_alone() {
    let sources = [
        include_str!("../../custom_proxy/main.rs"),
        include_str!("../../custom_proxy/proxy.rs"),
        include_str!("../../custom_proxy/endpoint.rs"),
        include_str!("../../custom_proxy/own.rs"),
        include_str!("../../ca.rs"),
    ];
    let crates = ["core", "balance", "tls", "policy", "retry", "fault"];
    for used in sources.iter().flat_map(|source| source.split("meshkit_").skip(1)) {
        assert!(crates.iter().any(|name| used.starts_with(&format!("{name}::"))), "meshkit_{}", &used[..20]);
    }
    // And it stays small: the proxy itself, without what stands at both ends of it.
    let lines = sources[1..3].iter().flat_map(|source| source.lines()).filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 250, "{lines}");
}
