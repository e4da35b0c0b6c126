//! Asks an admin server.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const MAX_LEN: usize = 64 << 20;

/// The status and body of a path.
///
/// # Errors
/// Nobody answers, or not in time, or not in HTTP.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    exchange(http::Method::GET, addr, path).await
}

/// The status and body of the answer to a request without a body.
///
/// # Errors
/// Nobody answers, or not in time, or not in HTTP.
///
/// # Cancel safety
/// Dropping the future drops the connection; the request may have been heard.
pub(crate) async fn post(addr: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    exchange(http::Method::POST, addr, path).await
}

async fn exchange(method: http::Method, addr: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let exchange = async {
        let io = TcpStream::connect(addr).await?;
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request =
            http::Request::builder().method(method).uri(path).header(http::header::HOST, addr.to_string()).body(Empty::<Bytes>::new());
        let response = send.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_LEN).collect().await.map_err(io::Error::other)?.to_bytes();
        connection.abort();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(LIMIT, exchange).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, format!("{addr}{path} did not answer"))))
}
