//! The floor: a two-hop proxy of hyper and rustls without a feature. What it costs, every proxy built of the same parts costs at least.
//!
//! Between its hops is HTTP/2 over mutual TLS, one connection for each inbound proxy. A port for HTTP/1 and one for HTTP/2 keep a request's
//! version up to its server; a third passes bytes.

mod bytes;
mod inbound;
mod outbound;
mod pool;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use tokio::net::{TcpListener, TcpStream};

pub use self::{inbound::Inbound, outbound::Outbound};

/// Three ports that follow each other: HTTP/1, HTTP/2, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Ports(pub u16);

impl Ports {
    /// HTTP/1.
    #[must_use]
    pub const fn http1(self) -> SocketAddr {
        self.at(0)
    }

    /// HTTP/2.
    #[must_use]
    pub const fn http2(self) -> SocketAddr {
        self.at(1)
    }

    /// Bytes.
    #[must_use]
    pub const fn tcp(self) -> SocketAddr {
        self.at(2)
    }

    const fn at(self, offset: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), self.0 + offset)
    }
}

/// One process of the floor.
#[derive(Clone, Debug, clap::Subcommand)]
#[non_exhaustive]
pub enum Floor {
    /// From the load generator to the inbound proxies
    Outbound {
        /// The first of three ports
        #[arg(long)]
        port: u16,
        /// The first ports of the inbound proxies
        #[arg(long, value_delimiter = ',')]
        to: Vec<u16>,
        /// The folder of certificates
        #[arg(long)]
        certificates: PathBuf,
    },
    /// From the outbound proxy to the server
    Inbound {
        /// The first of three ports
        #[arg(long)]
        port: u16,
        /// The server's HTTP
        #[arg(long)]
        http: SocketAddr,
        /// The server's TCP
        #[arg(long)]
        tcp: SocketAddr,
        /// The folder of certificates
        #[arg(long)]
        certificates: PathBuf,
    },
}

impl Floor {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// A port cannot be bound, or the certificates cannot be used.
    pub async fn run(self) -> io::Result<()> {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async move {
                match self {
                    Self::Outbound { port, to, certificates } => {
                        let inbound = to.into_iter().map(Ports).collect();
                        Outbound::new(inbound, certificates)?.serve(Ports(port)).await
                    }
                    Self::Inbound { port, http, tcp, certificates } => Inbound::new(http, tcp, certificates)?.serve(Ports(port)).await,
                }
            })
            .await
    }
}

/// The next connection. A failure to accept is the kernel's: the next one may do.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await
            && stream.set_nodelay(true).is_ok()
        {
            return stream;
        }
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
