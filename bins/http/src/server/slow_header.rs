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

use http::StatusCode;
use pin_project::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What the service tells the stream: twice the number of times that a head may begin, plus one while bytes are something else.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<AtomicUsize>);

/// Tells the stream that a request's body has ended, or is not read any more: a head follows, if anything.
#[derive(Debug)]
pub struct BodyEnd {
    heads: Heads,
    /// What was told when the body began. Later bodies are not this one's business.
    at: usize,
}

/// A request that wants its connection turned into something else. What the answer says decides whether a head follows.
#[derive(Debug)]
pub(super) struct Switching {
    heads: Heads,
    tunnel: bool,
    _end: Option<BodyEnd>,
}

/// How long a head may take, and the setting that says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) time: Duration,
    pub(super) setting: &'static str,
}

/// Fails reads that wait for the rest of a head for too long.
#[pin_project]
#[derive(Debug)]
pub(super) struct SlowHeader<I> {
    #[pin]
    io: I,
    limit: Limit,
    heads: Heads,
    seen: usize,
    begun: bool,
    // Made by the first read that has to wait in mid-head, which is seldom.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Heads {
    /// A head has been read, and the next one follows.
    pub(super) fn read(&self) {
        self.0.store(self.next(), Ordering::Relaxed);
    }

    /// A head has been read, and what follows is none: not before the body ends, if it is a body.
    pub(super) fn read_before_body(&self) -> BodyEnd {
        let at = self.next() | 1;
        self.0.store(at, Ordering::Relaxed);
        BodyEnd { heads: self.clone(), at }
    }

    /// No head will ever follow.
    fn no_more(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    fn next(&self) -> usize {
        (self.0.load(Ordering::Relaxed) | 1).wrapping_add(1)
    }
}

impl BodyEnd {
    /// Tells; the second time it changes nothing.
    pub(crate) fn tell(&self) {
        let _ = self.heads.0.compare_exchange(self.at, self.at.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for BodyEnd {
    fn drop(&mut self) {
        self.tell();
    }
}

impl Switching {
    /// `tunnel` for CONNECT; `end` where the request has no body whose end is told by itself.
    pub(super) const fn new(heads: Heads, tunnel: bool, end: Option<BodyEnd>) -> Self {
        Self { heads, tunnel, _end: end }
    }

    /// Hears the answer.
    pub(super) fn answered(self, status: StatusCode) {
        if status == StatusCode::SWITCHING_PROTOCOLS || self.tunnel && status.is_success() {
            self.heads.no_more();
        }
    }
}

impl<I> SlowHeader<I> {
    pub(super) const fn new(io: I, limit: Limit, heads: Heads) -> Self {
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
                let Limit { time, setting } = *this.limit;
                let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(time)));
                if deadline.as_mut().poll(cx).is_ready() {
                    let message = format!("the headers of a request took longer than {time:?} ({setting})");
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

    const TIME: Duration = Duration::from_secs(10);
    const LIMIT: Limit = Limit { time: TIME, setting: "THE_LIMIT" };

    #[tokio::test(start_paused = true)]
    async fn only_a_head_that_has_begun_is_waited_for_impatiently() {
        let (mut client, server) = tokio::io::duplex(64);
        let heads = Heads::default();
        let mut server = SlowHeader::new(server, LIMIT, heads.clone());
        let mut buf = [0; 64];
        assert!(timeout(TIME * 10, server.read(&mut buf)).await.is_err(), "idle");
        client.write_all(b"GET / HT").await.unwrap();
        assert_eq!(server.read(&mut buf).await.unwrap(), 8);
        let begun = Instant::now();
        assert_eq!(server.read(&mut buf).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), TIME);
        // The head was read: idle again.
        heads.read();
        assert!(timeout(TIME * 10, server.read(&mut buf)).await.is_err());
        // A body may take its time.
        let first = heads.read_before_body();
        client.write_all(b"body").await.unwrap();
        assert_eq!(server.read(&mut buf).await.unwrap(), 4);
        assert!(timeout(TIME * 10, server.read(&mut buf)).await.is_err());
        // The head behind it may not.
        first.tell();
        client.write_all(b"GET").await.unwrap();
        assert_eq!(server.read(&mut buf).await.unwrap(), 3);
        assert_eq!(server.read(&mut buf).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_body_that_ends_late_does_not_make_a_head_of_the_next_one() {
        let (mut client, server) = tokio::io::duplex(64);
        let heads = Heads::default();
        let mut server = SlowHeader::new(server, LIMIT, heads.clone());
        let first = heads.read_before_body();
        let second = heads.read_before_body();
        drop(first);
        client.write_all(b"body").await.unwrap();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 4);
        assert!(timeout(TIME * 10, server.read(&mut [0; 8])).await.is_err());
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_upgrade_nothing_is_a_head_and_after_a_refused_one_there_is_one() {
        for (status, tunnel, cut) in [(101, false, false), (200, true, false), (200, false, true), (403, true, true)] {
            let (mut client, server) = tokio::io::duplex(64);
            let heads = Heads::default();
            let mut server = SlowHeader::new(server, LIMIT, heads.clone());
            let end = heads.read_before_body();
            Switching::new(heads, tunnel, Some(end)).answered(StatusCode::from_u16(status).unwrap());
            client.write_all(b"abc").await.unwrap();
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 3);
            let waited = timeout(TIME * 10, server.read(&mut [0; 8])).await;
            assert_eq!(waited.is_ok(), cut, "{status}");
        }
    }
}
