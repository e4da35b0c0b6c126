//! The server's end of a handshake.

use std::{io, sync::Arc};

use meshkit_core::Identity;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{TlsIo, names, transport_header};

/// What a handshake said about the client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientTls {
    /// Who it is, if it presented a certificate: the first name in it that is an identity.
    pub client_id: Option<Identity>,
    /// Was a transport header agreed on?
    pub header: crate::Tag,
}

/// Answers one handshake. The caller bounds its time.
///
/// # Errors
/// The client presents a certificate that is not vouched for, breaks off, or speaks no TLS 1.3.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn accept<I>(io: I, config: Arc<ServerConfig>) -> io::Result<(TlsIo<I>, ClientTls)>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let stream = tokio_rustls::TlsAcceptor::from(config).accept(io).await?;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let client_id = leaf.and_then(|leaf| names::identities(leaf).into_iter().next());
    let header = match session.alpn_protocol() {
        Some(transport_header::ALPN) => crate::Tag::Header,
        _ => crate::Tag::Plain,
    };
    Ok((TlsIo::Server(Box::new(stream)), ClientTls { client_id, header }))
}
