//! Proves that connections of this network namespace are redirected.
//!
//! A listener stands where the proxy will: on the proxy's outbound port. A connection to an address that is not there must end at the listener, which is
//! known by a token it sends. Runs before the proxy in pods whose rules the CNI plugin makes, so that no pod starts without its rules.

use std::{fmt, io, net::SocketAddr, time::Duration};

use rand::{Rng as _, distr::Alphanumeric};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tracing::{debug, info};

/// What the process exits with where nothing is redirected. The repair controller looks for it.
pub const EXIT_STATUS: u8 = 95;

/// Characters of the token, without the line feed behind it.
const TOKEN_LEN: usize = 63;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Where the connection goes to, if nothing redirects it.
    pub connect: SocketAddr,
    /// Where it must arrive.
    pub listen: SocketAddr,
    /// How long all of it may take.
    pub limit: Duration,
}

/// Nothing proves that connections are redirected.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotRedirected {
    /// The listener's address is taken.
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The connection failed, so that it went to the address itself.
    Connect {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Somebody else answered.
    Stranger {
        /// Who was called.
        addr: SocketAddr,
    },
    /// Nobody answered in time.
    Elapsed {
        /// The time it had.
        limit: Duration,
    },
}

impl Check {
    /// Tries it.
    ///
    /// # Errors
    /// The connection did not reach the listener in time.
    ///
    /// # Cancel safety
    /// Listener and connection are closed.
    pub async fn run(&self) -> Result<(), NotRedirected> {
        let attempt = async {
            let listener = TcpListener::bind(self.listen).await.map_err(|source| NotRedirected::Listen { addr: self.listen, source })?;
            debug!(addr = %self.listen, "listening for connections");
            let mut token: String = rand::rng().sample_iter(Alphanumeric).take(TOKEN_LEN).map(char::from).collect();
            token.push('\n');
            tokio::select! {
                never = answer(&listener, token.as_bytes()) => match never {},
                result = self.call(token.as_bytes()) => result,
            }
        };
        timeout(self.limit, attempt).await.unwrap_or(Err(NotRedirected::Elapsed { limit: self.limit }))?;
        info!(addr = %self.connect, "connections are redirected");
        Ok(())
    }

    async fn call(&self, token: &[u8]) -> Result<(), NotRedirected> {
        let failed = |source| NotRedirected::Connect { addr: self.connect, source };
        debug!(addr = %self.connect, "connecting");
        let mut stream = TcpStream::connect(self.connect).await.map_err(failed)?;
        let mut heard = vec![0; token.len()];
        match stream.read_exact(&mut heard).await {
            Ok(_) if heard == token => Ok(()),
            Ok(_) => Err(NotRedirected::Stranger { addr: self.connect }),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(NotRedirected::Stranger { addr: self.connect }),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Gives the token to everyone who comes.
async fn answer(listener: &TcpListener, token: &[u8]) -> std::convert::Infallible {
    loop {
        match listener.accept().await {
            Ok((mut stream, peer)) => {
                debug!(%peer, "accepted");
                // 64 bytes fit any send buffer: this cannot hang on a peer that does not read.
                if let Err(error) = stream.write_all(token).await {
                    debug!(%peer, %error, "the token could not be sent");
                }
            }
            Err(error) => {
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl fmt::Display for NotRedirected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { addr, .. } => return write!(f, "cannot listen on {addr}"),
            Self::Connect { addr, .. } => write!(f, "a connection to {addr} failed")?,
            Self::Stranger { addr } => write!(f, "a connection to {addr} was answered by somebody else")?,
            Self::Elapsed { limit } => write!(f, "a connection was not answered within {} s", limit.as_secs_f64())?,
        }
        f.write_str(
            ": it was not redirected to the proxy; see whether the CNI plugin made the rules of this pod (`linkerd-cni` on its node)",
        )
    }
}

impl std::error::Error for NotRedirected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::Connect { source, .. } => Some(source),
            Self::Stranger { .. } | Self::Elapsed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(connect: SocketAddr, listen: SocketAddr) -> Check {
        Check { connect, listen, limit: Duration::from_secs(5) }
    }

    /// A port that is free now: only its number is wanted.
    async fn free() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_call_that_arrives_is_proof() {
        let addr = free().await;
        check(addr, addr).run().await.unwrap();
    }

    #[tokio::test]
    async fn another_server_is_no_proof() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = other.local_addr().unwrap();
        let serve = async {
            loop {
                let (mut stream, _) = other.accept().await.unwrap();
                stream.write_all(&[b'x'; TOKEN_LEN + 1]).await.unwrap();
            }
        };
        let check = check(addr, free().await);
        let result = tokio::select! { () = serve => unreachable!(), result = check.run() => result };
        assert!(matches!(result, Err(NotRedirected::Stranger { .. })), "{result:?}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_no_proof() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = other.local_addr().unwrap();
        let serve = async {
            loop {
                drop(other.accept().await.unwrap());
            }
        };
        let check = check(addr, free().await);
        let result = tokio::select! { () = serve => unreachable!(), result = check.run() => result };
        assert!(matches!(result, Err(NotRedirected::Stranger { .. })), "{result:?}");
    }

    #[tokio::test]
    async fn a_refused_call_is_no_proof() {
        let result = check(free().await, "127.0.0.1:0".parse().unwrap()).run().await;
        assert!(matches!(result, Err(NotRedirected::Connect { .. })), "{result:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_with_the_limit() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let result = check(other.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap()).run().await;
        assert!(matches!(result, Err(NotRedirected::Elapsed { .. })), "{result:?}");
        drop(other);
    }

    #[tokio::test]
    async fn a_taken_address_is_told() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = other.local_addr().unwrap();
        let error = check(addr, addr).run().await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {addr}"));
    }
}
