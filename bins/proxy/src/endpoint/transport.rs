//! Connections to one endpoint.

use std::{
    net::SocketAddr,
    num::NonZeroU16,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use meshkit_core::{Endpoint, Error};
use meshkit_http::client::NotSent;
use meshkit_tls::{Connector, Tag, TlsIo, TransportHeader, transport_header::SessionProtocol};
use tokio::net::TcpStream;
use tower::Service;

use super::Settings;
use crate::{
    metrics::{Counted, TcpHandle},
    net::TcpConnect,
};

/// Opens connections to one endpoint: TCP, mutual TLS, transport header.
#[derive(Clone, Debug)]
pub struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Arc<Endpoint>,
    /// The proxy's port where there is one, else the endpoint's own.
    dial: SocketAddr,
    tls: Option<Connector>,
    header: Option<TransportHeader>,
    connect: TcpConnect,
    tcp: TcpHandle,
}

impl Transport {
    /// Connections on which `protocol` follows.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, protocol: Option<SessionProtocol>, settings: &Settings, tcp: TcpHandle) -> Self {
        // A header is for proxies, and those are known by their identity.
        let tag = if endpoint.tls.is_some() { endpoint.tagged_port } else { None };
        let header = tag.zip(NonZeroU16::new(endpoint.addr.port())).map(|(_, port)| TransportHeader {
            port,
            name: endpoint.authority_override.as_ref().map(ToString::to_string),
            protocol,
        });
        let tls = endpoint.tls.clone().map(|server| {
            let tag = if header.is_some() { Tag::Header } else { Tag::Plain };
            Connector::new(server, tag, settings.tls.clone())
        });
        let dial = SocketAddr::new(endpoint.addr.ip(), tag.map_or(endpoint.addr.port(), NonZeroU16::get));
        Self(Arc::new(Inner { endpoint, dial, tls, header, connect: settings.connect, tcp }))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// It cannot be opened, or not in time.
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up.
    pub async fn open(&self) -> Result<Counted<TlsIo<TcpStream>>, Error> {
        let Inner { endpoint, dial, tls, header, connect, tcp } = &*self.0;
        let set_up = async {
            let io = connect.open(*dial).await?;
            match tls {
                Some(tls) => tls.connect(io, header.as_ref()).await,
                None => Ok(TlsIo::Plain(io)),
            }
        };
        match connect.within(set_up).await {
            Ok(io) => Ok(tcp.count(io)),
            Err(error) => {
                // Between two of these lie a request and a pause that grows.
                let id = endpoint.tls.as_ref().map(|tls| &tls.identity);
                tracing::info!(endpoint.addr = %endpoint.addr, endpoint.id = id.map(tracing::field::display), %error, "cannot connect");
                Err(Error::new(error.cause().clone())
                    .message(error.to_string())
                    .caused_by(NotSent)
                    .within(format!("endpoint {}", endpoint.addr)))
            }
        }
    }
}

impl Service<()> for Transport {
    type Response = Counted<TlsIo<TcpStream>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let transport = self.clone();
        Box::pin(async move { transport.open().await })
    }
}
