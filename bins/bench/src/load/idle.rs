//! Connections that have done something, and do nothing.

use std::{io, net::SocketAddr};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{Outcome, http1, within};

/// Open HTTP/1 connections without a request.
#[derive(Debug, Default)]
pub struct Idle(Vec<TcpStream>);

impl Idle {
    /// Opens more connections, each for one request.
    ///
    /// # Errors
    /// One of them fails.
    pub async fn open(&mut self, count: usize, target: SocketAddr, authority: &str) -> io::Result<()> {
        let request = format!("GET / HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        let mut buffer = Vec::new();
        for _ in 0..count {
            let mut stream = within(TcpStream::connect(target)).await?;
            stream.set_nodelay(true)?;
            stream.write_all(request.as_bytes()).await?;
            if within(http1::response(&mut stream, &mut buffer)).await? != Outcome::Success {
                return Err(io::Error::other("a connection's first request failed"));
            }
            self.0.push(stream);
        }
        Ok(())
    }

    /// How many are open.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }
}
