use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use meshkit_policy::DefaultPolicy;

use crate::net::accept::SocketOptions;

use super::{
    syntax::{DnsSuffix, PortRanges},
    transport::{Accept, Connect, Http1Pool, Queue, backoff},
};

/// How the proxy treats what comes to the application.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Inbound {
    /// From clients.
    pub accept: Accept,
    /// To the application.
    pub connect: Connect,
    /// Requests that wait for the application.
    pub http_queue: Queue,
    /// Requests that wait for a response head: default 100000.
    pub max_in_flight: usize,
    /// How long an unused policy is kept: default 90 s.
    pub discovery_idle_timeout: Duration,
    /// How long to wait for a profile before a request is routed without it: default 500 ms.
    pub profile_timeout: Duration,
    /// Who may call where the policy API says nothing: default everybody.
    pub default_policy: DefaultPolicy,
    /// Ports whose policy is watched from the start and for ever: default those of the proxy itself.
    pub ports: BTreeSet<u16>,
    /// Ports that carry opaque bytes until the policy API says otherwise: default none.
    pub opaque_ports: PortRanges,
    /// Addresses of the application; empty, the default, is any.
    pub ips: BTreeSet<IpAddr>,
    /// Names for which the proxy is a gateway between clusters: default none.
    pub gateway_suffixes: Vec<DnsSuffix>,
    /// Does every authority that a client asks for become a label? Without a bound on how many there are. Default: no.
    pub authority_labels: bool,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            accept: Accept::default(),
            connect: Connect {
                timeout: Duration::from_millis(300),
                socket: SocketOptions::default(),
                backoff: backoff(Duration::from_secs(10)),
                http1_pool: Http1Pool::default(),
            },
            http_queue: Queue { capacity: 10_000, failfast_timeout: Duration::from_secs(1) },
            max_in_flight: 100_000,
            discovery_idle_timeout: Duration::from_secs(90),
            profile_timeout: Duration::from_millis(500),
            default_policy: DefaultPolicy::AllUnauthenticated,
            ports: BTreeSet::from([4191]),
            opaque_ports: PortRanges::default(),
            ips: BTreeSet::new(),
            gateway_suffixes: Vec::new(),
            authority_labels: false,
        }
    }
}
