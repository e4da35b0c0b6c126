//! Bytes both ways, each way ending on its own.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};

/// Where a buffer starts and returns to; most connections never need more.
const SMALL: usize = 8 << 10;
/// How far a buffer grows while reads fill it.
const LARGE: usize = 64 << 10;

/// How many bytes went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// From the first stream to the second.
    pub sent: u64,
    /// From the second stream to the first.
    pub received: u64,
}

/// Copies until both ways have ended: the end of one is passed on and the other goes on.
///
/// # Errors
/// A stream breaks; what the other way still had to say is lost.
///
/// # Cancel safety
/// Dropping the future drops both connections.
pub async fn duplex<A, B>(one: A, two: B) -> io::Result<Copied>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut one_read, mut one_write) = split(one);
    let (mut two_read, mut two_write) = split(two);
    let (sent, received) = tokio::try_join!(way(&mut one_read, &mut two_write), way(&mut two_read, &mut one_write))?;
    Ok(Copied { sent, received })
}

async fn way(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<u64> {
    let mut buffer = vec![0; SMALL];
    let mut copied = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            to.flush().await?;
            // The peer may be gone already: the way has ended all the same.
            let _ = to.shutdown().await;
            return Ok(copied);
        }
        to.write_all(&buffer[..read]).await?;
        // TLS keeps a record's tail until it is flushed.
        to.flush().await?;
        copied += read as u64;
        if read == buffer.len() && buffer.len() < LARGE {
            buffer.resize(buffer.len() * 2, 0);
        } else if read < buffer.len() / 8 && buffer.len() > SMALL {
            buffer = vec![0; SMALL];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_way_ends_on_its_own() {
        let (mut client, near) = tokio::io::duplex(1 << 10);
        let (far, mut server) = tokio::io::duplex(1 << 10);
        let copy = tokio::spawn(duplex(near, far));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        assert_eq!(copy.await.unwrap().unwrap(), Copied { sent: 8, received: 6 });
    }

    #[tokio::test]
    async fn bulk_arrives_whole() {
        let (mut client, near) = tokio::io::duplex(256 << 10);
        let (far, mut server) = tokio::io::duplex(256 << 10);
        tokio::spawn(duplex(near, far));
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let bytes = sent.clone();
        tokio::spawn(async move {
            client.write_all(&bytes).await.unwrap();
            client.shutdown().await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, sent);
    }
}
