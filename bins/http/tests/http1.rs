//! HTTP/1 through one hop and through two, between curl or a bare socket and a scripted server.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by stopping there")]

mod common;

use std::time::Duration;

use common::{connection_count, curl, heads, one_hop, origin, say, two_hops};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn connection_headers_end_at_each_hop() {
    let answer = |_: &str| {
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-end: 1\r\n\r\nhi".to_owned()
    };
    let (server, seen) = origin(answer).await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        let headers = [
            "-H",
            "connection: x-a, x-b",
            "-H",
            "x-a: 1",
            "-H",
            "x-b: 1",
            "-H",
            "proxy-connection: x",
            "-H",
            "te: trailers",
            "-H",
            "x-c: 1",
        ];
        let url = format!("http://{proxy}/");
        let response = curl(&[&headers[..], &[&url]].concat()).await;
        assert!(response.starts_with("http/1.1 200"), "{response}");
        assert!(response.contains("x-end: 1") && response.ends_with("hi"), "{response}");
        for gone in ["x-hop", "keep-alive", "l5d-"] {
            assert!(!response.contains(gone), "{gone}: {response}");
        }
        let head = heads(&seen).pop().unwrap();
        for gone in ["x-a", "x-b", "proxy-connection", "\nconnection", "l5d-"] {
            assert!(!head.contains(gone), "{gone}: {head}");
        }
        assert!(head.contains("te: trailers") && head.contains("x-c: 1"), "{head}");
    }
}

#[tokio::test]
async fn http10_keeps_its_version_with_host_and_without() {
    let (server, seen) = origin(|_| "HTTP/1.0 200 OK\r\n\r\nuntil the end connection: close".to_owned()).await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        let response = say(proxy, "GET / HTTP/1.0\r\nhost: web.example\r\n\r\n").await;
        assert!(response.starts_with("http/1.0 200"), "{response}");
        assert!(response.ends_with("until the end connection: close"), "{response}");
        let head = heads(&seen).pop().unwrap();
        assert!(head.starts_with("get / http/1.0\r\n") && head.contains("host: web.example"), "{head}");
    }
    let response = say(one_hop(server).await, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(response.contains("no authority could be determined"), "{response}");
}

#[tokio::test]
async fn an_absolute_target_stays_absolute_and_host_stays_what_it_was() {
    let (server, seen) = origin(|_| OK.to_owned()).await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        let response = say(proxy, "GET http://foo.example/path HTTP/1.1\r\nhost: bar.example\r\n\r\n").await;
        assert!(response.starts_with("http/1.1 200"), "{response}");
        let head = heads(&seen).pop().unwrap();
        assert!(head.starts_with("get http://foo.example/path http/1.1\r\n"), "{head}");
        assert!(head.contains("host: bar.example"), "{head}");
    }
}

#[tokio::test]
async fn lengths_of_bodies_are_kept() {
    let (server, seen) = origin(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        let url = format!("http://{proxy}/");
        let response = curl(&["-X", "POST", "-H", "content-length: 0", &url]).await;
        assert!(response.contains("content-length: 0"), "{response}");
        assert!(heads(&seen).pop().unwrap().contains("content-length: 0"));

        curl(&["-d", "hello", &url]).await;
        let head = heads(&seen).pop().unwrap();
        assert!(head.contains("content-length: 5") && head.ends_with("hello") && !head.contains("transfer-encoding"), "{head}");

        curl(&[&url]).await;
        let head = heads(&seen).pop().unwrap();
        assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
    }
}

#[tokio::test]
async fn a_chunked_request_stays_chunked() {
    let (server, seen) = origin(|_| format!("{OK} connection: close")).await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        curl(&["-d", "hello", "-H", "transfer-encoding: chunked", &format!("http://{proxy}/")]).await;
        let head = heads(&seen).pop().unwrap();
        assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
    }
}

#[tokio::test]
async fn responses_without_a_body_get_no_framing() {
    let (server, _) = origin(|head| {
        let status = head.split(['/', ' ']).nth(2).unwrap();
        format!("HTTP/1.1 {status} Whatever\r\n\r\n")
    })
    .await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        for status in ["204", "304"] {
            let response = curl(&[&format!("http://{proxy}/{status}")]).await;
            assert!(response.starts_with(&format!("http/1.1 {status}")), "{response}");
            assert!(!response.contains("content-length") && !response.contains("transfer-encoding"), "{response}");
        }
    }
}

#[tokio::test]
async fn head_is_answered_with_the_length_and_no_body() {
    let (server, _) = origin(|_| "HTTP/1.1 200 OK\r\ncontent-length: 55\r\n\r\n".to_owned()).await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        let url = format!("http://{proxy}/");
        let response = curl(&["-I", &url, &url]).await;
        assert_eq!(response.matches("http/1.1 200").count(), 2, "{response}");
        assert_eq!(response.matches("content-length: 55").count(), 2, "{response}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_arrives() {
    let (server, _) = origin(|_| "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it".to_owned()).await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        let response = curl(&[&format!("http://{proxy}/")]).await;
        assert!(response.ends_with("all of it"), "{response}");
    }
}

#[tokio::test]
async fn requests_in_turn_share_a_connection() {
    let (server, seen) = origin(|_| OK.to_owned()).await;
    let proxy = one_hop(server).await;
    for _ in 0..5 {
        curl(&[&format!("http://{proxy}/")]).await;
    }
    assert_eq!((heads(&seen).len(), connection_count(&seen)), (5, 1));
}

#[tokio::test]
async fn requests_without_a_host_share_nothing() {
    let (server, seen) = origin(|_| OK.to_owned()).await;
    let proxy = one_hop(server).await;
    for _ in 0..3 {
        let response = say(proxy, "GET http://web.example/ HTTP/1.1\r\n\r\n").await;
        assert!(response.starts_with("http/1.1 200"), "{response}");
    }
    assert_eq!((heads(&seen).len(), connection_count(&seen)), (3, 3));
    assert!(heads(&seen)[0].contains("host: web.example"), "a client that speaks to a proxy says the host");
}

#[tokio::test]
async fn a_connection_that_went_stale_is_replaced_unseen() {
    let (server, seen) = origin(|_| OK.to_owned() + " connection: close").await;
    // The server sends more than it announced and closes: the connection cannot be used again, and the pool may or may not know yet.
    let proxy = one_hop(server).await;
    for _ in 0..5 {
        let response = curl(&[&format!("http://{proxy}/")]).await;
        assert!(response.starts_with("http/1.1 200"), "{response}");
    }
    assert_eq!(connection_count(&seen), 5);
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let closed = std::sync::Arc::new(tokio::sync::Notify::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let told = std::sync::Arc::clone(&closed);
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        common::read_head(&mut io).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut io, OK.as_bytes()).await.unwrap();
        assert_eq!(tokio::io::AsyncReadExt::read(&mut io, &mut [0; 8]).await.unwrap(), 0);
        told.notify_one();
    });
    let proxy = one_hop(server).await;
    curl(&[&format!("http://{proxy}/")]).await;
    tokio::time::timeout(Duration::from_secs(8), closed.notified()).await.unwrap();
}

#[tokio::test]
async fn a_refused_connection_is_a_bad_gateway_that_closes() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let response = curl(&[&format!("http://{}/", one_hop(unused).await)]).await;
    assert!(response.starts_with("http/1.1 502"), "{response}");
    for header in ["content-length: 0", "connection: close", "l5d-proxy-connection: close", "l5d-proxy-error: connect to"] {
        assert!(response.contains(header), "{response}");
    }
}

#[tokio::test]
async fn a_peers_proxy_answers_through_the_mesh_without_connection_headers() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let response = curl(&[&format!("http://{}/", two_hops(unused).await)]).await;
    assert!(response.starts_with("http/1.1 502") && !response.contains("l5d-orig-proto"), "{response}");
}

#[tokio::test]
async fn too_many_header_bytes_are_refused_by_name() {
    let (server, seen) = origin(|_| OK.to_owned()).await;
    let proxy = one_hop(server).await;
    let big = format!("x-big: {}", "a".repeat(70 << 10));
    let response = curl(&["-H", &big, &format!("http://{proxy}/")]).await;
    assert!(response.starts_with("http/1.1 431") && response.contains("mesh_proxy_max_header_bytes"), "{response}");
    assert!(heads(&seen).is_empty());
}

#[tokio::test]
async fn a_server_that_switches_protocols_unasked_is_a_bad_gateway() {
    let (server, _) = origin(|_| "HTTP/1.1 101 Switching Protocols\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n".to_owned()).await;
    let response = curl(&[&format!("http://{}/", one_hop(server).await)]).await;
    assert!(response.starts_with("http/1.1 502"), "{response}");
}

#[tokio::test]
async fn a_server_that_speaks_nonsense_is_a_bad_gateway() {
    let (server, _) = origin(|_| "SSH-2.0-OpenSSH_9.2\r\n".to_owned()).await;
    for proxy in [one_hop(server).await, two_hops(server).await] {
        let response = curl(&[&format!("http://{proxy}/")]).await;
        assert!(response.starts_with("http/1.1 502"), "{response}");
    }
}
