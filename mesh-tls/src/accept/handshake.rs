use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Accepted, ClientTls};
use crate::{
    Tag, TlsIo,
    error::{HandshakeError, Peer},
    names, transport_header,
};

/// A handshake under way. Dropping it drops the connection.
#[must_use = "futures do nothing unless polled"]
pub struct Handshake<I>(
    /// Boxed: it is large, and what awaits it may live as long as the connection.
    Box<tokio_rustls::Accept<I>>,
);

impl<I> Handshake<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    pub(crate) fn new(io: I, config: Arc<ServerConfig>) -> Self {
        Self(Box::new(tokio_rustls::TlsAcceptor::from(config).accept(io)))
    }
}

impl<I> Future for Handshake<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<Accepted<I>, HandshakeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let stream = ready!(Pin::new(&mut self.0).poll(cx)).map_err(|error| HandshakeError::from_io(Peer::Client, error))?;
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        let client_id = leaf.and_then(names::first_identity);
        let header = match session.alpn_protocol() {
            Some(transport_header::ALPN) => Tag::Header,
            _ => Tag::Plain,
        };
        Poll::Ready(Ok(Accepted { io: TlsIo::Server(Box::new(stream)), client: ClientTls { client_id, header } }))
    }
}

impl<I> fmt::Debug for Handshake<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}
