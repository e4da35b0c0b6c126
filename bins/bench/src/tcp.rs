//! Bytes without a protocol. The first nine bytes of a connection say what its server does: a [`Wish`], and a number in big-endian order.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How much is written or read at once.
const CHUNK: usize = 128 << 10;

/// What a client wants of a TCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wish {
    /// The server reads that many bytes, and answers by one.
    Upload(u64),
    /// The server writes that many bytes.
    Download(u64),
}

impl Wish {
    /// As it goes over the wire.
    #[must_use]
    pub fn encode(self) -> [u8; 9] {
        let (word, count) = match self {
            Self::Upload(count) => (b'U', count),
            Self::Download(count) => (b'D', count),
        };
        let mut bytes = [word; 9];
        bytes[1..].copy_from_slice(&count.to_be_bytes());
        bytes
    }

    /// What was encoded, or `None` for anything else.
    #[must_use]
    pub fn decode(bytes: [u8; 9]) -> Option<Self> {
        let [word, count @ ..] = bytes;
        let count = u64::from_be_bytes(count);
        match word {
            b'U' => Some(Self::Upload(count)),
            b'D' => Some(Self::Download(count)),
            _ => None,
        }
    }
}

/// Serves one connection.
pub(crate) async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut wish = [0; 9];
    // A connection that ends early was a client's measurement that ended.
    if stream.read_exact(&mut wish).await.is_ok() {
        let _ = match Wish::decode(wish) {
            Some(Wish::Upload(count)) => upload(&mut stream, count).await,
            Some(Wish::Download(count)) => write(&mut stream, count).await,
            None => Ok(()),
        };
    }
    let _ = stream.shutdown().await;
}

async fn upload(stream: &mut TcpStream, count: u64) -> io::Result<()> {
    read(stream, count).await?;
    stream.write_all(b"!").await
}

/// Writes `count` bytes.
///
/// # Cancel safety
/// What was written so far is lost to the caller.
pub(crate) async fn write(stream: &mut TcpStream, mut count: u64) -> io::Result<()> {
    let chunk = vec![b'x'; CHUNK];
    while count > 0 {
        let length = usize::try_from(count).map_or(CHUNK, |rest| rest.min(CHUNK));
        let written = stream.write(&chunk[..length]).await?;
        count -= written as u64;
    }
    Ok(())
}

/// Reads `count` bytes.
///
/// # Cancel safety
/// What was read so far is lost.
pub(crate) async fn read(stream: &mut TcpStream, mut count: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    while count > 0 {
        let length = usize::try_from(count).map_or(CHUNK, |rest| rest.min(CHUNK));
        match stream.read(&mut chunk[..length]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => count -= n as u64,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_as_it_was_written() {
        for wish in [Wish::Upload(0), Wish::Upload(1 << 40), Wish::Download(7)] {
            assert_eq!(Wish::decode(wish.encode()), Some(wish));
        }
        assert_eq!(Wish::decode(*b"GET / HTT"), None);
    }
}
