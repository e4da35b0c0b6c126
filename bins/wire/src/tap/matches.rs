//! Matches of the tap API to and from their messages.

use http::Method;
use ipnet::IpNet;
use linkerd2_proxy_api::{
    http_types,
    tap::observe_request::{self as proto, r#match as part},
};

use super::{MAX_DEPTH, MAX_PARTS, Match, Tcp, Text};
use crate::Invalid;

const FIELD: &str = "match";

/// Reads a match. Parts are counted: whoever observes is trusted with what it sees, and not with the proxy's time.
pub(super) fn read(message: proto::Match) -> Result<Match, Invalid> {
    let mut parts = 0;
    node(message, MAX_DEPTH, &mut parts)
}

fn node(message: proto::Match, depth: usize, parts: &mut usize) -> Result<Match, Invalid> {
    *parts += 1;
    if depth == 0 || *parts > MAX_PARTS {
        return Err(Invalid::new(FIELD, format_args!("deeper than {MAX_DEPTH} or of more than {MAX_PARTS} parts")));
    }
    let mut all = |seq: part::Seq| seq.matches.into_iter().map(|one| node(one, depth - 1, parts)).collect::<Result<Vec<_>, _>>();
    Ok(match message.r#match.ok_or_else(|| Invalid::missing(FIELD))? {
        part::Match::All(seq) => Match::All(all(seq)?),
        part::Match::Any(seq) => Match::Any(all(seq)?),
        part::Match::Not(one) => Match::Not(Box::new(node(*one, depth - 1, parts)?)),
        part::Match::Source(tcp) => Match::Source(read_tcp(tcp)?),
        part::Match::Destination(tcp) => Match::Destination(read_tcp(tcp)?),
        part::Match::DestinationLabel(label) => Match::DestinationLabel(label.key, label.value),
        part::Match::RouteLabel(label) => Match::RouteLabel(label.key, label.value),
        part::Match::Http(http) => read_http(http)?,
    })
}

fn read_tcp(message: part::Tcp) -> Result<Tcp, Invalid> {
    match message.r#match.ok_or_else(|| Invalid::missing("tcp"))? {
        part::tcp::Match::Netmask(netmask) => {
            let ip = netmask.ip.ok_or_else(|| Invalid::missing("netmask.ip"))?.try_into().map_err(|e| Invalid::new("netmask.ip", e))?;
            let len = u8::try_from(netmask.mask).ok().and_then(|len| IpNet::new(ip, len).ok());
            len.map(Tcp::Net).ok_or_else(|| Invalid::new("netmask.mask", format_args!("{} is not a prefix length of {ip}", netmask.mask)))
        }
        part::tcp::Match::Ports(ports) => {
            let port = |port: u32| u16::try_from(port).map_err(|_| Invalid::new("ports", format_args!("{port} is not a port")));
            let (min, max) = (port(ports.min)?, port(ports.max)?);
            match (min, max) {
                (0, 0) => Err(Invalid::missing("ports")),
                // Where one is missing, the other is the only one.
                (0, one) | (one, 0) => Ok(Tcp::Ports(one..=one)),
                (min, max) if min <= max => Ok(Tcp::Ports(min..=max)),
                _ => Err(Invalid::new("ports", format_args!("{min} is above {max}"))),
            }
        }
    }
}

fn read_http(message: part::Http) -> Result<Match, Invalid> {
    use part::http::{Match as Http, string_match::Match as String};

    let text = |field: &str, text: part::http::StringMatch| match text.r#match {
        Some(String::Exact(text)) => Ok(Text::Exact(text)),
        Some(String::Prefix(text)) => Ok(Text::Prefix(text)),
        None => Err(Invalid::missing(field)),
    };
    Ok(match message.r#match.ok_or_else(|| Invalid::missing("http"))? {
        Http::Scheme(scheme) => Match::Scheme(read_scheme(scheme)),
        Http::Method(method) => Match::Method(Method::try_from(method).map_err(|e| Invalid::new("method", e))?),
        Http::Authority(authority) => Match::Authority(text("authority", authority)?),
        Http::Path(path) => Match::Path(text("path", path)?),
    })
}

/// A scheme that is missing counts as `http`.
pub(super) fn read_scheme(message: http_types::Scheme) -> String {
    match message.r#type {
        Some(http_types::scheme::Type::Unregistered(scheme)) => scheme,
        Some(http_types::scheme::Type::Registered(number)) if number == http_types::scheme::Registered::Https as i32 => "https".to_owned(),
        _ => "http".to_owned(),
    }
}

pub(super) fn scheme(scheme: &str) -> http_types::Scheme {
    use http_types::scheme::{Registered, Type};

    let of = match scheme {
        "http" => Type::Registered(Registered::Http.into()),
        "https" => Type::Registered(Registered::Https.into()),
        other => Type::Unregistered(other.to_owned()),
    };
    http_types::Scheme { r#type: Some(of) }
}

/// The message of a match.
pub(super) fn write(of: &Match) -> proto::Match {
    let seq = |all: &[Match]| part::Seq { matches: all.iter().map(write).collect() };
    let http = |one| part::Match::Http(part::Http { r#match: Some(one) });
    let label = |key: &str, value: &str| part::Label { key: key.to_owned(), value: value.to_owned() };
    let one = match of {
        Match::All(all) => part::Match::All(seq(all)),
        Match::Any(all) => part::Match::Any(seq(all)),
        Match::Not(one) => part::Match::Not(Box::new(write(one))),
        Match::Source(tcp) => part::Match::Source(write_tcp(tcp)),
        Match::Destination(tcp) => part::Match::Destination(write_tcp(tcp)),
        Match::DestinationLabel(key, value) => part::Match::DestinationLabel(label(key, value)),
        Match::RouteLabel(key, value) => part::Match::RouteLabel(label(key, value)),
        Match::Scheme(name) => http(part::http::Match::Scheme(scheme(name))),
        Match::Method(method) => http(part::http::Match::Method(method.clone().into())),
        Match::Authority(text) => http(part::http::Match::Authority(write_text(text))),
        Match::Path(text) => http(part::http::Match::Path(write_text(text))),
    };
    proto::Match { r#match: Some(one) }
}

fn write_tcp(tcp: &Tcp) -> part::Tcp {
    let one = match tcp {
        Tcp::Net(net) => part::tcp::Match::Netmask(part::tcp::Netmask { ip: Some(net.addr().into()), mask: net.prefix_len().into() }),
        Tcp::Ports(ports) => part::tcp::Match::Ports(part::tcp::PortRange { min: (*ports.start()).into(), max: (*ports.end()).into() }),
    };
    part::Tcp { r#match: Some(one) }
}

fn write_text(text: &Text) -> part::http::StringMatch {
    use part::http::string_match::Match;

    let one = match text {
        Text::Exact(text) => Match::Exact(text.clone()),
        Text::Prefix(text) => Match::Prefix(text.clone()),
    };
    part::http::StringMatch { r#match: Some(one) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn text() -> impl Strategy<Value = Text> {
        ("[ -~]{0,8}", any::<bool>()).prop_map(|(text, exact)| if exact { Text::Exact(text) } else { Text::Prefix(text) })
    }

    fn tcp() -> impl Strategy<Value = Tcp> {
        let net = (any::<std::net::IpAddr>(), 0_u8..=32).prop_map(|(ip, len)| Tcp::Net(IpNet::new(ip, len).unwrap()));
        let ports = (1_u16.., 1_u16..).prop_map(|(one, other)| Tcp::Ports(one.min(other)..=one.max(other)));
        prop_oneof![net, ports]
    }

    fn matches() -> impl Strategy<Value = Match> {
        let leaf = prop_oneof![
            tcp().prop_map(Match::Source),
            tcp().prop_map(Match::Destination),
            ("[a-z]{1,4}", "[a-z]{0,4}").prop_map(|(key, value)| Match::DestinationLabel(key, value)),
            ("[a-z]{1,4}", "[a-z]{0,4}").prop_map(|(key, value)| Match::RouteLabel(key, value)),
            "http|https|ws".prop_map(Match::Scheme),
            "[A-Z]{1,8}".prop_map(|method| Match::Method(method.parse().unwrap())),
            text().prop_map(Match::Authority),
            text().prop_map(Match::Path),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Match::All),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Match::Any),
                inner.prop_map(|one| Match::Not(Box::new(one))),
            ]
        })
    }

    #[test]
    fn a_match_has_a_bound_in_depth_and_in_breadth() {
        let deep = |depth| (0..depth).fold(Match::Scheme("http".to_owned()), |inner, _| Match::Not(Box::new(inner)));
        assert!(read(write(&deep(MAX_DEPTH - 1))).is_ok());
        assert!(read(write(&deep(MAX_DEPTH))).unwrap_err().to_string().contains("deeper than 16"));
        let broad = |count| Match::Any(vec![Match::All(Vec::new()); count]);
        assert!(read(write(&broad(MAX_PARTS - 1))).is_ok());
        assert!(read(write(&broad(MAX_PARTS))).is_err());
    }

    #[test]
    fn an_empty_match_is_refused_and_half_a_range_is_one_port() {
        assert!(read(proto::Match::default()).is_err());
        let ports = |min, max| {
            let range = part::tcp::PortRange { min, max };
            read_tcp(part::Tcp { r#match: Some(part::tcp::Match::Ports(range)) })
        };
        assert_eq!((ports(80, 0), ports(0, 80)), (Ok(Tcp::Ports(80..=80)), Ok(Tcp::Ports(80..=80))));
        assert!(ports(0, 0).is_err() && ports(81, 80).is_err() && ports(1, 65_536).is_err());
        assert_eq!(read_scheme(http_types::Scheme::default()), "http");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(of in matches()) {
            prop_assert_eq!(read(write(&of)), Ok(of));
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            if let Ok(message) = proto::Match::decode(&bytes[..]) {
                let _ = read(message);
            }
        }
    }
}
