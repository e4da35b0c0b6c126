//! A client of raw bytes.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection on which anything can be said.
pub(crate) struct Peer {
    io: TcpStream,
    seen: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::connect_if(to).unwrap_or_else(|| panic!("nobody listens on {to}"))
    }

    pub(crate) fn connect_if(to: SocketAddr) -> Option<Self> {
        let io = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
        io.set_nodelay(true).unwrap();
        io.set_read_timeout(Some(PATIENCE)).unwrap();
        io.set_write_timeout(Some(PATIENCE)).unwrap();
        Some(Self { io, seen: Vec::new() })
    }

    /// This end's address, as the proxy logs it.
    pub(crate) fn name(&self) -> String {
        self.io.local_addr().unwrap().to_string()
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.io.peer_addr().unwrap()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes), "the connection is closed already");
    }

    /// Returns whether the other end still takes it.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.io.write_all(bytes).is_ok()
    }

    /// How long the other end may take to make room or to answer.
    pub(crate) fn patience(&self, limit: Duration) {
        self.io.set_read_timeout(Some(limit)).unwrap();
        self.io.set_write_timeout(Some(limit)).unwrap();
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&mut self) {
        let _ = self.io.shutdown(Shutdown::Write);
    }

    /// Everything up to the end of the connection, which must come.
    pub(crate) fn rest_bytes(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        loop {
            match self.io.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => self.seen.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the connection stays open after {:?}", String::from_utf8_lossy(&self.seen))
                }
                // Reset, which is an end, too.
                Err(_) => break,
            }
        }
        std::mem::take(&mut self.seen)
    }

    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.rest_bytes()).into_owned()
    }

    /// Everything up to the first `end`.
    pub(crate) fn until(&mut self, end: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.seen.windows(end.len()).position(|window| window == end.as_bytes()) {
                let rest = self.seen.split_off(at + end.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.seen, rest)).into_owned();
            }
            match self.io.read(&mut buffer) {
                Ok(read @ 1..) => self.seen.extend_from_slice(&buffer[..read]),
                other => panic!("{other:?} instead of {end:?} after {:?}", String::from_utf8_lossy(&self.seen)),
            }
        }
    }

    /// Exactly so many bytes; fewer if the connection ends.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let mut buffer = [0; 4096];
        while self.seen.len() < count {
            match self.io.read(&mut buffer) {
                Ok(read @ 1..) => self.seen.extend_from_slice(&buffer[..read]),
                _ => return std::mem::take(&mut self.seen),
            }
        }
        let rest = self.seen.split_off(count);
        std::mem::replace(&mut self.seen, rest)
    }
}

/// Sends it all, and returns everything that comes until the other end closes.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut peer = Peer::connect(to);
    peer.try_send(bytes);
    peer.rest()
}
