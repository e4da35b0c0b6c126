//! Bytes both ways, each way ending on its own.

mod way;

use std::{
    future::poll_fn,
    io,
    pin::pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use self::way::Way;

/// How many bytes went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// From the first stream to the second.
    pub sent: u64,
    /// From the second stream to the first.
    pub received: u64,
}

/// Hears of the bytes as they go. Every method does nothing by default.
pub trait Observe {
    /// Bytes went from the first stream to the second.
    fn sent(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Bytes went from the second stream to the first.
    fn received(&mut self, bytes: usize) {
        let _ = bytes;
    }
}

impl Observe for () {}

/// Copies until both ways have ended: the end of one is passed on and the other goes on.
///
/// A connection that moves nothing holds no buffer.
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
    duplex_with(one, two, ()).await
}

/// As [`duplex`], and tells of every byte.
///
/// # Errors
/// A stream breaks; what the other way still had to say is lost.
///
/// # Cancel safety
/// Dropping the future drops both connections.
pub async fn duplex_with<A, B>(one: A, two: B, mut observe: impl Observe) -> io::Result<Copied>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut one, mut two) = (pin!(one), pin!(two));
    let (mut there, mut back) = (Way::default(), Way::default());
    let mut copied = Copied::default();
    poll_fn(|cx: &mut Context<'_>| {
        let to_two = there.poll(cx, one.as_mut(), two.as_mut(), &mut |bytes| {
            copied.sent += bytes as u64;
            observe.sent(bytes);
        })?;
        let to_one = back.poll(cx, two.as_mut(), one.as_mut(), &mut |bytes| {
            copied.received += bytes as u64;
            observe.received(bytes);
        })?;
        if to_two.is_ready() && to_one.is_ready() { Poll::Ready(io::Result::Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::sleep,
    };

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

    #[tokio::test(start_paused = true)]
    async fn bulk_arrives_whole_after_a_pause_too() {
        let (mut client, near) = tokio::io::duplex(256 << 10);
        let (far, mut server) = tokio::io::duplex(256 << 10);
        tokio::spawn(duplex(near, far));
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let bytes = sent.clone();
        tokio::spawn(async move {
            client.write_all(&bytes[..600_000]).await.unwrap();
            // Long enough for the large buffer to be given back.
            sleep(Duration::from_secs(10)).await;
            client.write_all(&bytes[600_000..]).await.unwrap();
            client.shutdown().await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, sent);
    }

    #[derive(Default)]
    struct Counts(u64, u64);

    impl Observe for &mut Counts {
        fn sent(&mut self, bytes: usize) {
            self.0 += bytes as u64;
        }

        fn received(&mut self, bytes: usize) {
            self.1 += bytes as u64;
        }
    }

    proptest! {
        #[test]
        fn bytes_are_the_same_whatever_the_sizes(
            there in proptest::collection::vec(any::<u8>(), 0..40_000), back in proptest::collection::vec(any::<u8>(), 0..40_000),
            near_room in 1usize..20_000, far_room in 1usize..20_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async move {
                let (client, near) = tokio::io::duplex(near_room);
                let (far, server) = tokio::io::duplex(far_room);
                let mut counts = Counts::default();
                let talk = |io: tokio::io::DuplexStream, say: Vec<u8>| async move {
                    let (mut read, mut write) = tokio::io::split(io);
                    let mut heard = Vec::new();
                    let say = async { write.write_all(&say).await.unwrap(); write.shutdown().await.unwrap(); };
                    tokio::join!(say, async { read.read_to_end(&mut heard).await.unwrap(); });
                    heard
                };
                let (copied, at_client, at_server) =
                    tokio::join!(duplex_with(near, far, &mut counts), talk(client, there.clone()), talk(server, back.clone()));
                assert_eq!((at_server == there, at_client == back), (true, true));
                assert_eq!(copied.unwrap(), Copied { sent: there.len() as u64, received: back.len() as u64 });
                assert_eq!((counts.0, counts.1), (there.len() as u64, back.len() as u64));
            });
        }
    }
}
