use http::{header::HOST, request::Parts};

/// Which hosts are meant. Compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The two of the Gateway API.
pub enum HostMatch {
    /// This one.
    Exact(String),
    /// Everything below this domain: `example.com` stands for `*.example.com`.
    Suffix(String),
}

/// How specific a host match is: greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums)] // One for each way to match.
pub enum HostSpecificity {
    /// The route names no host.
    Any,
    /// By a suffix of this length.
    Suffix(usize),
    /// By the whole name of this length.
    Exact(usize),
}

/// The host that a request is for, without its port: from its target, else from its `host` header.
pub(super) fn requested(request: &Parts) -> Option<&str> {
    let from_header = || {
        let host = request.headers.get(HOST)?.to_str().ok()?;
        let host = match host.rsplit_once(':') {
            // An IPv6 address keeps its brackets, and may end in one.
            Some((host, port)) if !port.contains(']') => host,
            _ => host,
        };
        (!host.contains('@')).then_some(host)
    };
    request.uri.host().or_else(from_header)
}

/// The most specific of the matches; `None` if there are some and none matches.
pub(super) fn best(hosts: &[HostMatch], host: Option<&str>) -> Option<HostSpecificity> {
    if hosts.is_empty() {
        return Some(HostSpecificity::Any);
    }
    let host = host?;
    hosts.iter().filter_map(|m| m.matches(host)).max()
}

impl HostMatch {
    /// How specifically a host is meant; `None` if it is not.
    #[must_use]
    pub fn matches(&self, host: &str) -> Option<HostSpecificity> {
        match self {
            Self::Exact(name) => same(without_dot(host, name), name.as_bytes()).then_some(HostSpecificity::Exact(name.len())),
            // The domain above all.
            Self::Suffix(suffix) if suffix.is_empty() => Some(HostSpecificity::Suffix(0)),
            Self::Suffix(suffix) => {
                // By bytes: an offset may fall into the middle of a character.
                let host = without_dot(host, suffix);
                let dot = host.len().checked_sub(suffix.len() + 1)?;
                let below = dot > 0 && host[dot] == b'.' && same(&host[dot + 1..], suffix.as_bytes());
                below.then_some(HostSpecificity::Suffix(suffix.len()))
            }
        }
    }
}

/// The root's dot counts only where the pattern has it, too.
fn without_dot<'a>(host: &'a str, pattern: &str) -> &'a [u8] {
    match host.as_bytes() {
        [front @ .., b'.'] if pattern.as_bytes().last() != Some(&b'.') => front,
        whole => whole,
    }
}

/// Without regard to case. Nearly all names are lower case, and comparing those is one step.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one == other || one.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_whole_or_by_whole_labels_below() {
        let exact = HostMatch::Exact("Web.Example.com".to_owned());
        assert_eq!(exact.matches("web.example.COM."), Some(HostSpecificity::Exact(15)));
        assert_eq!(exact.matches("x.web.example.com"), None);
        let suffix = HostMatch::Suffix("example.com".to_owned());
        assert_eq!(suffix.matches("a.b.example.com"), Some(HostSpecificity::Suffix(11)));
        for host in ["example.com", ".example.com", "anexample.com", "äxample.com", ""] {
            assert_eq!(suffix.matches(host), None, "{host:?}");
        }
    }

    #[test]
    fn the_header_stands_in_for_a_target_without_a_host() {
        let host = |uri: &str, header: &str| {
            let request = http::Request::get(uri).header(HOST, header).body(()).unwrap().into_parts().0;
            requested(&request).map(str::to_owned)
        };
        assert_eq!(host("/", "web.example.com:8080").as_deref(), Some("web.example.com"));
        assert_eq!(host("/", "web.example.com").as_deref(), Some("web.example.com"));
        assert_eq!(host("/", "[::1]:80").as_deref(), Some("[::1]"));
        assert_eq!(host("/", "[::1]").as_deref(), Some("[::1]"));
        assert_eq!(host("/", "user@web.example.com"), None);
        assert_eq!(host("http://a.b:1/", "c.d").as_deref(), Some("a.b"));
    }
}
