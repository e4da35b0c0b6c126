//! Where the proxies run: a folder, free ports, servers, and the programs that were found.

use std::{
    cell::Cell,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use super::Setup;
use crate::{certificates::Certificates, floor::Ports, load::Idle, process::Process, tools::Tools};

/// How long a peer may take to pass its first request.
const LIMIT: Duration = Duration::from_secs(20);

/// What every peer needs to be started.
#[derive(Debug)]
pub struct Lab {
    /// Takes configurations and logs. Removed at the end.
    pub dir: PathBuf,
    /// The bench program.
    pub program: PathBuf,
    /// Programs of others.
    pub tools: Tools,
    /// Of the foreign proxies.
    pub certificates: Certificates,
    next: Cell<u16>,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// HTTP.
    pub http: SocketAddr,
    /// Bytes.
    pub tcp: SocketAddr,
}

/// The servers behind foreign proxies.
#[derive(Debug)]
pub struct Servers {
    /// Where they listen.
    pub addresses: Vec<Address>,
    children: Vec<Process>,
}

impl Lab {
    /// Makes the folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(program: PathBuf, tools: Tools) -> io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("meshkit-bench-{}", std::process::id()));
        let certificates = Certificates::generate(&dir.join("certificates"))?;
        // Below the ports that the kernel gives to clients; two benches at once rarely meet.
        let first = 20_000 + u16::try_from(std::process::id() % 500).unwrap_or(0) * 20;
        Ok(Self { dir, program, tools, certificates, next: Cell::new(first) })
    }

    /// Three ports in a row that nothing listens on.
    #[must_use]
    pub fn ports(&self) -> Ports {
        loop {
            let first = self.next.get();
            self.next.set(if first > 31_900 { 20_000 } else { first + 3 });
            let ports = Ports(first);
            if [ports.http1(), ports.http2(), ports.tcp()].iter().all(|address| TcpListener::bind(address).is_ok()) {
                return ports;
            }
        }
    }

    /// Writes a file of the folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Takes what a child prints.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// Starts the servers of a setup.
    ///
    /// # Errors
    /// They do not come up.
    pub async fn servers(&self, setup: Setup) -> io::Result<Servers> {
        let (mut addresses, mut children) = (Vec::new(), Vec::new());
        for index in 0..setup.servers() {
            let ports = self.ports();
            let server = Address { http: ports.http1(), tcp: ports.tcp() };
            let mut args = vec!["server".to_owned(), format!("--http={}", server.http), format!("--tcp={}", server.tcp)];
            args.extend(setup.options(index));
            children.push(Process::start(&self.program, args, &self.log(&format!("server-{index}")))?);
            addresses.push(server);
        }
        for server in &addresses {
            accepts(server.http, &mut children).await?;
        }
        Ok(Servers { addresses, children })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What is left behind is in the temporary folder.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Servers {
    /// Ends them.
    pub async fn stop(self) {
        for child in self.children {
            child.stop(Signal::SIGTERM).await;
        }
    }
}

/// Waits until something accepts.
pub(super) async fn accepts(target: SocketAddr, children: &mut [Process]) -> io::Result<()> {
    wait(children, async || TcpStream::connect(target).await.map(drop)).await
}

/// Waits until a request is answered by 200. One in five may fail.
pub(super) async fn answers(target: SocketAddr, authority: &str, children: &mut [Process]) -> io::Result<()> {
    wait(children, async || Idle::default().open(1, target, authority).await).await
}

async fn wait(children: &mut [Process], what: impl AsyncFn() -> io::Result<()>) -> io::Result<()> {
    let start = Instant::now();
    loop {
        for child in children.iter_mut() {
            child.lives()?;
        }
        match what().await {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > LIMIT => return Err(error),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// An address of this machine's loopback, as text.
pub(super) fn host(address: SocketAddr) -> String {
    debug_assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    address.to_string()
}

/// A path, as text.
pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}
