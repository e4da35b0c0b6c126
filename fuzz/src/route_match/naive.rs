use http::{Method, header::HOST, request::Parts};
use meshkit_policy::{
    grpc,
    http::Match,
    route::{HeaderMatch, HostMatch, PathMatch, QueryMatch, Regex, Route, ValueMatch},
};

/// An expression, and what it means that its leftmost match is the whole text.
type Expression = (&'static str, fn(&str) -> bool);

pub(super) const REGEXES: [Expression; 7] = [
    (".*", |text| !text.contains('\n')),
    ("", str::is_empty),
    ("a|ab", |text| text == "a"),
    ("/a(/.*)?", |text| text == "/a" || (text.starts_with("/a/") && !text.contains('\n'))),
    ("/.*", |text| text.starts_with('/') && !text.contains('\n')),
    ("[0-9]+", |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())),
    ("a.b", |text| text.strip_prefix('a').and_then(|t| t.strip_suffix('b')).is_some_and(|t| t.chars().count() == 1 && t != "\n")),
];

/// Compared from left to right.
type Rank = [usize; 4];

/// The policy of the rule whose best match ranks highest; of equals, the first one's.
pub(super) fn find<M>(routes: &[Route<M, usize>], request: &Parts, rank: fn(Option<&M>, &Parts) -> Option<Rank>) -> Option<usize> {
    let mut all = Vec::new();
    for route in routes {
        let Some(host) = host_rank(&route.hosts, request) else { continue };
        for rule in &route.rules {
            let implied = rule.matches.is_empty().then_some(None);
            let ranks = rule.matches.iter().map(Some).chain(implied).filter_map(|m| rank(m, request));
            all.extend(ranks.map(|rank| (host, rank, rule.policy)));
        }
    }
    let best = all.iter().map(|(host, rank, _)| (*host, *rank)).max()?;
    all.iter().find(|(host, rank, _)| (*host, *rank) == best).map(|(_, _, policy)| *policy)
}

/// By path, headers, query, method.
pub(super) fn http(rule: Option<&Match>, request: &Parts) -> Option<Rank> {
    let Some(m) = rule else { return Some([1, 0, 0, 0]) };
    let path = m.path.as_ref().map_or(Some(1), |path| path_len(path, request.uri.path()))?;
    let pairs = parameters(request.uri.query().unwrap_or_default().as_bytes());
    let holds = m.headers.iter().all(|h| header(h, request))
        && m.query.iter().all(|q| parameter(q, &pairs))
        && m.method.as_ref().is_none_or(|method| *method == request.method);
    holds.then_some([path, m.headers.len(), m.query.len(), usize::from(m.method.is_some())])
}

/// By service, method, headers. A call is a POST to a path of at least two segments.
pub(super) fn grpc(rule: Option<&grpc::Match>, request: &Parts) -> Option<Rank> {
    let Some(m) = rule else { return Some([0; 4]) };
    let segments: Vec<_> = request.uri.path().split('/').collect();
    let [front, service, method, ..] = segments.as_slice() else { return None };
    let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let holds = request.method == Method::POST
        && front.is_empty()
        && same(&m.service, service)
        && same(&m.method, method)
        && m.headers.iter().all(|h| header(h, request));
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    holds.then_some([len(&m.service), len(&m.method), m.headers.len(), 0])
}

fn host_rank(hosts: &[HostMatch], request: &Parts) -> Option<(u8, usize)> {
    if hosts.is_empty() {
        return Some((0, 0));
    }
    let requested = match request.uri.host() {
        Some(host) => host.to_owned(),
        None => {
            let header = request.headers.get(HOST)?.to_str().ok()?;
            // The port is behind the last colon, unless that is one of an IPv6 address.
            let colon = header.rfind(':').filter(|colon| !header[*colon..].contains(']'));
            let host = &header[..colon.unwrap_or(header.len())];
            // A user is no part of it.
            (!host.contains('@')).then(|| host.to_owned())?
        }
    };
    let one = |host: &HostMatch| {
        let (HostMatch::Exact(pattern) | HostMatch::Suffix(pattern)) = host;
        let (mut requested, pattern) = (requested.to_ascii_lowercase(), pattern.to_ascii_lowercase());
        if let HostMatch::Suffix(_) = host
            && pattern.is_empty()
        {
            return Some((1, 0));
        }
        if requested.ends_with('.') && !pattern.ends_with('.') {
            requested.pop();
        }
        match host {
            HostMatch::Exact(_) => (requested == pattern).then_some((2, pattern.len())),
            HostMatch::Suffix(_) => {
                let above = requested.strip_suffix(&pattern)?.strip_suffix('.')?;
                (!above.is_empty()).then_some((1, pattern.len()))
            }
        }
    };
    hosts.iter().filter_map(one).max()
}

fn spans(regex: &Regex, text: &str) -> bool {
    REGEXES.iter().any(|(pattern, spans)| *pattern == regex.as_str() && spans(text))
}

fn path_len(path: &PathMatch, requested: &str) -> Option<usize> {
    match path {
        PathMatch::Exact(path) => (requested == path).then_some(path.len()),
        PathMatch::Prefix(path) if path == "/" => Some(1),
        PathMatch::Prefix(path) => {
            let path = path.trim_end_matches('/');
            format!("{requested}/").starts_with(&format!("{path}/")).then_some(path.len())
        }
        PathMatch::Regex(regex) => spans(regex, requested).then_some(requested.len()),
    }
}

fn header(wanted: &HeaderMatch, request: &Parts) -> bool {
    let values = request.headers.iter().filter(|(name, _)| **name == wanted.name).map(|(_, value)| value.as_bytes());
    // A tab is not visible, and still allowed.
    let text = |value: &[u8]| value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~')).then(|| String::from_utf8_lossy(value).into_owned());
    values.into_iter().any(|value| match &wanted.value {
        ValueMatch::Exact(exact) => exact == value,
        ValueMatch::Regex(regex) => text(value).is_some_and(|text| spans(regex, &text)),
    })
}

fn parameter(wanted: &QueryMatch, pairs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    pairs.iter().filter(|(name, _)| name == wanted.name.as_bytes()).any(|(_, value)| match &wanted.value {
        ValueMatch::Exact(exact) => exact == value,
        ValueMatch::Regex(regex) => spans(regex, &String::from_utf8_lossy(value)),
    })
}

fn parameters(query: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |pair: &[u8]| {
        let equals = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        (decoded(&pair[..equals]), decoded(pair.get(equals + 1..).unwrap_or_default()))
    };
    query.split(|b| *b == b'&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let code = text.get(at + 1..at + 3).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (text[at], code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                at += 2;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(other),
        }
        at += 1;
    }
    bytes
}
