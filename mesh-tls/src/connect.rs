//! The client's end of a handshake.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use meshkit_core::endpoint::ServerTls;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use crate::{Snapshot, Tag, TlsIo, TransportHeader, transport_header};

/// Shakes hands with one endpoint, over and over. Clones share what was prepared for the current snapshot.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: ServerTls,
    tag: Tag,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    prepared: Mutex<Option<(Arc<Snapshot>, Arc<ClientConfig>)>>,
}

impl Connector {
    /// A connector to a server that must prove an identity.
    #[must_use]
    pub fn new(server: ServerTls, tag: Tag, snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self(Arc::new(Inner { server, tag, snapshots, prepared: Mutex::new(None) }))
    }

    /// Who must answer.
    #[must_use]
    pub fn server(&self) -> &ServerTls {
        &self.0.server
    }

    /// Shakes hands over `io`, and writes the transport header where the server takes one. A server that does not gets bytes without a
    /// header, as it would from a client that knows of none.
    ///
    /// # Errors
    /// The peer is not who it must be, refuses, breaks off, or is not there.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn connect<I>(&self, io: I, header: Option<&TransportHeader>) -> io::Result<TlsIo<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = connect(io, &self.0.server, self.config()?).await?;
        if let Some(header) = header
            && stream.alpn() == Some(transport_header::ALPN)
        {
            header.write(&mut stream).await?;
        }
        Ok(stream)
    }

    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        let snapshot = Arc::clone(&self.0.snapshots.borrow());
        let mut prepared = self.0.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, config)) = prepared.as_ref()
            && Arc::ptr_eq(of, &snapshot)
        {
            return Ok(Arc::clone(config));
        }
        let config = snapshot.client(&self.0.server, self.0.tag).map_err(io::Error::other)?;
        *prepared = Some((snapshot, Arc::clone(&config)));
        Ok(config)
    }
}

/// One handshake.
///
/// # Errors
/// The peer is not who it must be, refuses, breaks off, or is not there.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn connect<I>(io: I, server: &ServerTls, config: Arc<ClientConfig>) -> io::Result<TlsIo<I>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(server.server_name.to_string()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{:?} cannot be asked for as a server name", server.server_name))
    })?;
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, io).await?;
    Ok(TlsIo::Client(Box::new(stream)))
}
