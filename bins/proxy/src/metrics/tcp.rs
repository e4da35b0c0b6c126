use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use meshkit_core::endpoint::Locality;
use meshkit_runtime::metrics::{Counter, Family, Gauge, Registry, Unit};
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
    cost: Family<Labels, Counter>,
}

/// The handles of one kind of connection.
#[derive(Clone, Debug)]
pub struct TcpHandle(Arc<Handles>);

type Pairs = Vec<(String, String)>;

#[derive(Debug)]
struct Handles {
    opened: Arc<Counter>,
    open: Arc<Gauge>,
    closed: Arc<Counter>,
    /// Connections that an error ended, by its name.
    broken: Option<(Family<Labels, Counter>, Pairs)>,
    read: Arc<Counter>,
    written: Arc<Counter>,
    /// Bytes sent and received, by how far they go.
    cost: Option<[Arc<Counter>; 2]>,
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
            cost: registry
                .open()
                .unit(Unit::Bytes)
                .counter_family("outbound_tcp_transfer_cost", "Bytes to and from endpoints, by whether they stay in the zone"),
        }
    }

    /// The handles for these labels.
    #[must_use]
    pub fn handle<K: Into<String>>(&self, labels: Vec<(K, String)>) -> TcpHandle {
        TcpHandle(Arc::new(self.handles(labels)))
    }

    /// The same of connections to an endpoint, whose bytes cost more if they leave the zone.
    #[must_use]
    pub(crate) fn endpoint<K: Into<String>>(&self, labels: Vec<(K, String)>, locality: Locality) -> TcpHandle {
        let zone = match locality {
            Locality::Local => "Local",
            Locality::Remote => "Remote",
            Locality::Unknown => "Unknown",
        };
        let cost = ["Send", "Recv"].map(|op| self.cost.handle(&Labels::new([("op", op), ("zone_locality", zone)])));
        TcpHandle(Arc::new(Handles { cost: Some(cost), ..self.handles(labels) }))
    }

    fn handles<K: Into<String>>(&self, labels: Vec<(K, String)>) -> Handles {
        let labels: Pairs = labels.into_iter().map(|(key, value)| (key.into(), value)).collect();
        let base = Labels::new(labels.clone());
        Handles {
            opened: self.opened.handle(&base),
            open: self.open.handle(&base),
            closed: self.closed.handle(&with_errno(&labels, "")),
            read: self.read.handle(&base),
            written: self.written.handle(&base),
            cost: None,
            broken: Some((self.closed.clone(), labels)),
        }
    }
}

impl TcpHandle {
    /// Handles that are in no scrape: for connections to the control plane.
    pub(crate) fn nowhere() -> Self {
        let (opened, closed, read, written) = Default::default();
        Self(Arc::new(Handles { opened, open: Arc::default(), closed, broken: None, read, written, cost: None }))
    }

    /// Counts a connection that is open from now until it is dropped.
    #[must_use]
    pub fn count<I>(&self, io: I) -> Counted<I> {
        self.0.opened.incr();
        self.0.open.add(1);
        Counted { io, handle: self.clone(), errno: None }
    }
}

impl Handles {
    fn read(&self, bytes: u64) {
        self.read.add(bytes);
        if let Some([_, received]) = &self.cost {
            received.add(bytes);
        }
    }

    fn written(&self, bytes: u64) {
        self.written.add(bytes);
        if let Some([sent, _]) = &self.cost {
            sent.add(bytes);
        }
    }
}

fn with_errno(labels: &[(String, String)], errno: &str) -> Labels {
    Labels::new(labels.iter().cloned().chain([("errno".to_owned(), errno.to_owned())]))
}

/// The name of an error of the operating system, for those that end connections.
const fn errno_name(errno: i32) -> &'static str {
    match errno {
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNRESET => "ECONNRESET",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ENOTCONN => "ENOTCONN",
        libc::EPIPE => "EPIPE",
        libc::ETIMEDOUT => "ETIMEDOUT",
        _ => "EIO",
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Counted<I> {
    io: I,
    handle: TcpHandle,
    /// The first error of the operating system that it met.
    errno: Option<i32>,
}

impl<I> Counted<I> {
    fn note<T>(&mut self, polled: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(error)) = polled {
            self.errno = self.errno.or(error.raw_os_error());
        }
    }
}

impl<I> Drop for Counted<I> {
    fn drop(&mut self) {
        let Handles { open, closed, broken, .. } = &*self.handle.0;
        open.add(-1);
        match (self.errno, broken) {
            (Some(errno), Some((family, labels))) => family.handle(&with_errno(labels, errno_name(errno))).incr(),
            _ => closed.incr(),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.handle.0.read((buf.filled().len() - before) as u64);
        self.note(&polled);
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &polled {
            self.handle.0.written(*written as u64);
        }
        self.note(&polled);
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
            self.handle.0.written(*written as u64);
        }
        self.note(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn a_reset_connection_is_counted_by_its_error_and_bytes_by_their_zone() {
        let registry = Registry::new(Duration::from_secs(600));
        let families = TcpFamilies::register(&registry);
        let handle = families.endpoint(vec![("peer", "dst".to_owned())], Locality::Remote);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut counted = handle.count(client);
        counted.write_all(b"hello").await.unwrap();
        let mut buf = [0; 5];
        server.read_exact(&mut buf).await.unwrap();
        server.write_all(b"yes").await.unwrap();
        counted.read_exact(&mut buf[..3]).await.unwrap();
        // Closing with a reset instead of an end.
        socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        assert_eq!(counted.read(&mut buf).await.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
        drop(counted);
        let text = registry.encode();
        for line in [
            r#"tcp_open_connections{peer="dst"} 0"#,
            r#"tcp_close_total{peer="dst",errno="ECONNRESET"} 1"#,
            r#"tcp_close_total{peer="dst",errno=""} 0"#,
            r#"outbound_tcp_transfer_cost_bytes_total{op="Send",zone_locality="Remote"} 5"#,
            r#"outbound_tcp_transfer_cost_bytes_total{op="Recv",zone_locality="Remote"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
