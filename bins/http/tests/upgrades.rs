//! Connections that turn into something else.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by stopping there")]

mod common;

use common::{curl, heads, one_hop, origin, say};

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    let (server, seen) = origin(|_| "HTTP/1.1 101 Switching Protocols\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n".to_owned()).await;
    let answer =
        say(one_hop(server).await, "GET /chat HTTP/1.1\r\nhost: a\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\nhello there").await;
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: chat"), "{answer}");
    assert!(answer.ends_with("hello there"), "{answer}");
    assert!(heads(&seen)[0].contains("upgrade: chat"));
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_an_ordinary_request() {
    let (server, seen) = origin(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let proxy = one_hop(server).await;
    let response =
        curl(&["-H", "upgrade: h2c", "-H", "connection: upgrade, http2-settings", "-H", "http2-settings: x", &format!("http://{proxy}/")])
            .await;
    assert!(response.starts_with("http/1.1 200"), "{response}");
    let head = heads(&seen).pop().unwrap();
    assert!(!head.contains("upgrade") && !head.contains("settings"), "{head}");
}

#[tokio::test]
async fn connect_opens_a_tunnel_and_its_answer_has_no_framing() {
    let (server, seen) = origin(|_| "HTTP/1.1 200 OK\r\nx-tunnel: 1\r\ncontent-length: 7\r\n\r\n".to_owned()).await;
    let answer = say(one_hop(server).await, "CONNECT web.example:80 HTTP/1.1\r\nhost: web.example:80\r\n\r\nthrough").await;
    assert!(answer.starts_with("http/1.1 200") && answer.ends_with("through"), "{answer}");
    assert!(!answer.contains("content-length") && !answer.contains("transfer-encoding"), "{answer}");
    assert!(heads(&seen)[0].starts_with("connect web.example:80 http/1.1\r\n"), "{:?}", heads(&seen));
}

#[tokio::test]
async fn targets_that_nobody_can_forward_are_bare_bad_requests() {
    let (server, seen) = origin(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let proxy = one_hop(server).await;
    for bad in [
        "CONNECT /path HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT http://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT web.example:80 HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET web.example:80 HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let answer = say(proxy, bad).await;
        assert!(answer.contains(" 400 ") && !answer.contains("l5d-"), "{bad:?}: {answer}");
    }
    assert!(heads(&seen).is_empty());
}
