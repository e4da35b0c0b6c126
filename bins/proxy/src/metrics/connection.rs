//! What connections turned out to be, and which routes took them.

use std::{net::SocketAddr, time::Duration};

use meshkit_core::{Cause, Error};
use meshkit_http::detect::{Detected, Version};
use meshkit_policy::Meta;
use meshkit_runtime::metrics::{Counter, Family, Histogram, Registry, Unit};

use super::{
    Labels,
    route::{parent_labels, route_labels},
};

const DETECT_SECONDS: &[f64] = &[0.001, 0.1];

/// How HTTP was looked for, and what was found.
#[derive(Clone, Debug)]
pub struct DetectFamilies {
    duration: Family<Labels, Histogram>,
    results: Family<Labels, Counter>,
}

/// Connections that were taken by the routes of a policy.
#[derive(Clone, Debug)]
pub struct ConnectionFamilies {
    protocols: Family<Labels, Counter>,
    tcp: RouteFamilies,
    tls: RouteFamilies,
}

#[derive(Clone, Debug)]
struct RouteFamilies {
    opened: Family<Labels, Counter>,
    closed: Family<Labels, Counter>,
}

/// One connection of a route, counted as closed when it is dropped.
#[derive(Debug)]
pub(crate) struct RouteConnection {
    closed: Family<Labels, Counter>,
    labels: Vec<(&'static str, String)>,
    error: &'static str,
}

impl DetectFamilies {
    pub(super) fn register(registry: &Registry, prefix: &str) -> Self {
        let scope = registry.open().prefix(prefix);
        Self {
            duration: scope.clone().unit(Unit::Seconds).histogram_family(
                "tcp_detect_http_duration",
                "How long it took to find out whether a connection speaks HTTP",
                DETECT_SECONDS,
            ),
            results: scope.counter_family("tcp_detect_http_results", "What connections that were looked at turned out to speak"),
        }
    }

    /// Counts the result of one detection.
    pub(crate) fn detected(&self, labels: Vec<(&'static str, String)>, took: Duration, result: &std::io::Result<Detected>) {
        self.duration.handle(&Labels::new(labels.clone())).record_secs(took);
        let result = match result {
            Ok(Detected::Http(Version::Http1)) => "http/1",
            Ok(Detected::Http(Version::Http2)) => "http/2",
            Ok(Detected::TimedOut) => "read_timeout",
            Ok(_) => "not_http",
            Err(_) => "error",
        };
        self.results.handle(&Labels::new(labels.into_iter().chain([("result", result.to_owned())]))).incr();
    }
}

impl ConnectionFamilies {
    pub(super) fn register(registry: &Registry) -> Self {
        let scope = registry.open().prefix("outbound");
        let route = |opened: &str, closed: &str| RouteFamilies {
            opened: scope.counter_family(opened, "Connections that a route took"),
            closed: scope.counter_family(closed, "Connections of a route that have ended"),
        };
        Self {
            protocols: scope.counter_family("tcp_protocol_connections", "Connections, by what they are known or supposed to speak"),
            tcp: route("tcp_route_open", "tcp_route_close"),
            tls: route("tls_route_open", "tls_route_close"),
        }
    }

    /// Counts a connection by what its policy says that it speaks.
    pub(crate) fn protocol(&self, protocol: &'static str, parent: &Meta) {
        self.protocols.handle(&Labels::new([("protocol", protocol.to_owned())].into_iter().chain(parent_labels(parent)))).incr();
    }

    /// Counts a connection that is not looked at.
    pub(crate) fn tcp(&self, parent: &Meta, route: &Meta, target: SocketAddr) -> RouteConnection {
        let target = [("target_ip", target.ip().to_string()), ("target_port", target.port().to_string())];
        self.tcp.open(parent_labels(parent).into_iter().chain(route_labels(route)).chain(target).collect())
    }

    /// Counts a TLS connection that asks for a name.
    pub(crate) fn tls(&self, parent: &Meta, route: &Meta, name: &str) -> RouteConnection {
        self.tls.open(parent_labels(parent).into_iter().chain(route_labels(route)).chain([("hostname", name.to_owned())]).collect())
    }
}

impl RouteFamilies {
    fn open(&self, labels: Vec<(&'static str, String)>) -> RouteConnection {
        self.opened.handle(&Labels::new(labels.clone())).incr();
        RouteConnection { closed: self.closed.clone(), labels, error: "" }
    }
}

impl RouteConnection {
    /// Notes why the connection could not be served.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.error = match error.cause() {
            Cause::Denied => "forbidden",
            Cause::NoBackend => "invalid_backend",
            Cause::InvalidPolicy => "invalid_policy",
            _ => "unexpected",
        };
    }
}

impl Drop for RouteConnection {
    fn drop(&mut self) {
        let labels = self.labels.drain(..).chain([("error", self.error.to_owned())]);
        self.closed.handle(&Labels::new(labels)).incr();
    }
}
