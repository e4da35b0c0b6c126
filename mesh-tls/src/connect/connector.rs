use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use meshkit_core::endpoint::ServerTls;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::Handshake;
use crate::{
    Snapshot, Tag, TlsIo, TransportHeader,
    error::{HandshakeError, Peer},
};

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
    /// The peer is not who it must be, refuses, breaks off, or is not there: a [`HandshakeError`] within.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn connect<I>(&self, io: I, header: Option<&TransportHeader>) -> io::Result<TlsIo<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        Ok(self.handshake(io, header.map(|header| header.encode().into())).await?)
    }

    /// One handshake with the newest snapshot.
    pub(crate) fn handshake<I>(&self, io: I, header: Option<Bytes>) -> Handshake<I>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        match self.config() {
            Ok(config) => Handshake::new(io, &self.0.server, config, header),
            Err(error) => Handshake::refused(HandshakeError::from_rustls(Peer::Server, error)),
        }
    }

    fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let snapshot = Arc::clone(&self.0.snapshots.borrow());
        let mut prepared = self.0.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, config)) = prepared.as_ref()
            && Arc::ptr_eq(of, &snapshot)
        {
            return Ok(Arc::clone(config));
        }
        let config = snapshot.client(&self.0.server, self.0.tag)?;
        *prepared = Some((snapshot, Arc::clone(&config)));
        Ok(config)
    }
}

/// One handshake.
///
/// # Errors
/// The peer is not who it must be, refuses, breaks off, or is not there: a [`HandshakeError`] within.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn connect<I>(io: I, server: &ServerTls, config: Arc<ClientConfig>) -> io::Result<TlsIo<I>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    Ok(Handshake::new(io, server, config, None).await?)
}
