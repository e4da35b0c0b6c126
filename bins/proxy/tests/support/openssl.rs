//! The other end of TLS, played by openssl.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use super::{authority::Files, eventually, peer::Peer};

/// Longer than any answer takes; a peer that is not let go by then is a fault of the proxy.
const LIMIT_SECS: &str = "20";

/// Shakes hands, says something, and returns what comes until the other end closes, and what openssl says about it.
pub(crate) fn client(to: SocketAddr, server: &str, more: &[&str], say: &[u8]) -> String {
    let mut child = Command::new("timeout")
        .args([LIMIT_SECS, "openssl", "s_client", "-quiet", "-connect", &to.to_string(), "-servername", server])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // It may be gone already, refused.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(say));
    let out = child.wait_with_output().unwrap();
    assert_ne!(out.status.code(), Some(124), "the connection was never closed");
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The arguments for a client that shows a certificate.
pub(crate) fn shows(files: &Files) -> [&str; 4] {
    ["-cert", files.certificate.to_str().unwrap(), "-key", files.key.to_str().unwrap()]
}

/// A server of TLS with this certificate, which answers every request with a page about the connection. Ends when it is dropped.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(on: SocketAddr, files: &Files, more: &[&str]) -> Self {
        let child = Command::new("openssl")
            .args(["s_server", "-www", "-accept", &on.to_string()])
            .args(shows(files))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        assert!(eventually(|| Peer::connect_if(on)).is_some(), "openssl does not listen on {on}");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The hello of a client that asks for this server.
pub(crate) fn hello(server: &str) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &to, "-servername", server])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let mut io = listener.accept().unwrap().0;
    let mut bytes = vec![0; 5];
    io.read_exact(&mut bytes).unwrap();
    let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
    bytes.resize(5 + length, 0);
    io.read_exact(&mut bytes[5..]).unwrap();
    drop(io);
    child.wait().unwrap();
    bytes
}
