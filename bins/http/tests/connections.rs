//! When connections end, and what is still finished on them.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by stopping there")]

mod common;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use common::{Dial, Next, one_hop, origin, proxy};
use http::{Request, Version};
use meshkit_core::drain;
use meshkit_http::{Body, client::Connect, server};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const SOON: Duration = Duration::from_secs(5);

/// An HTTP/2 server: `/cut` ends the connection in mid-response, `/reset` the stream, `/late` answers after a while.
async fn fickle() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(io).await.unwrap();
                let (cut, mut cuts) = tokio::sync::mpsc::channel::<()>(1);
                loop {
                    let (request, mut respond) = tokio::select! {
                        accepted = connection.accept() => match accepted {
                            Some(Ok(accepted)) => accepted,
                            _ => return,
                        },
                        _ = cuts.recv() => return,
                    };
                    let cut = cut.clone();
                    tokio::spawn(async move {
                        let response = || http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                        match request.uri().path() {
                            "/late" => {
                                sleep(Duration::from_millis(500)).await;
                                respond.send_response(response(), true).unwrap();
                            }
                            path => {
                                let mut send = respond.send_response(response(), false).unwrap();
                                send.send_data(Bytes::from_static(b"a"), false).unwrap();
                                sleep(Duration::from_millis(200)).await;
                                if path == "/reset" {
                                    send.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
                                } else {
                                    cut.send(()).await.unwrap();
                                    // Dropping the stream would reset it.
                                    std::future::pending::<()>().await;
                                }
                            }
                        }
                    });
                }
            });
        }
    });
    addr
}

async fn h2_client(addr: SocketAddr) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (send, connection) = h2::client::handshake(TcpStream::connect(addr).await.unwrap()).await.unwrap();
    (send.ready().await.unwrap(), tokio::spawn(connection))
}

fn grpc(path: &str) -> Request<()> {
    Request::post(format!("http://web.example{path}")).header("content-type", "application/grpc").body(()).unwrap()
}

#[tokio::test]
async fn a_grpc_client_gets_grpc_errors_and_its_connection_is_closed() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (mut send, connection) = h2_client(one_hop(unused).await).await;
    let response = send.send_request(grpc("/Emoji/Find"), true).unwrap().0.await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["l5d-proxy-connection"], "close");
    // GOAWAY: the connection ends although the client keeps it.
    timeout(SOON, connection).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_grpc_response_that_breaks_ends_with_trailers() {
    let (mut send, _connection) = h2_client(one_hop(fickle().await).await).await;
    let mut body = send.send_request(grpc("/cut"), true).unwrap().0.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "a");
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "14");
    assert!(trailers.contains_key("grpc-message"));
}

#[tokio::test]
async fn a_grpc_response_that_is_reset_is_reset() {
    let (mut send, _connection) = h2_client(one_hop(fickle().await).await).await;
    let mut body = send.send_request(grpc("/reset"), true).unwrap().0.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "a");
    assert_eq!(body.data().await.unwrap().unwrap_err().reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_drain_lets_http2_streams_finish_and_says_goaway() {
    let (signal, watch) = drain::channel();
    let addr = proxy(Next::AsIs(fickle().await), server::Settings::default(), watch).await;
    let (mut send, connection) = h2_client(addr).await;
    let late = send.send_request(grpc("/late"), true).unwrap().0;
    sleep(Duration::from_millis(100)).await;
    // The test's accept loop holds a watch for ever, so only the signal is of use here.
    let drain = tokio::spawn(signal.drain());
    assert_eq!(late.await.unwrap().status(), 200);
    timeout(SOON, connection).await.unwrap().unwrap().unwrap();
    drain.abort();
}

#[tokio::test]
async fn a_drain_ends_idle_connections() {
    let (server, _) = origin(|_| OK.to_owned()).await;
    let (signal, watch) = drain::channel();
    let addr = proxy(Next::AsIs(server), server::Settings::default(), watch).await;
    let mut io = TcpStream::connect(addr).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    assert!(io.read(&mut answer).await.unwrap() > 0);
    let drain = tokio::spawn(signal.drain());
    let mut rest = Vec::new();
    timeout(SOON, io.read_to_end(&mut rest)).await.unwrap().unwrap();
    drain.abort();
}

#[tokio::test]
async fn slow_headers_end_a_connection_and_idleness_does_not() {
    let (server, _) = origin(|_| OK.to_owned()).await;
    let settings = server::Settings { header_read_timeout: Duration::from_millis(300), ..Default::default() };
    let (_signal, watch) = drain::channel();
    let addr = proxy(Next::AsIs(server), settings, watch).await;
    let mut io = TcpStream::connect(addr).await.unwrap();
    let mut answer = vec![0; 4096];
    for _ in 0..2 {
        io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let read = timeout(SOON, io.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        sleep(Duration::from_millis(700)).await;
    }
    io.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    let mut rest = Vec::new();
    timeout(SOON, io.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shared_connection_knows_when_it_is_dead_and_ends_with_its_last_handle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        (h2::server::handshake(first).await.unwrap(), listener)
    });
    let connect = Connect::new(Dial(addr), Default::default());
    let mut connection = connect.clone().oneshot(()).await.unwrap();
    let (server, listener) = accepted.await.unwrap();
    assert!(connection.ready().await.is_ok());
    drop(server);
    timeout(SOON, async {
        while connection.ready().await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();

    let accepted = tokio::spawn(async move {
        let (second, _) = listener.accept().await.unwrap();
        let mut server = h2::server::handshake(second).await.unwrap();
        assert!(server.accept().await.is_none());
    });
    let connection = connect.oneshot(()).await.unwrap();
    let other = connection.clone();
    drop(connection);
    drop(other);
    timeout(SOON, accepted).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_holds_the_drain() {
    let (server, _) = origin(|_| "HTTP/1.1 101 Switching Protocols\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n".to_owned()).await;
    let (signal, watch) = drain::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let held = watch.clone();
        let service = tower::service_fn(move |mut request: Request<Body>| {
            let drain = held.clone();
            async move {
                let pending = meshkit_http::upgrade::Pending::of(&mut request).unwrap();
                let mut response = meshkit_http::client::Pool::new(Dial(server), Default::default()).oneshot(request).await.unwrap();
                assert_eq!(response.version(), Version::HTTP_11);
                pending.join(&mut response, drain);
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        server::serve(io, meshkit_http::detect::Version::Http1, service, &server::Settings::default(), watch).await.unwrap();
    });
    let mut io = TcpStream::connect(addr).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    assert!(io.read(&mut answer).await.unwrap() > 0);
    let mut drain = tokio::spawn(signal.drain());
    assert!(timeout(Duration::from_millis(300), &mut drain).await.is_err(), "the drain waits");
    io.write_all(b"still here").await.unwrap();
    let read = timeout(SOON, io.read(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer[..read], b"still here");
    drop(io);
    timeout(SOON, drain).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_is_gone_cancels_its_request_where_that_is_wanted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let canceled = tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.unwrap();
        common::read_head(&mut io).await.unwrap();
        io.read(&mut [0; 8]).await
    });
    let settings = server::Settings { client_end: server::ClientEnd::Gone, ..Default::default() };
    let (_signal, watch) = drain::channel();
    let addr = proxy(Next::AsIs(server), settings, watch).await;
    let mut io = TcpStream::connect(addr).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(200)).await;
    drop(io);
    assert_eq!(timeout(SOON, canceled).await.unwrap().unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_reset_stream_cancels_its_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let canceled = tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(io).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        // The hop opens a connection per request: it may be gone with the stream.
        tokio::select! {
            reset = std::future::poll_fn(|cx| respond.poll_reset(cx)) => assert_eq!(reset.unwrap(), h2::Reason::CANCEL),
            next = connection.accept() => assert!(!matches!(next, Some(Ok(_)))),
        }
    });
    let (mut send, _connection) = h2_client(one_hop(server).await).await;
    let (response, mut body) = send.send_request(grpc("/"), false).unwrap();
    sleep(Duration::from_millis(200)).await;
    body.send_reset(h2::Reason::CANCEL);
    timeout(SOON, canceled).await.unwrap().unwrap();
    assert!(response.await.is_err());
}
