//! Serves gRPC in plaintext: the proxy of the pod has ended TLS by then.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use meshkit_core::drain;
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::body::Body;
use tracing::{debug, warn};

/// Connections at once; further ones wait. Proxies have one each.
const CONNECTIONS_MAX: usize = 20_000;
/// While the machine has no file descriptor left, accepting again at once would only burn its processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A client that does not answer a ping for so long is gone.
const PING: Duration = Duration::from_secs(10);

/// Serves until it is told to stop. Then nothing new is taken, and what is answered is answered to its end.
pub(super) async fn serve<S>(listener: TcpListener, service: S, drain: drain::Watch)
where
    S: tower::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stop = drain.clone().signaled();
    tokio::pin!(stop);
    loop {
        let accept = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (io, client, slot) = tokio::select! {
            _ = &mut stop => return,
            (accepted, slot) = accept => match accepted {
                Ok((io, client)) => (io, client, slot),
                Err(error) => {
                    warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let _ = io.set_nodelay(true);
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new()).keep_alive_interval(Some(PING)).keep_alive_timeout(PING);
        // A connection has as many watches as its proxy has destinations. What they are told is small, and should not wait in buffers.
        server.max_concurrent_streams(None).max_send_buf_size(64 << 10).max_header_list_size(16 << 10);
        let connection = server.serve_connection(TokioIo::new(io), TowerToHyperService::new(service.clone()));
        let drain = drain.clone();
        tokio::spawn(async move {
            let _slot = slot;
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                _held = drain.signaled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(client.addr = %client, %error, "connection ended");
            }
        });
    }
}
