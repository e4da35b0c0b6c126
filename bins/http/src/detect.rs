//! HTTP/1, HTTP/2 or neither, from the first bytes of a connection.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use pin_project::pin_project;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::timeout,
};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // HTTP/3 does not come over TCP.
pub enum Version {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge.
    Http2,
}

/// What one read showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detected {
    /// HTTP.
    Http(Version),
    /// Something else.
    NotHttp,
    /// The connection ended before its first byte.
    Closed,
    /// Nothing came in time.
    TimedOut,
}

/// A stream with the bytes that were read from it put back to its front.
#[pin_project]
#[derive(Debug)]
pub struct Prefixed<I> {
    prefix: BytesMut,
    #[pin]
    io: I,
}

/// How much is looked at.
const READ_LEN: usize = 1024;
/// The front of HTTP/2's preface (RFC 9113, section 3.4); fewer bytes decide nothing.
const PREFACE: &[u8; 14] = b"PRI * HTTP/2.0";

/// Decides by the first bytes.
#[must_use]
pub fn classify(bytes: &[u8]) -> Option<Version> {
    if bytes.len() < PREFACE.len() {
        return None;
    }
    if bytes.starts_with(PREFACE) {
        return Some(Version::Http2);
    }
    // With room for no header at all, a request line is all that is parsed.
    match httparse::Request::new(&mut []).parse(bytes) {
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Some(Version::Http1),
        Err(_) => None,
    }
}

/// Reads once, for at most `limit`, and returns what was read, to be given back to the front of the stream.
///
/// # Errors
/// The stream cannot be read.
///
/// # Cancel safety
/// Dropping the future loses what it read.
pub async fn detect(io: &mut (impl AsyncRead + Unpin), limit: Duration) -> io::Result<(Detected, BytesMut)> {
    let mut bytes = BytesMut::with_capacity(READ_LEN);
    let Ok(read) = timeout(limit, io.read_buf(&mut bytes)).await else {
        return Ok((Detected::TimedOut, bytes));
    };
    let detected = match (read?, classify(&bytes)) {
        (0, _) => Detected::Closed,
        (_, Some(version)) => Detected::Http(version),
        (_, None) => Detected::NotHttp,
    };
    Ok((detected, bytes))
}

impl<I> Prefixed<I> {
    /// Reads `prefix` first, then `io`.
    #[must_use]
    pub const fn new(prefix: BytesMut, io: I) -> Self {
        Self { prefix, io }
    }

    /// The stream behind.
    #[must_use]
    pub const fn get_ref(&self) -> &I {
        &self.io
    }
}

impl<I: AsyncRead> AsyncRead for Prefixed<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.prefix.is_empty() {
            return this.io.poll_read(cx, buf);
        }
        let len = this.prefix.len().min(buf.remaining());
        buf.put_slice(&this.prefix[..len]);
        this.prefix.advance(len);
        if this.prefix.is_empty() {
            // Gives the memory back: connections outlive their first bytes by far.
            *this.prefix = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite> AsyncWrite for Prefixed<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(classify(b"GET / HTTP/1.1\r\n"), Some(Version::Http1));
        assert_eq!(classify(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n"), Some(Version::Http1));
        assert_eq!(classify(b"POST /a/long/path"), Some(Version::Http1));
        assert_eq!(classify(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(Version::Http2));
        assert_eq!(classify(b"SSH-2.0-OpenSSH_9.2\r\n"), None);
        assert_eq!(classify(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00"), None);
        assert_eq!(classify(b"GET / HTTP/1"), None, "too short to decide");
    }

    #[tokio::test(start_paused = true)]
    async fn one_read_decides_and_nothing_is_lost() {
        const LIMIT: Duration = Duration::from_secs(10);
        let (mut client, mut server) = tokio::io::duplex(4096);
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let (detected, prefix) = detect(&mut server, LIMIT).await.unwrap();
        assert_eq!(detected, Detected::Http(Version::Http1));
        client.write_all(b"host: a\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = String::new();
        Prefixed::new(prefix, server).read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_the_end_are_told_apart() {
        const LIMIT: Duration = Duration::from_secs(10);
        let (client, mut server) = tokio::io::duplex(64);
        assert_eq!(detect(&mut server, LIMIT).await.unwrap().0, Detected::TimedOut);
        drop(client);
        assert_eq!(detect(&mut server, LIMIT).await.unwrap().0, Detected::Closed);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = classify(&bytes);
        }

        #[test]
        fn a_request_line_is_known_however_it_is_cut(
            method in "[A-Z]{1,10}", path in "/[a-z0-9/?=&%-]{0,60}", minor in 0u8..2, cut in 14usize..120,
        ) {
            let head = format!("{method} {path} HTTP/1.{minor}\r\nhost: web-svc.emojivoto:80\r\n\r\n");
            let bytes = &head.as_bytes()[..cut.min(head.len())];
            prop_assert_eq!(classify(bytes), Some(Version::Http1));
        }

        #[test]
        fn the_preface_is_known_whatever_follows(rest in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = [PREFACE.as_slice(), &rest].concat();
            prop_assert_eq!(classify(&bytes), Some(Version::Http2));
        }
    }
}
