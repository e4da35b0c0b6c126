//! What stands at both ends of the proxy when nobody else does: backends that say who called them, and a client.

use std::{collections::BTreeMap, convert::Infallible, io, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, client::conn::http1::handshake, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use meshkit_core::Identity;
use meshkit_tls::{Store, Tag};
use tokio::net::{TcpListener, TcpStream};

use crate::BoxError;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    /// A person will.
    Nothing,
    Hundred,
}

/// A backend on a free port, with mutual TLS.
pub(crate) async fn backend(name: &'static str, store: Store) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(config) = store.snapshot().server(Tag::Plain) else { return };
            tokio::spawn(async move {
                let (io, peer) = meshkit_tls::accept(tcp, config).await?;
                let caller = peer.client_id.as_ref().map_or("somebody", Identity::as_str);
                let text = Bytes::from(format!("backend {name}, called by {caller}\n"));
                let answer =
                    service_fn(|_: Request<Incoming>| std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(text.clone())))));
                http1::Builder::new().serve_connection(TokioIo::new(io), answer).await.map_err(io::Error::other)
            });
        }
    });
    Ok(addr)
}

/// Sends what is to be sent, over one connection, and prints what came back. Of nothing, waits for Ctrl-C.
pub(crate) async fn ask(proxy: SocketAddr, ask: Ask) -> Result<(), BoxError> {
    if let Ask::Nothing = ask {
        return Ok(tokio::signal::ctrl_c().await?);
    }
    let (mut client, connection) = handshake(TokioIo::new(TcpStream::connect(proxy).await?)).await?;
    tokio::spawn(connection);
    let mut answers = BTreeMap::<_, u32>::new();
    for _ in 0..100 {
        let request = Request::get("/").header("host", "emoji.emojivoto").body(Empty::<Bytes>::new())?;
        client.ready().await?;
        let response = client.send_request(request).await?;
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        *answers.entry(format!("{} {}", status.as_u16(), String::from_utf8_lossy(&text).trim_end())).or_default() += 1;
    }
    answers.iter().for_each(|(answer, count)| println!("{count:>3} x {answer}"));
    Ok(())
}
