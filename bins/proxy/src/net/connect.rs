//! Connecting.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use meshkit_core::{Cause, Error};
use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::accept::{SocketOptions, apply};

/// How connections are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpConnect {
    /// Until the connection stands, TLS included.
    pub limit: Duration,
    /// Set on each connection.
    pub options: SocketOptions,
    /// The address that connections come from, where several workloads share a machine.
    pub bind: Option<IpAddr>,
}

impl TcpConnect {
    /// Opens a connection. The caller bounds the time, for a handshake may follow within the same limit.
    ///
    /// # Errors
    /// Nobody listens there, or it cannot be reached.
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up.
    pub async fn open(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(ip) = self.bind.filter(|ip| ip.is_ipv4() == addr.is_ipv4()) {
            socket.bind(SocketAddr::new(ip, 0))?;
        }
        let io = socket.connect(addr).await?;
        io.set_nodelay(true)?;
        apply(&SockRef::from(&io), self.options)?;
        Ok(io)
    }

    /// Runs a connection's whole set-up within the limit.
    ///
    /// # Errors
    /// [`Cause::ConnectTimeout`] when the limit is over, [`Cause::Io`] when the set-up fails.
    pub async fn within<T>(&self, set_up: impl Future<Output = io::Result<T>>) -> Result<T, Error> {
        match timeout(self.limit, set_up).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Error::new(Cause::Io).message(error.to_string()).caused_by(error)),
            Err(_) => Err(Error::new(Cause::ConnectTimeout(self.limit))),
        }
    }
}
