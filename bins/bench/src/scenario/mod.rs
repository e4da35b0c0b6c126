//! What is measured.

use crate::{
    load::{Arrival, Load, Protocol},
    peer::{Setup, Topology},
};

/// What one row of the report is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// On the command line.
    pub name: &'static str,
    /// In the report.
    pub title: &'static str,
    /// What has to run.
    pub setup: Setup,
    /// What is done to it.
    pub work: Work,
    /// What the report compares.
    pub metric: Metric,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Work {
    /// A load, with these numbers of connections and of requests at once on each.
    Load(Protocol, usize, usize, Arrival, &'static str),
    /// That many connections that do nothing.
    Idle(usize),
}

/// What is compared. Less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metric {
    /// CPU time of all proxies per request, in microseconds.
    CpuPerRequest,
    /// CPU time of all proxies per GiB, in seconds.
    CpuPerGib,
    /// Median latency beyond that of no proxy, in microseconds.
    AddedLatency,
    /// 99th percentile of the latency beyond that of no proxy, in microseconds.
    AddedTailLatency,
    /// 99th percentile of the latency, in microseconds.
    TailLatency,
    /// Resident memory of the outbound proxy per connection, in KiB.
    MemoryPerConnection,
    /// Resident memory of the outbound proxy before there is a connection, in MiB.
    IdleMemory,
}

const fn load(name: &'static str, title: &'static str, setup: Setup, work: Work, metric: Metric) -> Scenario {
    Scenario { name, title, setup, work, metric }
}

/// Everything, in the order of the report.
pub const ALL: &[Scenario] = {
    use Arrival::{Closed, Rate};
    use Metric::{AddedLatency, CpuPerGib, CpuPerRequest, MemoryPerConnection, TailLatency};
    use Protocol::{Connect, Download, Grpc, Http1, Http2, Upload};
    use Setup::{Plain, Retries, Routes, Slow};
    use Work::{Idle, Load};
    &[
        load("http1", "HTTP/1, 32 bytes, 32 connections", Plain, Load(Http1, 32, 1, Closed, "/"), CpuPerRequest),
        load("http2", "HTTP/2, 32 bytes, 2 connections x 10 streams", Plain, Load(Http2, 2, 10, Closed, "/"), CpuPerRequest),
        load("grpc", "gRPC unary, 2 connections x 10 streams", Plain, Load(Grpc, 2, 10, Closed, "/bench.Echo/Unary"), CpuPerRequest),
        load("latency", "HTTP/1, 2,000 requests/s, open loop", Plain, Load(Http1, 32, 1, Rate(2000.0), "/"), AddedLatency),
        load("handshake", "a mutual-TLS connection for each byte, 8 at once", Plain, Load(Connect, 8, 1, Closed, ""), CpuPerRequest),
        load("upload", "opaque TCP to the server, 2 connections", Plain, Load(Upload, 2, 1, Closed, ""), CpuPerGib),
        load("download", "opaque TCP from the server, 2 connections", Plain, Load(Download, 2, 1, Closed, ""), CpuPerGib),
        load("body", "HTTP/1, 64 KiB, 32 connections", Plain, Load(Http1, 32, 1, Closed, "/bytes/65536"), CpuPerRequest),
        load("idle", "1,000 idle HTTP/1 connections", Plain, Idle(1000), MemoryPerConnection),
        load("slow", "one slow server in ten, 500 requests/s", Slow, Load(Http1, 64, 1, Rate(500.0), "/"), TailLatency),
        load("retries", "one response in five fails and is asked for again", Retries, Load(Http1, 32, 1, Closed, "/"), CpuPerRequest),
        load("routes", "the last of 100 routes", Routes, Load(Http1, 32, 1, Closed, "/route-99/x"), CpuPerRequest),
    ]
};

impl Scenario {
    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name == name)
    }
}

impl Work {
    /// The load for one peer, or `None` where the peer does not take it.
    #[must_use]
    pub fn load(self, topology: &Topology) -> Option<Load> {
        let Self::Load(protocol, connections, streams, arrival, path) = self else { return None };
        let target = match protocol {
            Protocol::Http1 => topology.http1,
            Protocol::Http2 | Protocol::Grpc => topology.http2,
            Protocol::Connect | Protocol::Upload | Protocol::Download => topology.tcp,
        };
        Some(Load {
            protocol,
            target: target?,
            authority: topology.authority.clone(),
            path: path.to_owned(),
            connections,
            streams,
            arrival,
        })
    }
}

impl Metric {
    /// With its unit.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "CPU per request, us",
            Self::CpuPerGib => "CPU per GiB, s",
            Self::AddedLatency => "added p50, us",
            Self::AddedTailLatency => "added p99, us",
            Self::TailLatency => "p99, us",
            Self::MemoryPerConnection => "memory per connection, KiB",
            Self::IdleMemory => "memory without a connection, MiB",
        }
    }
}
