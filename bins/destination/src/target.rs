//! What a proxy asks for.

use std::net::SocketAddr;

use meshkit_core::{Authority, Host, grpc::Code};
use meshkit_wire::Refused;
use serde::Deserialize;
use tracing::debug;

/// The longest name of an object, in bytes (RFC 1123).
const MAX_NAME: usize = 253;

/// A Service, or one of its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The endpoint's own name.
    pub instance: Option<String>,
    /// The Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The port of the Service.
    pub port: u16,
}

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // A name or an address.
pub enum Target {
    /// A name of the cluster.
    Name(Name),
    /// An address.
    Addr(SocketAddr),
}

/// Who asks: what the proxy sends along.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Context {
    /// Its namespace.
    pub ns: String,
    /// Its node.
    pub node_name: String,
    /// Its Pod.
    pub pod: String,
}

impl Target {
    /// Reads `host[:port]`; without a port, 80 stands in. Names must end in `svc` and the cluster's domain.
    ///
    /// # Errors
    /// It is malformed, or no name of the cluster.
    pub fn parse(path: &str, domain: &str) -> Result<Self, Refused> {
        let invalid = || Refused::new(Code::INVALID_ARGUMENT, format!("Invalid authority: {path}"));
        let authority = Authority::parse(path, 80).map_err(|_| invalid())?;
        let port = authority.port();
        let name = match authority.host() {
            Host::Ip(ip) => return Ok(Self::Addr(SocketAddr::new(*ip, port))),
            Host::Name(name) => name,
        };
        let front = name.strip_suffix(domain).and_then(|front| front.strip_suffix(".svc.")).ok_or_else(invalid)?;
        let labels: Vec<_> = front.split('.').collect();
        let (instance, service, namespace) = match labels.as_slice() {
            [service, namespace] => (None, *service, *namespace),
            [instance, service, namespace] => (Some(*instance), *service, *namespace),
            _ => return Err(invalid()),
        };
        let parts = [instance.unwrap_or("-"), service, namespace];
        if parts.iter().any(|part| part.is_empty()) {
            return Err(invalid());
        }
        Ok(Self::Name(Name { instance: instance.map(str::to_owned), service: service.to_owned(), namespace: namespace.to_owned(), port }))
    }
}

impl Context {
    /// Reads a context token: JSON, or `ns:` and a namespace as old proxies send it. One that cannot be read says nothing.
    #[must_use]
    pub fn parse(token: &str) -> Self {
        if token.is_empty() {
            return Self::default();
        }
        if let Some(ns) = token.strip_prefix("ns:") {
            debug!(token, "a context token of the old form");
            return Self { ns: ns.to_owned(), ..Self::default() }.bounded();
        }
        let read = serde_json::from_str(token).unwrap_or_else(|error| {
            debug!(%error, "a context token cannot be read and says nothing");
            Self::default()
        });
        read.bounded()
    }

    /// What is longer than any name of the cluster is none: answers are kept by these texts, and a peer chooses them.
    fn bounded(mut self) -> Self {
        for name in [&mut self.ns, &mut self.node_name, &mut self.pod] {
            if name.len() > MAX_NAME {
                name.clear();
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_cluster_and_addresses_are_targets() {
        let parse = |path: &str| Target::parse(path, "cluster.local");
        let name = |instance: Option<&str>, port| {
            let instance = instance.map(str::to_owned);
            Ok(Target::Name(Name { instance, service: "web".to_owned(), namespace: "ns".to_owned(), port }))
        };
        assert_eq!(parse("web.ns.svc.cluster.local"), name(None, 80));
        assert_eq!(parse("web.ns.svc.cluster.local:8080"), name(None, 8080));
        assert_eq!(parse("web-0.web.ns.svc.cluster.local:80"), name(Some("web-0"), 80));
        assert_eq!(parse("10.1.2.3:80"), Ok(Target::Addr("10.1.2.3:80".parse().unwrap())));
        for bad in [
            "web.ns",
            "web.ns.svc.cluster.local.",
            "web.ns.svc.other",
            "a.b.c.d.svc.cluster.local",
            "svc.cluster.local",
            ".ns.svc.cluster.local",
            "x:y",
        ] {
            assert_eq!(parse(bad).unwrap_err().code(), Code::INVALID_ARGUMENT, "{bad}");
        }
    }

    #[test]
    fn a_context_may_be_json_or_old_or_nothing() {
        assert_eq!(Context::parse(r#"{"ns":"a", "nodeName":"b", "pod":"c"}"#).node_name, "b");
        assert_eq!(Context::parse("ns:a").ns, "a");
        assert_eq!(Context::parse("garbage"), Context::default());
        let long = "x".repeat(MAX_NAME + 1);
        assert_eq!(Context::parse(&format!("ns:{long}")), Context::default());
        assert_eq!(Context::parse(&format!(r#"{{"ns":"a","nodeName":"{long}"}}"#)), Context::parse("ns:a"));
    }
}
