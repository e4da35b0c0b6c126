//! The server's end of a handshake: as a layer before whatever serves connections, and as a function.

mod future;
mod handshake;
mod layer;
mod service;

use std::{io, sync::Arc};

use meshkit_core::Identity;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};

pub use future::ResponseFuture;
pub use handshake::Handshake;
pub use layer::{AcceptLayer, DEFAULT_LIMIT};
pub use service::Accept;

use crate::{Tag, TlsIo};

/// What a handshake said about the client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientTls {
    /// Who it is, if it presented a certificate: the first name in it that is an identity.
    pub client_id: Option<Identity>,
    /// Was a transport header agreed on?
    pub header: Tag,
}

/// A connection whose client is known.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs)] // The two things that a handshake yields.
pub struct Accepted<I> {
    /// The stream.
    pub io: TlsIo<I>,
    /// Who is at its other end.
    pub client: ClientTls,
}

/// Answers one handshake. The caller bounds its time.
///
/// # Errors
/// The client presents a certificate that is not vouched for, breaks off, or speaks no TLS 1.3: a
/// [`HandshakeError`](crate::HandshakeError) within.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn accept<I>(io: I, config: Arc<ServerConfig>) -> io::Result<(TlsIo<I>, ClientTls)>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let Accepted { io, client } = Handshake::new(io, config).await?;
    Ok((io, client))
}
