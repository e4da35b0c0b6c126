use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use meshkit_core::endpoint::ServerTls;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    TlsIo,
    error::{HandshakeError, Peer, Reason},
    transport_header,
};

/// A handshake under way, up to the transport header. Dropping it drops the connection.
#[must_use = "futures do nothing unless polled"]
pub struct Handshake<I>(State<I>);

enum State<I> {
    Refused(HandshakeError),
    /// Boxed: it is large, and what awaits it may live as long as the connection.
    Shaking(Box<tokio_rustls::Connect<I>>, Option<Bytes>),
    Header(TlsIo<I>, Bytes),
    Done,
}

impl<I> Handshake<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    pub(crate) fn new(io: I, server: &ServerTls, config: Arc<ClientConfig>, header: Option<Bytes>) -> Self {
        match ServerName::try_from(&*server.server_name) {
            Ok(name) => {
                let handshake = tokio_rustls::TlsConnector::from(config).connect(name.to_owned(), io);
                Self(State::Shaking(Box::new(handshake), header))
            }
            Err(_) => Self::refused(HandshakeError::new(Peer::Server, Reason::ServerName)),
        }
    }

    pub(crate) const fn refused(error: HandshakeError) -> Self {
        Self(State::Refused(error))
    }
}

impl<I> Future for Handshake<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<TlsIo<I>, HandshakeError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        let failed = |error| HandshakeError::from_io(Peer::Server, error);
        loop {
            match state {
                State::Shaking(handshake, header) => {
                    let stream = ready!(Pin::new(handshake).poll(cx)).map_err(failed)?;
                    let header = header.take().filter(|_| stream.get_ref().1.alpn_protocol() == Some(transport_header::ALPN));
                    let stream = TlsIo::Client(Box::new(stream));
                    let Some(header) = header else {
                        *state = State::Done;
                        return Poll::Ready(Ok(stream));
                    };
                    *state = State::Header(stream, header);
                }
                State::Header(stream, header) => {
                    while header.has_remaining() {
                        match ready!(Pin::new(&mut *stream).poll_write(cx, header)).map_err(failed)? {
                            0 => return Poll::Ready(Err(failed(std::io::ErrorKind::WriteZero.into()))),
                            written => header.advance(written),
                        }
                    }
                    ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(failed)?;
                    break;
                }
                State::Refused(_) | State::Done => break,
            }
        }
        match mem::replace(state, State::Done) {
            State::Header(stream, _) => Poll::Ready(Ok(stream)),
            State::Refused(error) => Poll::Ready(Err(error)),
            State::Shaking(..) | State::Done => panic!("polled after completion"),
        }
    }
}

impl<I> fmt::Debug for Handshake<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}
