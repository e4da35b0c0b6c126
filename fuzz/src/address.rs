//! Names and addresses, in every grammar that has them.

use meshkit_core::{Authority, Host, Identity};
use meshkit_fault::Peers;
use meshkit_proxy::config::syntax;

use crate::Verdict;

/// The text is given to each grammar; what one takes is written, and read the same again.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(data) else { return Verdict::Refused };
    let taken = [authority(text), identity(text), peers(text), sockets(text), ports(text), networks(text), names(text)];
    Verdict::when(taken.contains(&true))
}

fn authority(text: &str) -> bool {
    let Ok(authority) = Authority::parse(text, 1) else {
        assert!(syntax::authority(text).is_err() && text.parse::<Authority>().is_err(), "{text:?}");
        return false;
    };
    assert_eq!(authority.to_string().parse().as_ref(), Ok(&authority), "{text:?}");
    assert_ne!(authority.port(), 0, "{text:?}");
    // Whether a port was given is all that the default changes.
    let other = Authority::parse(text, 2).expect("the default port is no part of the grammar");
    let strict = syntax::authority(text);
    assert_eq!(strict.is_ok(), other == authority, "{text:?}");
    assert_eq!(strict.ok(), text.parse().ok(), "{text:?}");
    match authority.host() {
        Host::Name(name) => assert!(name.parse::<std::net::IpAddr>().is_err() && name.is_ascii(), "{text:?}"),
        Host::Ip(ip) => assert_eq!(syntax::is_loopback(&authority), ip.to_canonical().is_loopback(), "{text:?}"),
    }
    true
}

fn identity(text: &str) -> bool {
    let Ok(identity) = text.parse::<Identity>() else { return false };
    assert_eq!(identity.as_str().parse().as_ref(), Ok(&identity), "{text:?}");
    assert_eq!(identity.is_uri(), text.starts_with("spiffe://"), "{text:?}");
    assert_eq!(identity.as_dns().is_some(), !identity.is_uri(), "{text:?}");
    true
}

fn peers(text: &str) -> bool {
    let Ok(peers) = text.parse::<Peers>() else { return false };
    let Peers::Listed(list) = &peers else { panic!("{text:?} is a list, and everybody is none") };
    let written = list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(written.parse().as_ref(), Ok(&peers), "{text:?}");
    true
}

fn sockets(text: &str) -> bool {
    let (one, some, ips) = (syntax::socket_addr(text), syntax::socket_addrs(text), syntax::ips(text));
    if let Ok(addr) = one {
        assert_eq!(some.as_deref(), Ok([addr].as_slice()), "{text:?}");
    }
    if let Ok(addrs) = &some {
        let written = addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(syntax::socket_addrs(&written).as_ref(), Ok(addrs), "{text:?}");
        assert!((1..=2).contains(&addrs.len()), "{text:?}");
    }
    if let Ok(ip) = syntax::ip(text) {
        assert!(ips.as_ref().is_ok_and(|ips| ips.len() == 1 && ips.contains(&ip)), "{text:?}");
    }
    some.is_ok() || ips.is_ok()
}

fn ports(text: &str) -> bool {
    let Ok(ports) = syntax::port_ranges(text) else { return false };
    assert_eq!(syntax::port_ranges(&ports.to_string()).as_ref(), Ok(&ports), "{text:?}");
    for range in ports.ranges() {
        assert!(range.start() <= range.end() && ports.contains(*range.start()) && ports.contains(*range.end()), "{text:?}");
    }
    !ports.ranges().is_empty()
}

fn networks(text: &str) -> bool {
    let Ok(networks) = syntax::networks(text) else { return false };
    let written = networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(syntax::networks(&written).as_ref(), Ok(&networks), "{text:?}");
    !networks.is_empty()
}

fn names(text: &str) -> bool {
    let Ok(suffixes) = syntax::dns_suffixes(text) else { return false };
    for suffix in &suffixes {
        assert_eq!(syntax::dns_suffixes(&suffix.to_string()).as_deref(), Ok(std::slice::from_ref(suffix)), "{text:?}");
        assert!(suffix.contains(&suffix.to_string()) && suffix.contains(&format!("web.{suffix}")), "{text:?}");
        assert_eq!(suffix.contains(&format!("web{suffix}")), suffix.as_str().is_empty(), "{text:?}");
    }
    !suffixes.is_empty()
}
