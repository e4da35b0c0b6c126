//! The proxies that are compared, each in the same place: load generator, outbound proxy, mutual TLS, inbound proxies, servers.

mod envoy;
mod floor;
mod haproxy;
mod lab;
mod nginx;
mod ours;

use std::{fmt, io, net::SocketAddr};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

pub use self::lab::{Address, Lab, Servers};
use crate::process::Process;

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Peer {
    /// No proxy at all.
    Direct,
    /// Hyper and rustls without a feature.
    Floor,
    /// The mesh, as a user runs it.
    Ours,
    /// Envoy.
    Envoy,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
}

/// What stands behind the outbound proxy, and what it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Setup {
    /// Two servers.
    Plain,
    /// Ten servers, of which one is ten times as slow.
    Slow,
    /// Two servers that fail one request in five, and proxies that try again.
    Retries,
    /// Two servers, and a policy of 100 routes.
    Routes,
}

/// A peer in place.
#[derive(Debug)]
pub struct Topology {
    /// Where HTTP/1 goes in.
    pub http1: Option<SocketAddr>,
    /// Where HTTP/2 goes in.
    pub http2: Option<SocketAddr>,
    /// Where bytes go in.
    pub tcp: Option<SocketAddr>,
    /// What requests name as their host.
    pub authority: String,
    /// The outbound proxy's process.
    pub outbound: Vec<u32>,
    /// The inbound proxies' processes.
    pub inbound: Vec<u32>,
    children: Vec<Process>,
}

impl Peer {
    /// Everyone, in the order of the report.
    pub const ALL: [Self; 6] = [Self::Direct, Self::Floor, Self::Ours, Self::Envoy, Self::Haproxy, Self::Nginx];

    /// Starts the proxies, and waits until they pass a request.
    ///
    /// # Errors
    /// They cannot be started, or do not do what the setup wants.
    pub async fn start(self, setup: Setup, lab: &Lab, servers: &Servers) -> io::Result<Topology> {
        let mut topology = match self {
            Self::Direct => Topology::direct(servers),
            Self::Floor => floor::start(setup, lab, servers)?,
            Self::Ours => ours::start(setup, lab).await?,
            Self::Envoy => envoy::start(setup, lab, servers)?,
            Self::Haproxy => haproxy::start(setup, lab, servers)?,
            Self::Nginx => nginx::start(setup, lab, servers)?,
        };
        match topology.wait().await {
            Ok(()) => Ok(topology),
            Err(error) => {
                let said: Vec<_> = topology.children.iter().map(Process::said).filter(|said| !said.is_empty()).collect();
                Err(io::Error::new(error.kind(), format!("{error}; the proxies said: {}", said.join(" | "))))
            }
        }
    }
}

impl Setup {
    /// How many servers there are.
    #[must_use]
    pub const fn servers(self) -> usize {
        match self {
            Self::Slow => 10,
            Self::Plain | Self::Retries | Self::Routes => 2,
        }
    }

    /// Options of a server's command line.
    #[must_use]
    pub fn options(self, index: usize) -> Vec<String> {
        match self {
            Self::Plain | Self::Routes => Vec::new(),
            Self::Retries => vec!["--failures=20".to_owned()],
            Self::Slow => vec![format!("--delay={}", if index == 0 { 20 } else { 2 })],
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Ours => "ours",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        })
    }
}

impl Topology {
    fn direct(servers: &Servers) -> Self {
        // The first one may be slow.
        let server = servers.addresses[servers.addresses.len() - 1];
        Self {
            http1: Some(server.http),
            http2: Some(server.http),
            tcp: Some(server.tcp),
            authority: AUTHORITY.to_owned(),
            outbound: Vec::new(),
            inbound: Vec::new(),
            children: Vec::new(),
        }
    }

    /// Every proxy's process.
    #[must_use]
    pub fn proxies(&self) -> Vec<u32> {
        [self.outbound.as_slice(), &self.inbound].concat()
    }

    /// Ends it.
    pub async fn stop(self) {
        for child in self.children {
            child.stop(Signal::SIGTERM).await;
        }
    }

    async fn wait(&mut self) -> io::Result<()> {
        for target in [self.http1, self.tcp].into_iter().flatten() {
            lab::accepts(target, &mut self.children).await?;
        }
        match self.http1 {
            Some(target) => lab::answers(target, &self.authority, &mut self.children).await,
            None => Ok(()),
        }
    }
}

/// What requests to foreign proxies name as their host.
const AUTHORITY: &str = "server.bench:8080";
