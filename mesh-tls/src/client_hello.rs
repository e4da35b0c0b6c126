//! Is this TLS, and for which name? Looked at without being consumed.
//!
//! The grammar is RFC 8446, section 4.1.2, read as narrowly as the compatible system reads it: record type 22, legacy versions 3.1 or 3.3, one
//! handshake message of type 1 within the first record, no vector longer than 8192 bytes, and the first `host_name` of RFC 6066 counts.

use std::{
    future::poll_fn,
    io,
    task::{Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, ReadBuf},
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use crate::Prefixed;

/// The longest hello that is looked at, in bytes.
pub const MAX_LEN: usize = 8192;

/// How much is looked at before anything is taken off the socket. A hello with a post-quantum key share has some 1500 bytes.
const PEEK_LEN: usize = 2048;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A parser knows, or needs more.
pub enum Parsed {
    /// A hello of TLS, and the name it asks for.
    Hello(Option<String>),
    /// Something else.
    NotTls,
    /// So far it could be a hello.
    NeedMore,
}

/// A connection whose first bytes were looked at.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums)] // It is TLS or it is not.
pub enum Detected {
    /// A hello, and the name it asks for.
    Hello(Option<String>),
    /// Something else.
    NotTls,
}

/// Looks at the first bytes of `bytes`.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    match hello(&mut Reader(bytes)) {
        Ok(name) => Parsed::Hello(name),
        Err(Stop::NotTls) => Parsed::NotTls,
        Err(Stop::NeedMore) if bytes.len() >= MAX_LEN => Parsed::NotTls,
        Err(Stop::NeedMore) => Parsed::NeedMore,
    }
}

/// Looks at the first bytes of a connection, for at most `limit`. They come again when the stream is read.
///
/// # Errors
/// The outer error is the time limit; the inner one is the socket's. A connection that ends before its first byte is not TLS.
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn detect(io: TcpStream, limit: Duration) -> Result<io::Result<(Detected, Prefixed<TcpStream>)>, Elapsed> {
    timeout(limit, peek(io)).await
}

async fn peek(mut io: TcpStream) -> io::Result<(Detected, Prefixed<TcpStream>)> {
    let known = |parsed| match parsed {
        Parsed::Hello(name) => Some(Detected::Hello(name)),
        Parsed::NotTls => Some(Detected::NotTls),
        Parsed::NeedMore => None,
    };
    let front = poll_fn(|cx| {
        // On the stack of this poll, and not part of the future: connections are many, and most of them wait.
        let mut front = [0; PEEK_LEN];
        let mut front = ReadBuf::new(&mut front);
        let length = ready!(io.poll_peek(cx, &mut front))?;
        Poll::Ready(io::Result::Ok(if length == 0 { Some(Detected::NotTls) } else { known(parse(front.filled())) }))
    });
    if let Some(detected) = front.await? {
        return Ok((detected, Prefixed::new(Bytes::new(), io)));
    }
    // Peeking again would return the same bytes at once, in a busy loop: they are taken, and given back later.
    let mut taken = BytesMut::with_capacity(PEEK_LEN);
    loop {
        let room = MAX_LEN - taken.len();
        let read = (&mut io).take(room as u64).read_buf(&mut taken).await?;
        match known(parse(&taken)) {
            Some(detected) => return Ok((detected, Prefixed::new(taken, io))),
            None if read == 0 => return Ok((Detected::NotTls, Prefixed::new(taken, io))),
            None => {}
        }
    }
}

#[derive(Clone, Copy)]
enum Stop {
    NotTls,
    NeedMore,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Stop::NeedMore)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Stop> {
        Ok(self.take(bytes)?.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Stop> {
        if self.number(1)? == usize::from(wanted) { Ok(()) } else { Err(Stop::NotTls) }
    }

    /// A vector whose length is told in so many bytes.
    fn vector(&mut self, bytes: usize) -> Result<Reader<'a>, Stop> {
        let length = self.number(bytes)?;
        if length > MAX_LEN {
            return Err(Stop::NotTls);
        }
        self.take(length).map(Reader)
    }

    fn version(&mut self, minor: &[u8]) -> Result<(), Stop> {
        self.expect(3)?;
        let seen = self.take(1)?[0];
        if minor.contains(&seen) { Ok(()) } else { Err(Stop::NotTls) }
    }
}

fn hello(bytes: &mut Reader<'_>) -> Result<Option<String>, Stop> {
    bytes.expect(22)?;
    bytes.version(&[1, 3])?;
    let record_len = bytes.number(2)?;
    if record_len > MAX_LEN {
        return Err(Stop::NotTls);
    }
    bytes.expect(1)?;
    bytes.expect(0)?;
    let hello_len = bytes.number(2)?;
    if hello_len > MAX_LEN || hello_len + 4 > record_len {
        return Err(Stop::NotTls);
    }
    // The version is looked at early: no byte more is waited for than it takes to say no.
    bytes.version(&[3])?;
    let mut body = Reader(bytes.take(hello_len.checked_sub(2).ok_or(Stop::NotTls)?)?);
    // Within a complete body, whatever is cut short is malformed.
    server_name(&mut body).map_err(|_| Stop::NotTls)
}

fn server_name(body: &mut Reader<'_>) -> Result<Option<String>, Stop> {
    body.take(32)?; // random
    body.vector(1)?; // session id
    body.vector(2)?; // cipher suites
    body.vector(1)?; // compression methods
    if body.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = body.vector(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut extension = extensions.vector(2)?;
        if kind != 0 {
            continue;
        }
        let mut names = extension.vector(2)?;
        while !names.0.is_empty() {
            let kind = names.number(1)?;
            let name = names.vector(2)?;
            if kind == 0 {
                let name = std::str::from_utf8(name.0).map_err(|_| Stop::NotTls)?;
                return Ok(Some(name.to_owned()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, version::TLS13};
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    fn sample(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(crate::provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_hello_is_recognized_wherever_it_is_cut() {
        let bytes = sample("web.emojivoto.serviceaccount.identity.linkerd.cluster.local");
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Parsed::NeedMore, "cut at {cut}");
        }
        let name = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local".to_owned();
        assert_eq!(parse(&bytes), Parsed::Hello(Some(name)));
        assert_eq!(parse(&sample("10.0.0.1")), Parsed::Hello(None));
    }

    #[test]
    fn other_protocols_are_told_by_their_first_byte_that_differs() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Parsed::NotTls);
        assert_eq!(parse(b"PRI * HTTP/2.0"), Parsed::NotTls);
        assert_eq!(parse(&[22, 3, 2]), Parsed::NotTls);
        assert_eq!(parse(&[22, 3, 1, 0, 100, 2]), Parsed::NotTls);
        assert_eq!(parse(&[22, 3, 1, 0x40, 0]), Parsed::NotTls);
        assert_eq!(parse(&[22]), Parsed::NeedMore);
    }

    #[test]
    fn a_hello_that_promises_more_than_its_record_holds_is_none() {
        let mut bytes = sample("web");
        bytes[8] = bytes[8].wrapping_add(1);
        assert_eq!(parse(&bytes), Parsed::NotTls);
    }

    /// Bytes that look like a hello for a while, so that what comes later in the grammar is met.
    fn nearly_hellos() -> impl Strategy<Value = Vec<u8>> {
        let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
        (edits, any::<prop::sample::Index>()).prop_map(|(edits, cut)| {
            let mut bytes = sample("web.emojivoto.serviceaccount.identity.linkerd.cluster.local");
            for (at, to) in edits {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            bytes
        })
    }

    proptest! {
        #[test]
        fn an_answer_once_given_stays_whatever_comes_behind_it(bytes in nearly_hellos(), more in proptest::collection::vec(any::<u8>(), 0..32)) {
            let mut answer = Parsed::NeedMore;
            let bytes = [bytes, more].concat();
            for cut in 0..=bytes.len() {
                let seen = parse(&bytes[..cut]);
                prop_assert!(answer == Parsed::NeedMore || answer == seen, "{answer:?} became {seen:?} at byte {cut}");
                answer = seen;
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_is_asked_for_is_found(name in "[a-z]{1,20}(\\.[a-z]{1,20}){0,6}") {
            prop_assert_eq!(parse(&sample(&name)), Parsed::Hello(Some(name)));
        }
    }

    #[tokio::test]
    async fn what_was_looked_at_comes_again_however_slowly_it_came() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let bytes = sample("web.emojivoto");
        let sent = bytes.clone();
        let task = tokio::spawn(async move {
            for part in sent.chunks(50) {
                client.write_all(part).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let (detected, mut io) = detect(server, Duration::from_secs(10)).await.unwrap().unwrap();
        assert!(matches!(detected, Detected::Hello(Some(name)) if name == "web.emojivoto"));
        let mut again = vec![0; bytes.len()];
        io.read_exact(&mut again).await.unwrap();
        assert_eq!(again, bytes);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_hello_without_end_is_looked_at_up_to_the_limit_and_comes_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        // As long as a hello may say it is, and one byte short of that for ever.
        let mut bytes = vec![22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc, 3, 3];
        bytes.resize(MAX_LEN + 100, 0);
        client.write_all(&bytes[..MAX_LEN + 100]).await.unwrap();
        let (detected, mut io) = detect(server, Duration::from_secs(10)).await.unwrap().unwrap();
        assert!(matches!(detected, Detected::NotTls));
        let mut again = vec![0; bytes.len()];
        io.read_exact(&mut again).await.unwrap();
        assert!(again == bytes, "no byte is lost or changed");
    }

    #[tokio::test]
    async fn a_client_that_leaves_before_its_hello_is_complete_speaks_no_tls() {
        for said in [&[][..], &[22, 3, 1]] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            client.write_all(said).await.unwrap();
            drop(client);
            let (detected, mut io) = detect(server, Duration::from_secs(10)).await.unwrap().unwrap();
            assert!(matches!(detected, Detected::NotTls));
            let mut again = Vec::new();
            io.read_to_end(&mut again).await.unwrap();
            assert_eq!(again, said);
        }
    }

    #[tokio::test]
    async fn silence_is_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert!(detect(server, Duration::from_millis(20)).await.is_err());
    }
}
