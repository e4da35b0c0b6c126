//! A limit on how long a client takes to send the headers of a request, which leaves idle connections alone.
//!
//! The library's own limit counts idle time, too: it would close every kept connection after the limit, under requests that are on their way.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use pin_project::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What the service tells the stream: twice the number of heads seen, plus one while bytes may be something else than a head.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<AtomicUsize>);

/// Fails reads that wait for the rest of a head for too long.
///
/// After a request with a body it is not known here where the next head begins, so that one is not watched. The next one is.
#[pin_project]
#[derive(Debug)]
pub(super) struct SlowHeader<I> {
    #[pin]
    io: I,
    limit: Duration,
    heads: Heads,
    seen: usize,
    begun: bool,
    // Made by the first read that has to wait in mid-head, which is seldom.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Heads {
    /// A head has been read; `opaque` means that what follows is not the next head.
    pub(super) fn read(&self, opaque: bool) {
        let next = (self.0.load(Ordering::Relaxed) | 1).wrapping_add(1) | usize::from(opaque);
        self.0.store(next, Ordering::Relaxed);
    }
}

impl<I> SlowHeader<I> {
    pub(super) const fn new(io: I, limit: Duration, heads: Heads) -> Self {
        Self { io, limit, heads, seen: 0, begun: false, deadline: None }
    }
}

impl<I: AsyncRead> AsyncRead for SlowHeader<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let heads = this.heads.0.load(Ordering::Relaxed);
        if heads != *this.seen {
            *this.seen = heads;
            *this.begun = false;
            *this.deadline = None;
        }
        if heads & 1 == 1 {
            return this.io.poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let read = this.io.poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) => *this.begun |= buf.filled().len() > before,
            Poll::Pending if *this.begun => {
                let limit = *this.limit;
                let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
                if deadline.as_mut().poll(cx).is_ready() {
                    let message = format!("the headers of a request took longer than {limit:?}");
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
                }
            }
            _ => {}
        }
        read
    }
}

impl<I: AsyncWrite> AsyncWrite for SlowHeader<I> {
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
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::{Instant, timeout},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn only_a_head_that_has_begun_is_waited_for_impatiently() {
        let (mut client, server) = tokio::io::duplex(64);
        let heads = Heads::default();
        let mut server = SlowHeader::new(server, LIMIT, heads.clone());
        let mut buf = [0; 64];
        assert!(timeout(LIMIT * 10, server.read(&mut buf)).await.is_err(), "idle");
        client.write_all(b"GET / HT").await.unwrap();
        assert_eq!(server.read(&mut buf).await.unwrap(), 8);
        let begun = Instant::now();
        assert_eq!(server.read(&mut buf).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), LIMIT);
        // The head was read: idle again.
        heads.read(false);
        assert!(timeout(LIMIT * 10, server.read(&mut buf)).await.is_err());
        // A body may take its time.
        heads.read(true);
        client.write_all(b"body").await.unwrap();
        assert_eq!(server.read(&mut buf).await.unwrap(), 4);
        assert!(timeout(LIMIT * 10, server.read(&mut buf)).await.is_err());
    }
}
