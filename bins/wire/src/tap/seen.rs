//! Is a request one of those that are asked for?

use std::net::SocketAddr;

use super::{Labels, Match, Tcp, Text};
use http::Method;

/// What a match looks at.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs)] // Whoever makes one has to say all of it.
pub struct Seen<'a> {
    /// Who sent the request.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// What is known of that.
    pub destination_labels: &'a Labels,
    /// What is known of its route.
    pub route_labels: &'a Labels,
    /// Its scheme.
    pub scheme: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// Its authority.
    pub authority: &'a str,
    /// Its path, with the query.
    pub path: &'a str,
}

impl Match {
    /// Is the request like this? A match that was read is bounded, and so is this.
    #[must_use]
    pub fn fits(&self, seen: &Seen<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.fits(seen)),
            Self::Any(any) => any.iter().any(|one| one.fits(seen)),
            Self::Not(one) => !one.fits(seen),
            Self::Source(tcp) => address(tcp, seen.source),
            Self::Destination(tcp) => address(tcp, seen.destination),
            Self::DestinationLabel(key, value) => seen.destination_labels.get(key) == Some(value),
            Self::RouteLabel(key, value) => seen.route_labels.get(key) == Some(value),
            Self::Scheme(scheme) => scheme == seen.scheme,
            Self::Method(method) => method == seen.method,
            Self::Authority(wanted) => text(wanted, seen.authority),
            Self::Path(wanted) => text(wanted, seen.path),
        }
    }
}

fn address(tcp: &Tcp, addr: SocketAddr) -> bool {
    match tcp {
        Tcp::Net(net) => net.contains(&addr.ip()),
        Tcp::Ports(ports) => ports.contains(&addr.port()),
    }
}

fn text(wanted: &Text, text: &str) -> bool {
    match wanted {
        Text::Exact(exact) => exact == text,
        Text::Prefix(prefix) => text.starts_with(prefix.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(of: &Match) -> bool {
        let labels = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
        let (destination_labels, route_labels) = (labels("deployment", "web"), labels("route", "GET /"));
        let seen = Seen {
            source: "10.0.0.1:4000".parse().unwrap(),
            destination: "10.0.0.2:80".parse().unwrap(),
            destination_labels: &destination_labels,
            route_labels: &route_labels,
            scheme: "http",
            method: &Method::GET,
            authority: "web.ns:80",
            path: "/api/list?x",
        };
        of.fits(&seen)
    }

    #[test]
    fn each_kind_of_match_holds_for_what_it_names_only() {
        let text = str::to_owned;
        let pairs = [
            (Match::Source(Tcp::Net("10.0.0.0/24".parse().unwrap())), Match::Source(Tcp::Ports(80..=80))),
            (Match::Destination(Tcp::Ports(1..=80)), Match::Destination(Tcp::Net("10.0.0.1/32".parse().unwrap()))),
            (Match::DestinationLabel(text("deployment"), text("web")), Match::DestinationLabel(text("deployment"), text("we"))),
            (Match::RouteLabel(text("route"), text("GET /")), Match::RouteLabel(text("deployment"), text("web"))),
            (Match::Scheme(text("http")), Match::Scheme(text("https"))),
            (Match::Method(Method::GET), Match::Method(Method::POST)),
            (Match::Authority(Text::Exact(text("web.ns:80"))), Match::Authority(Text::Exact(text("web.ns")))),
            (Match::Authority(Text::Prefix(text("web"))), Match::Authority(Text::Prefix(text("eb")))),
            (Match::Path(Text::Prefix(text("/api"))), Match::Path(Text::Exact(text("/api")))),
            (Match::All(Vec::new()), Match::Any(Vec::new())),
        ];
        for (holding, other) in pairs {
            assert!(holds(&holding) && !holds(&other), "{holding:?} {other:?}");
            assert!(!holds(&Match::Not(Box::new(holding.clone()))));
            assert!(!holds(&Match::All(vec![holding.clone(), other.clone()])));
            assert!(holds(&Match::Any(vec![other, holding])));
        }
    }
}
