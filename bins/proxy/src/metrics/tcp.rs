use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use meshkit_runtime::metrics::{Counter, Family, Gauge, Registry};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Labels;

/// Connections and their bytes, above TLS.
#[derive(Clone, Debug)]
pub struct TcpFamilies {
    opened: Family<Labels, Counter>,
    open: Family<Labels, Gauge>,
    closed: Family<Labels, Counter>,
    read: Family<Labels, Counter>,
    written: Family<Labels, Counter>,
}

/// The handles of one kind of connection.
#[derive(Clone, Debug)]
pub struct TcpHandle(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    opened: Arc<Counter>,
    open: Arc<Gauge>,
    closed: Arc<Counter>,
    read: Arc<Counter>,
    written: Arc<Counter>,
}

impl TcpFamilies {
    pub(super) fn register(registry: &Registry) -> Self {
        let legacy = registry.legacy();
        Self {
            opened: legacy.counter_family("tcp_open_total", "Connections that were opened"),
            open: legacy.gauge_family("tcp_open_connections", "Connections that are open"),
            closed: legacy.counter_family("tcp_close_total", "Connections that were closed"),
            read: legacy.counter_family("tcp_read_bytes_total", "Bytes read from connections"),
            written: legacy.counter_family("tcp_write_bytes_total", "Bytes written to connections"),
        }
    }

    /// The handles for these labels.
    #[must_use]
    pub fn handle<K: Into<String> + Clone>(&self, labels: Vec<(K, String)>) -> TcpHandle {
        let base = Labels::new(labels.clone());
        let own = |(key, value): (K, String)| (key.into(), value);
        let closed = Labels::new(labels.into_iter().map(own).chain([("errno".to_owned(), String::new())]));
        TcpHandle(Arc::new(Handles {
            opened: self.opened.handle(&base),
            open: self.open.handle(&base),
            closed: self.closed.handle(&closed),
            read: self.read.handle(&base),
            written: self.written.handle(&base),
        }))
    }
}

impl TcpHandle {
    /// Handles that are in no scrape: for connections to the control plane.
    pub(crate) fn nowhere() -> Self {
        let (opened, closed, read, written) = Default::default();
        Self(Arc::new(Handles { opened, open: Arc::default(), closed, read, written }))
    }

    /// Counts a connection that is open from now until it is dropped.
    #[must_use]
    pub fn count<I>(&self, io: I) -> Counted<I> {
        self.0.opened.incr();
        self.0.open.add(1);
        Counted { io, handle: self.clone() }
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Counted<I> {
    io: I,
    handle: TcpHandle,
}

impl<I> Drop for Counted<I> {
    fn drop(&mut self) {
        self.handle.0.open.add(-1);
        self.handle.0.closed.incr();
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.handle.0.read.add((buf.filled().len() - before) as u64);
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &polled {
            self.handle.0.written.add(*written as u64);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(written)) = &polled {
            self.handle.0.written.add(*written as u64);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
