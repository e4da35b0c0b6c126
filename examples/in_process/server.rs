//! An axum service whose connections are mutual TLS, and whose requests the policy allows.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{Router, routing::post};
use http::Response;
use meshkit_core::{Error, drain};
use meshkit_http::{
    Body,
    detect::Version,
    edge::{EdgeLayer, Told},
    server,
};
use meshkit_policy::{Client, PolicyLayer, TlsState, inbound};
use meshkit_tls::{Store, Tag};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tower::{ServiceBuilder, ServiceExt};

use crate::{BoxError, telemetry::Telemetry};

/// One replica. Clones are the same.
#[derive(Clone)]
pub(crate) struct Server {
    app: Router,
    store: Arc<Store>,
    policy: watch::Receiver<Arc<inbound::Policy>>,
    telemetry: Telemetry,
}

impl Server {
    pub(crate) fn new(app: Router, store: Arc<Store>, policy: watch::Receiver<Arc<inbound::Policy>>, telemetry: Telemetry) -> Self {
        Self { app, store, policy, telemetry }
    }

    /// Listens at a free port, and serves until the drain.
    pub(crate) async fn start(self, watch: drain::Watch) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        tokio::spawn(async move {
            let mut signaled = std::pin::pin!(watch.clone().signaled());
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _held = &mut signaled => return,
                };
                let Ok((tcp, client)) = accepted else { continue };
                let (connection, watch) = (self.clone().connection(tcp, client, watch.clone()), watch.clone());
                tokio::spawn(async move {
                    // A client that is told to go may be gone before it has been told everything.
                    if let Err(error) = connection.await
                        && !watch.is_signaled()
                    {
                        eprintln!("{client}: {error}");
                    }
                });
            }
        });
        Ok(addr)
    }

    async fn connection(self, tcp: TcpStream, addr: SocketAddr, watch: drain::Watch) -> Result<(), BoxError> {
        let (io, peer) = meshkit_tls::accept(tcp, self.store.snapshot().server(Tag::Plain)?).await?;
        let id = peer.client_id;
        let (counted, denials) = (self.telemetry.client(id.as_ref()), self.telemetry.denials(id.as_ref()));
        let client = Client { ip: addr.ip(), tls: TlsState::Terminated { client_id: id } };

        // Outermost first.
        let service = ServiceBuilder::new()
            .layer(EdgeLayer::outer(Told::Everything)) // whatever is still an error becomes a response
            .layer(PolicyLayer::new(self.policy, client).observe(denials)) // before anything is done for the client
            .map_future(move |response| counted.clone().follow(response))
            .map_response(|response: Response<_>| response.map(Body::wrap))
            .map_err(|never: std::convert::Infallible| -> Error { match never {} })
            .service(self.app);
        Ok(server::serve(io, Version::Http2, service.boxed_clone(), &server::Settings::default(), watch).await?)
    }
}

/// The application: it knows nothing of the mesh.
pub(crate) fn voting(replica: &'static str) -> Router {
    let votes = Arc::new(AtomicU32::new(0));
    Router::new().route(
        "/vote",
        post(async move |choice: String| {
            let votes = votes.fetch_add(1, Ordering::Relaxed) + 1;
            format!("{replica} took {choice}, its vote number {votes}")
        }),
    )
}
