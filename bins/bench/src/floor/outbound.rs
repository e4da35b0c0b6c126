//! The first hop.

use std::{
    cell::{Cell, RefCell},
    io,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use http::{Request, Response, Uri, header, uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::spawn_local,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use super::{Ports, accept, bytes, connect};
use crate::{
    certificates::{Certificates, NAME},
    server::LocalExecutor,
};

/// The outbound proxy.
#[derive(Clone)]
pub struct Outbound(Rc<Shared>);

struct Shared {
    http: TlsConnector,
    tcp: TlsConnector,
    inbound: Vec<Ports>,
    /// Connections for requests that came by HTTP/1, and by HTTP/2.
    connections: [Vec<RefCell<Option<SendRequest<Incoming>>>>; 2],
    next: Cell<usize>,
}

impl Outbound {
    /// Takes turns between `inbound`.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(inbound: Vec<Ports>, certificates: PathBuf) -> io::Result<Self> {
        let certificates = Certificates::at(certificates);
        let connections = || inbound.iter().map(|_| RefCell::default()).collect();
        Ok(Self(Rc::new(Shared {
            http: TlsConnector::from(Arc::new(certificates.client(&["h2"])?)),
            tcp: TlsConnector::from(Arc::new(certificates.client(&[])?)),
            connections: [connections(), connections()],
            inbound,
            next: Cell::new(0),
        })))
    }

    pub(super) async fn serve(self, ports: Ports) -> io::Result<()> {
        let http1 = TcpListener::bind(ports.http1()).await?;
        let http2 = TcpListener::bind(ports.http2()).await?;
        let tcp = TcpListener::bind(ports.tcp()).await?;
        loop {
            let this = self.clone();
            tokio::select! {
                stream = accept(&http1) => {
                    let service = service_fn(move |request| { let this = this.clone(); async move { this.forward(0, request).await } });
                    spawn_local(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
                stream = accept(&http2) => {
                    let service = service_fn(move |request| { let this = this.clone(); async move { this.forward(1, request).await } });
                    spawn_local(hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service));
                }
                stream = accept(&tcp) => {
                    spawn_local(async move {
                        let to = this.0.inbound[this.pick()].tcp();
                        if let Ok(inner) = this.tls(&this.0.tcp, to).await {
                            bytes::copy(stream, inner).await;
                        }
                    });
                }
            }
        }
    }

    fn pick(&self) -> usize {
        let next = self.0.next.get();
        self.0.next.set(next.wrapping_add(1));
        next % self.0.inbound.len()
    }

    async fn tls(&self, connector: &TlsConnector, to: std::net::SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        connector.connect(name, connect(to).await?).await
    }

    async fn forward(&self, version: usize, mut request: Request<Incoming>) -> io::Result<Response<Incoming>> {
        let host = request.headers_mut().remove(header::HOST);
        if let Some(host) = host {
            let mut parts = uri::Parts::from(std::mem::take(request.uri_mut()));
            parts.scheme = Some(uri::Scheme::HTTP);
            parts.authority = Some(host.as_bytes().try_into().map_err(io::Error::other)?);
            *request.uri_mut() = Uri::from_parts(parts).map_err(io::Error::other)?;
        }
        *request.version_mut() = http::Version::HTTP_2;
        request.headers_mut().remove(header::CONNECTION);
        let mut send = self.connection(version, self.pick()).await?;
        send.send_request(request).await.map_err(io::Error::other)
    }

    async fn connection(&self, version: usize, index: usize) -> io::Result<SendRequest<Incoming>> {
        let slot = &self.0.connections[version][index];
        if let Some(send) = slot.borrow().as_ref().filter(|send| !send.is_closed()) {
            return Ok(send.clone());
        }
        let ports = self.0.inbound[index];
        let stream = self.tls(&self.0.http, if version == 0 { ports.http1() } else { ports.http2() }).await?;
        let (send, connection) = http2::handshake(LocalExecutor, TokioIo::new(stream)).await.map_err(io::Error::other)?;
        spawn_local(connection);
        // Two that connect at once keep one of the connections; the other ends with its request.
        *slot.borrow_mut() = Some(send.clone());
        Ok(send)
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("inbound", &self.0.inbound).finish_non_exhaustive()
    }
}
