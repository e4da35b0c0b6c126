//! The second hop.

use std::{cell::RefCell, io, net::SocketAddr, path::PathBuf, rc::Rc, sync::Arc};

use http::{HeaderValue, Request, Response, Uri, Version, header};
use hyper::{body::Incoming, client::conn::http2, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::spawn_local,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Ports, accept, bytes, connect,
    pool::{Body, Pool},
};
use crate::{certificates::Certificates, server::LocalExecutor};

/// An inbound proxy.
#[derive(Clone)]
pub struct Inbound(Rc<Shared>);

struct Shared {
    http: TlsAcceptor,
    tcp: TlsAcceptor,
    server: SocketAddr,
    bytes: SocketAddr,
    http1: Pool,
    http2: RefCell<Option<http2::SendRequest<Incoming>>>,
}

impl Inbound {
    /// In front of a server's HTTP and TCP.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(server: SocketAddr, bytes: SocketAddr, certificates: PathBuf) -> io::Result<Self> {
        let certificates = Certificates::at(certificates);
        Ok(Self(Rc::new(Shared {
            http: TlsAcceptor::from(Arc::new(certificates.server(&["h2"])?)),
            tcp: TlsAcceptor::from(Arc::new(certificates.server(&[])?)),
            server,
            bytes,
            http1: Pool::new(server),
            http2: RefCell::new(None),
        })))
    }

    pub(super) async fn serve(self, ports: Ports) -> io::Result<()> {
        let http1 = TcpListener::bind(ports.http1()).await?;
        let http2 = TcpListener::bind(ports.http2()).await?;
        let tcp = TcpListener::bind(ports.tcp()).await?;
        loop {
            let this = self.clone();
            tokio::select! {
                stream = accept(&http1) => { spawn_local(this.requests(stream, Version::HTTP_11)); }
                stream = accept(&http2) => { spawn_local(this.requests(stream, Version::HTTP_2)); }
                stream = accept(&tcp) => {
                    spawn_local(async move {
                        let Ok(outer) = this.0.tcp.accept(stream).await else { return };
                        if let Ok(inner) = connect(this.0.bytes).await {
                            bytes::copy(outer, inner).await;
                        }
                    });
                }
            }
        }
    }

    async fn requests(self, stream: TcpStream, version: Version) {
        let Ok(stream) = self.0.http.accept(stream).await else { return };
        let service = service_fn(move |request| {
            let this = self.clone();
            async move { if version == Version::HTTP_2 { this.http2(request).await } else { this.http1(request).await } }
        });
        let _ = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service).await;
    }

    async fn http1(&self, mut request: Request<Incoming>) -> io::Result<Response<Body>> {
        if let Some(authority) = request.uri().authority() {
            let host = HeaderValue::from_str(authority.as_str()).map_err(io::Error::other)?;
            request.headers_mut().insert(header::HOST, host);
        }
        let path = request.uri_mut().path_and_query().cloned();
        *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
        *request.version_mut() = Version::HTTP_11;
        self.0.http1.send(request).await
    }

    async fn http2(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let known = self.0.http2.borrow().as_ref().filter(|send| !send.is_closed()).cloned();
        let mut send = match known {
            Some(send) => send,
            None => {
                let stream = TokioIo::new(connect(self.0.server).await?);
                let (send, connection) = http2::handshake(LocalExecutor, stream).await.map_err(io::Error::other)?;
                spawn_local(connection);
                *self.0.http2.borrow_mut() = Some(send.clone());
                send
            }
        };
        send.send_request(request).await.map(|response| response.map(Body::shared)).map_err(io::Error::other)
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound").field("server", &self.0.server).finish_non_exhaustive()
    }
}
