//! Streams: with TLS or without, and with bytes given back to the front.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that may be encrypted.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums)] // There is no fourth way to hold a stream.
pub enum TlsIo<I> {
    /// Bytes as they are.
    Plain(I),
    /// The client's end.
    Client(Box<tokio_rustls::client::TlsStream<I>>),
    /// The server's end.
    Server(Box<tokio_rustls::server::TlsStream<I>>),
}

impl<I> TlsIo<I> {
    /// The application protocol that the handshake agreed on.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Client(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Server(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The stream beneath.
    #[must_use]
    pub fn get_ref(&self) -> &I {
        match self {
            Self::Plain(io) => io,
            Self::Client(stream) => stream.get_ref().0,
            Self::Server(stream) => stream.get_ref().0,
        }
    }
}

/// A stream whose first bytes were read already: they come again.
#[derive(Debug)]
pub struct Prefixed<I> {
    prefix: Bytes,
    io: I,
}

impl<I> Prefixed<I> {
    /// Gives `prefix` back to the front of `io`.
    #[must_use]
    pub fn new(prefix: impl Into<Bytes>, io: I) -> Self {
        Self { prefix: prefix.into(), io }
    }

    /// The stream beneath.
    #[must_use]
    pub const fn get_ref(&self) -> &I {
        &self.io
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let length = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        if self.prefix.is_empty() {
            // Gives the buffer back: connections live long, prefixes do not.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

macro_rules! each {
    ($self:expr, $io:ident => $call:expr) => {
        match $self.get_mut() {
            TlsIo::Plain($io) => $call,
            TlsIo::Client($io) => $call,
            TlsIo::Server($io) => $call,
        }
    };
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsIo<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsIo<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Client(io) => io.is_write_vectored(),
            Self::Server(io) => io.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_comes_first_and_nothing_is_lost_however_it_is_read(
            prefix in proptest::collection::vec(any::<u8>(), 0..64),
            rest in proptest::collection::vec(any::<u8>(), 0..64),
            step in 1usize..20,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let mut io = Prefixed::new(prefix.clone(), rest.as_slice());
                let (mut read, mut part) = (Vec::new(), vec![0; step]);
                loop {
                    match io.read(&mut part).await.unwrap() {
                        0 => break read,
                        length => read.extend_from_slice(&part[..length]),
                    }
                }
            });
            prop_assert_eq!(read, [prefix, rest].concat());
        }
    }

    #[tokio::test]
    async fn what_is_written_goes_straight_through() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut io = TlsIo::Plain(Prefixed::new(&b"hello"[..], ours));
        io.write_all(b"world").await.unwrap();
        io.shutdown().await.unwrap();
        let mut written = String::new();
        theirs.read_to_string(&mut written).await.unwrap();
        assert_eq!((written.as_str(), io.alpn()), ("world", None));
    }
}
