//! HTTP/1, HTTP/2 or neither, from the first bytes of a connection.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = classify(&bytes);
        }
    }
}
