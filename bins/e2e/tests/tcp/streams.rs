//! gRPC as the bare HTTP/2 library sends it: streams that go on in both directions.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server as h2_server};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::folder::{self, HTTP, encrypted, listener, open_others, server};

/// One message in gRPC's framing: not compressed, and its length.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    Bytes::from([&[0], &length[..], text.as_bytes()].concat())
}

/// Answers each message with its echo, and ends with the status when the client has ended.
async fn serve(on: SocketAddr) {
    let listener = TcpListener::bind(on).await.unwrap();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2_server::handshake(io).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let send = respond.send_response(response, false).unwrap();
                    tokio::spawn(echo(request.into_body(), send));
                }
            });
        }
    });
}

async fn echo(mut from: RecvStream, mut to: SendStream<Bytes>) {
    while let Some(Ok(data)) = from.data().await {
        from.flow_control().release_capacity(data.len()).unwrap();
        if to.send_data(data, false).is_err() {
            return;
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let _ = to.send_trailers(trailers);
}

/// Reads exactly what was sent; frames may have been cut anew.
async fn expect(body: &mut RecvStream, wanted: &[u8]) {
    let mut seen = Vec::new();
    while seen.len() < wanted.len() {
        let data = body.data().await.expect("the stream goes on").unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        seen.extend_from_slice(&data);
    }
    assert_eq!(seen, wanted);
}

#[test]
fn streams_in_both_directions_outlive_others_and_end_with_their_status() {
    let mesh = folder::launch(&[("client", "")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        serve(server(&mesh, HTTP)).await;
        open_others(&mesh, &[HTTP]);
        let to = listener(&mesh, "client", HTTP);
        let io = TcpStream::connect(to).await.unwrap();
        let (mut send, connection) = client::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let open = |send: &mut client::SendRequest<Bytes>| {
            let request =
                Request::post(format!("http://{to}/echo.Echo/Talk")).header("content-type", "application/grpc").header("te", "trailers");
            send.send_request(request.body(()).unwrap(), false).unwrap()
        };
        // The server may not be known yet: a call that is refused is made again.
        let (mut body, mut talk) = loop {
            send = send.ready().await.unwrap();
            let (response, mut talk) = open(&mut send);
            talk.send_data(message("first"), false).unwrap();
            match response.await {
                Ok(response) if !response.headers().contains_key("grpc-status") => break (response.into_body(), talk),
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        };
        expect(&mut body, &message("first")).await;

        // Two hundred short ones beside it, each whole.
        for n in 0..200 {
            send = send.ready().await.unwrap();
            let (response, mut short) = open(&mut send);
            short.send_data(message(&format!("call {n}")), true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            expect(&mut body, &message(&format!("call {n}"))).await;
            assert!(body.data().await.is_none());
            assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
            // The long one speaks now and then.
            if n % 20 == 0 {
                talk.send_data(message(&format!("still here at {n}")), false).unwrap();
            }
        }
        for n in (0..200).step_by(20) {
            expect(&mut body, &message(&format!("still here at {n}"))).await;
        }
        talk.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none_or(|last| last.unwrap().is_empty()));
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
    assert!(encrypted(&mesh, HTTP) >= 1, "{}", mesh.metrics("server-0"));
}
