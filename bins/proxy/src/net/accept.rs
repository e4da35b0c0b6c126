//! Accepting connections.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What is set on a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Time without traffic until the peer is probed. Probing is on even where this is not set, at the kernel's times.
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

/// How a connection's destination is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // Redirected, or known by the listener.
pub enum Destination {
    /// The kernel redirected the connection and remembers where it was meant to go.
    Redirected,
    /// Connections are meant for the listener's own address.
    Own,
    /// The listener stands for this destination.
    Mapped(SocketAddr),
    /// The listener is open to people, who are strangers to the workload behind it even on the same machine.
    Published(SocketAddr),
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    options: SocketOptions,
    destination: Destination,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub io: TcpStream,
    /// The client; an IPv4 address that came in IPv6 form is told in IPv4 form.
    pub client: SocketAddr,
    /// Where the client wanted to go.
    pub original_dst: SocketAddr,
    /// The client's address as policies see it. That the workload may call itself over the loopback address must not let people in who come
    /// from there, too: they come from no address at all.
    pub policy_ip: IpAddr,
}

impl Listener {
    /// Binds.
    ///
    /// # Errors
    /// The address is taken or not this machine's; the error names it.
    pub fn bind(addr: SocketAddr, backlog: Option<u32>, options: SocketOptions, destination: Destination) -> io::Result<Self> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}"));
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(named)?;
        socket.set_reuseaddr(true).map_err(named)?;
        socket.bind(addr).map_err(named)?;
        // 1024 is what the standard library passes; the kernel cuts it to its own limit.
        let socket = socket.listen(backlog.unwrap_or(1024)).map_err(named)?;
        Ok(Self { socket, options, destination })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts the next connection whose destination is known.
    ///
    /// # Errors
    /// The process or the machine is out of file descriptors or memory: the caller waits a moment before it tries again.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let (io, client) = self.socket.accept().await?;
            match self.prepare(io, client) {
                Ok(accepted) => return Ok(accepted),
                // It went away, or came past the redirect: there is nobody to answer, and nothing to be sent on to.
                Err(error) => tracing::info!(client.addr = %client, %error, "connection dropped"),
            }
        }
    }

    fn prepare(&self, io: TcpStream, client: SocketAddr) -> io::Result<Accepted> {
        io.set_nodelay(true)?;
        apply(&SockRef::from(&io), self.options)?;
        let client = canonical(client);
        let original_dst = match self.destination {
            Destination::Redirected => original_dst(&io, client)?,
            Destination::Own => canonical(io.local_addr()?),
            Destination::Mapped(addr) | Destination::Published(addr) => addr,
        };
        let policy_ip = match self.destination {
            Destination::Published(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Destination::Redirected | Destination::Own | Destination::Mapped(_) => client.ip(),
        };
        Ok(Accepted { io, client, original_dst, policy_ip })
    }
}

/// Sets the options of one side of a connection.
pub(super) fn apply(socket: &SockRef<'_>, options: SocketOptions) -> io::Result<()> {
    match options.keepalive {
        Some(time) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time))?,
        None => socket.set_keepalive(true)?,
    }
    #[cfg(target_os = "linux")]
    if let Some(limit) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(limit))?;
    }
    Ok(())
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Asks the kernel. The family is the client's: a redirect keeps it.
#[cfg(target_os = "linux")]
fn original_dst(io: &TcpStream, client: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(io);
    let addr = match client.ip() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    let addr = addr.map_err(|e| io::Error::new(e.kind(), format!("the connection was not redirected here: {e}")))?;
    addr.as_socket().map(canonical).ok_or_else(|| io::Error::other("the original destination is not an IP address"))
}

#[cfg(not(target_os = "linux"))]
fn original_dst(_: &TcpStream, _: SocketAddr) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "redirected connections are known on Linux only: set MESH_PROXY_LISTENERS_FILE"))
}
