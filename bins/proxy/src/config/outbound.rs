use std::{net::IpAddr, time::Duration};

use crate::net::accept::SocketOptions;

use super::transport::{Accept, Connect, Http1Pool, Queue, backoff};

/// How the proxy treats what the application sends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outbound {
    /// From the application.
    pub accept: Accept,
    /// To endpoints.
    pub connect: Connect,
    /// Connections that wait for an endpoint.
    pub tcp_queue: Queue,
    /// Requests that wait for an endpoint.
    pub http_queue: Queue,
    /// Requests that wait for a response head: default 100000.
    pub max_in_flight: usize,
    /// Destinations that are known at a time: default 10000, `MESH_PROXY_OUTBOUND_MAX_DESTINATIONS`.
    pub max_destinations: usize,
    /// How long an unused destination is kept: default 5 s.
    pub discovery_idle_timeout: Duration,
    /// Does a request's authority, and not its connection's destination, say where it goes? Default: no.
    pub ingress_mode: bool,
    /// Do responses tell the application what went wrong (`l5d-proxy-error`)? Default: yes, except in ingress mode.
    pub informational_headers: bool,
    /// Does the host of a request become a label of its route's metrics? Default: no.
    pub hostname_labels: bool,
    /// The address that connections come from: default the system's choice, `MESH_PROXY_OUTBOUND_BIND`.
    pub bind: Option<IpAddr>,
}

impl Default for Outbound {
    fn default() -> Self {
        let queue = Queue { capacity: 10_000, failfast_timeout: Duration::from_secs(3) };
        Self {
            accept: Accept::default(),
            connect: Connect {
                timeout: Duration::from_secs(1),
                socket: SocketOptions::default(),
                backoff: backoff(Duration::from_secs(60)),
                http1_pool: Http1Pool::default(),
            },
            tcp_queue: queue,
            http_queue: queue,
            max_in_flight: 100_000,
            max_destinations: 10_000,
            discovery_idle_timeout: Duration::from_secs(5),
            ingress_mode: false,
            informational_headers: true,
            hostname_labels: false,
            bind: None,
        }
    }
}
