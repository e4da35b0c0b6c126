use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

/// The host half of an [`Authority`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums)] // RFC 3986 section 3.2.2 knows no third kind that a mesh could dial.
pub enum Host {
    /// A registered name, lower-cased, as given otherwise (a trailing dot is kept).
    Name(Arc<str>),
    /// An IP address; brackets of IPv6 are not part of it.
    Ip(IpAddr),
}

/// A host and a port: what a client asked to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    host: Host,
    port: u16,
}

/// The text is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAuthority(String);

impl Authority {
    /// Joins a host and a port.
    #[must_use]
    pub const fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Parses `host[:port]`; without a port, `default_port` stands in.
    ///
    /// # Errors
    /// The host is empty or holds a character that no name has, or the port is not in `1..=65535`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, InvalidAuthority> {
        let invalid = || InvalidAuthority(text.chars().take(300).collect());
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, tail) = rest.split_once(']').ok_or_else(invalid)?;
            let ip: Ipv6Addr = host.parse().map_err(|_| invalid())?;
            let port = match tail {
                "" => None,
                _ => Some(tail.strip_prefix(':').ok_or_else(invalid)?),
            };
            (Host::Ip(ip.into()), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            (Self::host_of(host).ok_or_else(invalid)?, port)
        };
        let port = match port {
            None => default_port,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().filter(|p| *p != 0).ok_or_else(invalid)?,
            Some(_) => return Err(invalid()),
        };
        Ok(Self { host, port })
    }

    fn host_of(text: &str) -> Option<Host> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Host::Ip(ip));
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits = !text.is_empty() && text.len() <= 254 && text != "." && text.bytes().all(legal);
        fits.then(|| Host::Name(text.to_ascii_lowercase().into()))
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The name, unless the host is an IP address.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Ip(_) => None,
        }
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The socket address, if the host is an IP address.
    #[must_use]
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl From<SocketAddr> for Authority {
    fn from(addr: SocketAddr) -> Self {
        Self { host: Host::Ip(addr.ip()), port: addr.port() }
    }
}

impl FromStr for Authority {
    type Err = InvalidAuthority;

    /// Requires a port; see [`Authority::parse`] for a default.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority = Self::parse(text, 0)?;
        if authority.port == 0 {
            return Err(InvalidAuthority(text.chars().take(300).collect()));
        }
        Ok(authority)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
        }
    }
}

impl fmt::Display for InvalidAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an authority: expected host:port", self.0)
    }
}

impl std::error::Error for InvalidAuthority {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_addresses_parse() {
        let web: Authority = "Web-svc.emojivoto:80".parse().unwrap();
        assert_eq!((web.name(), web.port()), (Some("web-svc.emojivoto"), 80));
        let six: Authority = "[::1]:4143".parse().unwrap();
        assert_eq!(six.socket_addr(), Some("[::1]:4143".parse().unwrap()));
        assert_eq!(Authority::parse("10.1.2.3", 80).unwrap().to_string(), "10.1.2.3:80");
    }

    #[test]
    fn malformed_authorities_are_refused() {
        for bad in ["", ":80", "a:", "a:0", "a:65536", "a:+1", "a:b:1", "[::1", "[::1]80", "::1", "a b:1", "a/b:1", ".:1"] {
            assert!(bad.parse::<Authority>().is_err(), "{bad:?}");
        }
        assert!("web".parse::<Authority>().is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in ".{0,60}") {
            if let Ok(authority) = text.parse::<Authority>() {
                prop_assert_eq!(authority.to_string().parse::<Authority>(), Ok(authority));
            }
        }
    }
}
