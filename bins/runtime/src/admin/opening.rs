use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

// The length of the HTTP/2 preface. Until they have it, servers that take both versions read without a timeout of their own.
const PREFACE: usize = 24;

/// A stream that fails if the peer does not begin to speak in time.
#[derive(Debug)]
pub(super) struct Opening<I> {
    io: I,
    read: usize,
    // Gone once the preface is read.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<I> Opening<I> {
    pub(super) fn new(io: I, within: Duration) -> Self {
        Self { io, read: 0, deadline: Some(Box::pin(sleep(within))) }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Opening<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut self.io).poll_read(cx, buf) {
            self.read = self.read.saturating_add(buf.filled().len() - before);
            if self.read >= PREFACE {
                self.deadline = None;
            }
            return Poll::Ready(done);
        }
        match self.deadline.as_mut().map(|deadline| deadline.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Opening<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
