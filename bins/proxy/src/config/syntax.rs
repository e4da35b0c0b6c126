//! The grammars of single settings, as pure functions of text.
//!
//! Source: the settings of the Linkerd proxy, whose quirks are kept: where it trims blanks or ignores empty items, so do these.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use meshkit_core::{Authority, Host};

// More would be a mistake: each is a listener.
const SOCKET_ADDRS_MAX: usize = 2;

/// Ports, as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortRanges(Vec<RangeInclusive<u16>>);

/// The end of DNS names: everything (`.`), or a name and whatever lies below it. Lower-cased, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsSuffix(String);

/// The text does not follow the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSyntax {
    seen: String,
    wanted: Cow<'static, str>,
}

impl InvalidSyntax {
    /// Says what was seen, cut to a length that fits a log line, and what was wanted.
    #[must_use]
    pub fn new(seen: &str, wanted: &'static str) -> Self {
        Self { seen: seen.chars().take(64).collect(), wanted: wanted.into() }
    }
}

impl PortRanges {
    /// Is the port in one of the ranges?
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    /// The ranges, as they were given.
    #[must_use]
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }

    /// Each port once.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.0.iter().cloned().flatten().collect()
    }
}

impl DnsSuffix {
    /// Every name.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The suffix, without a trailing dot; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does the name end here, at the border of a label? Case and a trailing dot of the name do not matter.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let Some(head) = name.len().checked_sub(self.0.len()) else {
            return false;
        };
        let (head, tail) = (&name.as_bytes()[..head], &name.as_bytes()[head..]);
        tail.eq_ignore_ascii_case(self.0.as_bytes()) && (self.0.is_empty() || head.is_empty() || head.ends_with(b"."))
    }
}

/// `true` or `false`.
///
/// # Errors
/// Anything else.
pub fn boolean(text: &str) -> Result<bool, InvalidSyntax> {
    text.parse().map_err(|_| InvalidSyntax::new(text, "true or false"))
}

/// A decimal number that fits its type.
///
/// # Errors
/// Anything else.
pub fn number<T: FromStr>(text: &str) -> Result<T, InvalidSyntax> {
    text.parse().map_err(|_| InvalidSyntax::new(text, "a number within the range of this setting"))
}

/// A decimal number of at least `min` and at most `max`.
///
/// # Errors
/// Anything else.
pub fn number_within<T: FromStr + PartialOrd + fmt::Display>(text: &str, min: T, max: T) -> Result<T, InvalidSyntax> {
    match text.parse() {
        Ok(number) if min <= number && number <= max => Ok(number),
        _ => Err(InvalidSyntax { wanted: format!("a number from {min} to {max}").into(), ..InvalidSyntax::new(text, "") }),
    }
}

/// Digits and one of `ms`, `s`, `m`, `h`, `d`, with blanks around them; a bare number is a duration only if it is 0.
///
/// # Errors
/// Anything else, and what does not fit 64 bits of milliseconds.
pub fn duration(text: &str) -> Result<Duration, InvalidSyntax> {
    const WANTED: &str = "a duration: digits and ms, s, m, h or d";
    let invalid = || InvalidSyntax::new(text, WANTED);
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = trimmed.split_at(digits);
    let count: u64 = count.parse().map_err(|_| invalid())?;
    let millis = match unit {
        "" if count == 0 => 0,
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(invalid()),
    };
    count.checked_mul(millis).map(Duration::from_millis).ok_or_else(invalid)
}

/// A duration, or nothing at all for "none".
///
/// # Errors
/// As [`duration`].
pub fn optional_duration(text: &str) -> Result<Option<Duration>, InvalidSyntax> {
    if text.is_empty() { Ok(None) } else { duration(text).map(Some) }
}

/// `ip:port`, with brackets around an IPv6 address.
///
/// # Errors
/// Anything else.
pub fn socket_addr(text: &str) -> Result<SocketAddr, InvalidSyntax> {
    text.parse().map_err(|_| InvalidSyntax::new(text, "ip:port, with brackets around an IPv6 address"))
}

/// One or two socket addresses, separated by a comma.
///
/// # Errors
/// None, more than two, or something else.
pub fn socket_addrs(text: &str) -> Result<Vec<SocketAddr>, InvalidSyntax> {
    let addrs = text.split(',').map(socket_addr).take(SOCKET_ADDRS_MAX + 1).collect::<Result<Vec<_>, _>>()?;
    if addrs.len() > SOCKET_ADDRS_MAX {
        return Err(InvalidSyntax::new(text, "at most two addresses"));
    }
    Ok(addrs)
}

/// An IP address.
///
/// # Errors
/// Anything else.
pub fn ip(text: &str) -> Result<IpAddr, InvalidSyntax> {
    text.parse().map_err(|_| InvalidSyntax::new(text, "an IP address"))
}

/// IP addresses, separated by commas, without blanks.
///
/// # Errors
/// Anything else.
pub fn ips(text: &str) -> Result<BTreeSet<IpAddr>, InvalidSyntax> {
    text.split(',').map(ip).collect()
}

/// `host:port`.
///
/// # Errors
/// The port is missing, or either half is not what it should be.
pub fn authority(text: &str) -> Result<Authority, InvalidSyntax> {
    // Port 0 cannot be written, so it says that there was none.
    let parsed = Authority::parse(text, 0).ok().filter(|authority| authority.port() != 0);
    parsed.ok_or_else(|| InvalidSyntax::new(text, "host:port"))
}

/// Does this address stay on the machine? `localhost.` and loopback addresses do; `localhost` may be anything.
#[must_use]
pub fn is_loopback(authority: &Authority) -> bool {
    match authority.host() {
        Host::Ip(ip) => ip.to_canonical().is_loopback(),
        Host::Name(name) => &**name == "localhost.",
    }
}

/// Is this the machine itself, whoever else shares it? `localhost.`, 127.0.0.1 and `::1` are. The other loopback addresses may be replicas and controllers
/// of a mesh on one machine, which are hosts like any other.
#[must_use]
pub fn is_self(authority: &Authority) -> bool {
    match authority.host() {
        Host::Ip(ip) => matches!(ip.to_canonical(), IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST)),
        Host::Name(name) => &**name == "localhost.",
    }
}

/// Ports (`80`) and ranges of ports (`80-90`), separated by commas, with blanks around them; empty items are ignored.
///
/// # Errors
/// Something else, or a range that ends before it begins.
pub fn port_ranges(text: &str) -> Result<PortRanges, InvalidSyntax> {
    let range = |item: &str| {
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| InvalidSyntax::new(item, "a port or two ports with a dash between"));
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let (low, high) = (port(low)?, port(high)?);
        if high < low {
            return Err(InvalidSyntax::new(item, "a range that ends where it begins or behind"));
        }
        Ok(low..=high)
    };
    items(text).map(range).collect::<Result<_, _>>().map(PortRanges)
}

/// CIDRs, separated by commas, with blanks around them; empty items are ignored.
///
/// # Errors
/// Something else.
pub fn networks(text: &str) -> Result<Vec<IpNet>, InvalidSyntax> {
    items(text).map(|item| item.parse().map_err(|_| InvalidSyntax::new(item, "a network: address/bits"))).collect()
}

/// DNS suffixes, separated by commas, with blanks around them; `.` is every name, and empty items are ignored.
///
/// # Errors
/// Something that is no DNS name.
pub fn dns_suffixes(text: &str) -> Result<Vec<DnsSuffix>, InvalidSyntax> {
    let suffix = |item: &str| {
        if item == "." {
            return Ok(DnsSuffix::root());
        }
        let name = item.strip_suffix('.').unwrap_or(item);
        let letters = |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let label = |label: &str| (1..=63).contains(&label.len()) && letters(label);
        let fits = name.len() <= 253 && name.split('.').all(label);
        fits.then(|| DnsSuffix(name.to_ascii_lowercase())).ok_or_else(|| InvalidSyntax::new(item, "a DNS name, or . for every name"))
    };
    items(text).map(suffix).collect()
}

/// `key=value` lines; quotes around a value are dropped, and so are lines without `=` or without a key.
#[must_use]
pub fn attributes(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl fmt::Display for PortRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match range.start() == range.end() {
                true => write!(f, "{comma}{}", range.start())?,
                false => write!(f, "{comma}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for DnsSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.0)
    }
}

impl fmt::Display for InvalidSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}", self.seen, self.wanted)
    }
}

impl std::error::Error for InvalidSyntax {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_a_unit_unless_they_are_zero() {
        for (text, millis) in
            [("0", 0), ("00", 0), ("15ms", 15), (" 3s ", 3000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text:?}");
        }
        for text in
            ["", " ", "1", "10", "s", "1 s", "1us", "1S", "-1s", "+1s", "1.5s", "1s1", "18446744073709551616ms", "18446744073709551615d"]
        {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert_eq!(optional_duration(""), Ok(None));
        assert!(optional_duration(" ").is_err());
    }

    #[test]
    fn numbers_say_their_range() {
        assert_eq!(number_within("16384", 16_384, 16_777_215), Ok(16_384_u32));
        let error = number_within("16383", 16_384_u32, 16_777_215).unwrap_err();
        assert_eq!(error.to_string(), "\"16383\" is not a number from 16384 to 16777215");
        for text in ["", "+", "16777216", "1e5", " 20000"] {
            assert!(number_within(text, 16_384_u32, 16_777_215).is_err(), "{text:?}");
        }
    }

    #[test]
    fn booleans_are_spelled_exactly() {
        assert_eq!((boolean("true"), boolean("false")), (Ok(true), Ok(false)));
        for text in ["", "True", "1", "yes", " true"] {
            assert!(boolean(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn there_are_at_most_two_listen_addresses() {
        assert_eq!(socket_addrs("127.0.0.1:4140,[::1]:4140").unwrap().len(), 2);
        for text in ["", "127.0.0.1", "::1:4140", "127.0.0.1:1,", "127.0.0.1:1, 127.0.0.1:2", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3"] {
            assert!(socket_addrs(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ips_are_not_trimmed() {
        assert_eq!(ips("10.0.0.1,::1").unwrap().len(), 2);
        for text in ["", "10.0.0.1, ::1", "10.0.0.1,", "10.0.0.0/8"] {
            assert!(ips(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn port_ranges_are_trimmed_and_may_have_empty_items() {
        let ports = port_ranges(" 25 ,587, 8000-8002,,").unwrap();
        assert_eq!(ports.to_string(), "25,587,8000-8002");
        assert!(ports.contains(8001) && !ports.contains(8003));
        assert_eq!(ports.ports().len(), 5);
        assert_eq!(port_ranges("").unwrap(), PortRanges::default());
        for text in ["2-1", "65536", "a", "1-", "-1", "1-2-3"] {
            assert!(port_ranges(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn suffixes_end_at_labels_and_the_root_holds_everything() {
        let suffixes = dns_suffixes("svc.cluster.local., Example.COM").unwrap();
        assert!(suffixes[0].contains("web.ns.SVC.cluster.local") && suffixes[0].contains("svc.cluster.local."));
        assert!(!suffixes[0].contains("xsvc.cluster.local") && !suffixes[0].contains("cluster.local"));
        assert!(suffixes[1].contains("a.example.com"));
        assert!(dns_suffixes(".").unwrap()[0].contains("anything"));
        assert!(dns_suffixes("").unwrap().is_empty());
        for text in ["a b", "..", ".com", "a..b", "*.x"] {
            assert!(dns_suffixes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_an_address_or_the_one_absolute_name() {
        for (text, loopback) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("localhost.:1", true), ("localhost:1", false), ("10.0.0.1:1", false)]
        {
            assert_eq!(is_loopback(&authority(text).unwrap()), loopback, "{text}");
        }
        for text in ["", "host", "host:", "host:0", "host:65536", "::1:80"] {
            assert!(authority(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn attributes_lose_their_quotes_and_bad_lines() {
        let want = [("app", "web"), ("x", "a=b")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(attributes("app=\"web\"\nnothing\n=v\n x = a=b \n"), want);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (boolean(&text), number::<u32>(&text), duration(&text), socket_addrs(&text), ips(&text), authority(&text));
            let _ = (port_ranges(&text), networks(&text), dns_suffixes(&text), attributes(&text));
        }

        #[test]
        fn ports_come_back_as_they_were_printed(pairs in proptest::collection::vec(any::<(u16, u16)>(), 0..6)) {
            let ranges = PortRanges(pairs.into_iter().map(|(a, b)| a.min(b)..=a.max(b)).collect());
            prop_assert_eq!(port_ranges(&ranges.to_string()), Ok(ranges));
        }

        #[test]
        fn every_number_of_milliseconds_is_a_duration(millis: u64) {
            prop_assert_eq!(duration(&format!("{millis}ms")), Ok(Duration::from_millis(millis)));
        }

        #[test]
        fn a_suffix_contains_itself_and_what_is_below(suffix in "[a-z]{1,5}(\\.[a-z]{1,5}){0,3}", head in "[a-z]{1,5}") {
            let parsed = &dns_suffixes(&suffix).unwrap()[0];
            let (below, beside) = (format!("{head}.{suffix}"), format!("{head}{suffix}"));
            prop_assert!(parsed.contains(&suffix) && parsed.contains(&below) && !parsed.contains(&beside));
        }
    }
}
