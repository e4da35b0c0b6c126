//! HTTP/2: the foreign ends are curl, h2load, and the `h2` library used bare.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by stopping there")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Next, curl, one_hop, origin, proxy, two_hops};
use meshkit_core::drain;
use meshkit_http::server;
use tokio::{net::TcpStream, process::Command};

/// A server that resets every stream.
async fn resetting(reason: h2::Reason) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(io).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    if request.uri().path() == "/authority" {
                        let authority = request.uri().authority().map_or("none".to_owned(), ToString::to_string);
                        let response = http::Response::builder().header("x-authority", authority).body(()).unwrap();
                        respond.send_response(response, true).unwrap();
                    } else {
                        respond.send_reset(reason);
                    }
                }
            });
        }
    });
    addr
}

async fn h2_client(addr: std::net::SocketAddr) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (send, connection) = h2::client::handshake(TcpStream::connect(addr).await.unwrap()).await.unwrap();
    (send.ready().await.unwrap(), tokio::spawn(connection))
}

#[tokio::test]
async fn a_reset_goes_on_with_the_same_reason() {
    for reason in [h2::Reason::ENHANCE_YOUR_CALM, h2::Reason::REFUSED_STREAM] {
        let addr = one_hop(resetting(reason).await).await;
        let (mut send, _connection) = h2_client(addr).await;
        let request = http::Request::get("http://web.example/").body(()).unwrap();
        let error = send.send_request(request, true).unwrap().0.await.unwrap_err();
        assert_eq!(error.reason(), Some(reason));
    }
}

#[tokio::test]
async fn an_http1_client_sees_no_reset_but_a_bad_gateway() {
    let server = resetting(h2::Reason::PROTOCOL_ERROR).await;
    let connection = meshkit_http::client::Connect::new(common::Dial(server), Default::default());
    let connection = tower::ServiceExt::oneshot(connection, ()).await.unwrap();
    let (_signal, watch) = drain::channel();
    let addr = proxy(Next::Mesh(connection), server::Settings::default(), watch).await;
    let response = curl(&[&format!("http://{addr}/")]).await;
    assert!(response.starts_with("http/1.1 502"), "{response}");
    assert!(response.contains("upgraded connection failed with http/2 reset"), "{response}");
}

#[tokio::test]
async fn a_request_without_an_authority_stays_without() {
    let addr = one_hop(resetting(h2::Reason::CANCEL).await).await;
    let (mut send, _connection) = h2_client(addr).await;
    // The library sends no authority for what claims to be HTTP/1.
    let request = http::Request::get("/authority").version(http::Version::HTTP_11).body(()).unwrap();
    let response = send.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(response.headers()["x-authority"], "none");
}

#[tokio::test]
async fn curl_speaks_http2_through_a_hop() {
    let addr = one_hop(resetting(h2::Reason::CANCEL).await).await;
    let response = curl(&["--http2-prior-knowledge", &format!("http://{addr}/authority")]).await;
    assert!(response.starts_with("http/2 200") && response.contains(&format!("x-authority: {addr}")), "{response}");
}

#[tokio::test]
async fn too_many_header_bytes_are_refused_by_name_here_too() {
    // curl sends no more than 64 KiB.
    let settings = server::Settings { max_header_bytes: 16 << 10, ..Default::default() };
    let (_signal, watch) = drain::channel();
    let addr = proxy(Next::AsIs(resetting(h2::Reason::CANCEL).await), settings, watch).await;
    let (one, two) = (format!("x-one: {}", "a".repeat(9 << 10)), format!("x-two: {}", "a".repeat(9 << 10)));
    let response = curl(&["--http2-prior-knowledge", "-H", &one, "-H", &two, &format!("http://{addr}/authority")]).await;
    assert!(response.starts_with("http/2 431") && response.contains("mesh_proxy_max_header_bytes"), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_all_get_their_answer() {
    let (server, seen) = origin(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_owned()).await;
    let addr = two_hops(server).await;
    let load = Command::new("h2load").args(["--h1", "-n", "500", "-c", "8", &format!("http://{addr}/")]).output().await.unwrap();
    let report = String::from_utf8_lossy(&load.stdout);
    assert!(report.contains("500 succeeded, 0 failed"), "{report}");
    let connections = common::connection_count(&seen);
    assert!(connections <= 40, "{connections} connections for 8 clients");
}

#[tokio::test]
async fn the_drain_waits_for_what_is_in_flight_and_says_goaway() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = listener.local_addr().unwrap();
    let (go, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        common::read_head(&mut io).await.unwrap();
        gone.recv().await;
        tokio::io::AsyncWriteExt::write_all(&mut io, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
        std::future::pending::<()>().await;
    });
    let (signal, watch) = drain::channel();
    let addr = proxy(Next::AsIs(slow), server::Settings::default(), watch.clone()).await;
    let url = format!("http://{addr}/");
    let client = tokio::spawn(async move { curl(&[&url]).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(watch);
    // The accept loop of the test's proxy holds a watch for ever: only the signal counts here.
    tokio::spawn(signal.drain());
    tokio::time::sleep(Duration::from_millis(100)).await;
    go.send(()).await.unwrap();
    let response = client.await.unwrap();
    assert!(response.starts_with("http/1.1 200") && response.contains("connection: close"), "{response}");
}
