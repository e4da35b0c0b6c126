//! HTTP/2 and gRPC: several requests at once on one connection.

use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode, header};
use tokio::task::JoinSet;

use super::{Outcome, Protocol, Worker, within};
use crate::server::SMALL;

/// One connection, until it breaks.
pub(super) async fn run(worker: Worker) -> io::Result<()> {
    let mut builder = h2::client::Builder::new();
    // Windows are not what is measured.
    builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
    let stream = worker.dial().await?;
    let (send, connection) = within(async { builder.handshake(stream).await.map_err(io::Error::other) }).await?;
    // Ends with this function, and the streams with it.
    let mut tasks = JoinSet::new();
    tasks.spawn_local(async move { connection.await.map_err(io::Error::other) });
    for _ in 0..worker.load.streams {
        let (worker, send) = (worker.clone(), send.clone());
        tasks.spawn_local(async move {
            let mut send = send;
            loop {
                let due = worker.pace.next().await;
                let outcome = within(exchange(&worker, &mut send)).await?;
                worker.tally.borrow_mut().record(outcome, due);
            }
        });
    }
    match tasks.join_next().await {
        Some(Ok(ended)) => ended,
        _ => Err(io::ErrorKind::Interrupted.into()),
    }
}

async fn exchange(worker: &Worker, send: &mut SendRequest<Bytes>) -> io::Result<Outcome> {
    let failed = |error: h2::Error| io::Error::other(error);
    let is_grpc = worker.load.protocol == Protocol::Grpc;
    let uri = format!("http://{}{}", worker.load.authority, worker.load.path);
    let request = Request::builder().uri(uri);
    let request = if is_grpc {
        request.method(Method::POST).header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers")
    } else {
        request
    };
    let request = request.body(()).map_err(io::Error::other)?;
    std::future::poll_fn(|cx| send.poll_ready(cx)).await.map_err(failed)?;
    let (response, mut body) = send.send_request(request, !is_grpc).map_err(failed)?;
    if is_grpc {
        body.send_data(Bytes::from([&[0, 0, 0, 0, 32], SMALL.as_slice()].concat()), true).map_err(failed)?;
    }
    let response = response.await.map_err(failed)?;
    let success = response.status() == StatusCode::OK;
    let status = response.headers().get("grpc-status").cloned();
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let data = data.map_err(failed)?;
        body.flow_control().release_capacity(data.len()).map_err(failed)?;
    }
    let trailers = body.trailers().await.map_err(failed)?;
    let status = trailers.and_then(|trailers| trailers.get("grpc-status").cloned()).or(status);
    let success = success && (!is_grpc || status.is_some_and(|status| status == "0"));
    Ok(if success { Outcome::Success } else { Outcome::Failure })
}
