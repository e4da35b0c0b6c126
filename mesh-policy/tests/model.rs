//! The route matcher against a naive model: every rule is asked, everything is decoded and copied, and the answers are sorted.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use http::{HeaderName, Method, Request, request::Parts};
use meshkit_policy::{
    Meta,
    http::Match,
    route::{HeaderMatch, HostMatch, PathMatch, QueryMatch, Regex, Route, Rule, ValueMatch, find},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

type Routes = Vec<Route<Match, usize>>;

fn hosts() -> impl Strategy<Value = HostMatch> {
    let names = || select(vec!["a.b.c", "b.c", "c", "A.B.c", "x.b.c", "a.b.c."]).prop_map(str::to_owned);
    prop_oneof![names().prop_map(HostMatch::Exact), names().prop_map(HostMatch::Suffix)]
}

fn paths() -> impl Strategy<Value = PathMatch> {
    let path = || select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a//b", "/a/b/c"]).prop_map(str::to_owned);
    let regex = select(vec!["/a(/.*)?", "/.*", "/(a|ab)", "/[ab]", "a", ""]).prop_map(|p| Regex::new(p).unwrap());
    prop_oneof![path().prop_map(PathMatch::Exact), path().prop_map(PathMatch::Prefix), regex.prop_map(PathMatch::Regex)]
}

fn values() -> impl Strategy<Value = ValueMatch> {
    let exact = select(vec!["", "1", "2", "a b", "a+b", "%", "ä"]).prop_map(|v| ValueMatch::Exact(v.as_bytes().to_vec()));
    let regex = select(vec![".*", "1|12", "[0-9]+", "a.b"]).prop_map(|p| ValueMatch::Regex(Regex::new(p).unwrap()));
    prop_oneof![exact, regex]
}

fn matches() -> impl Strategy<Value = Match> {
    let header = (select(vec!["x-a", "x-b"]), values()).prop_map(|(n, value)| HeaderMatch { name: HeaderName::from_static(n), value });
    let query = (select(vec!["a", "b", "a b"]), values()).prop_map(|(name, value)| QueryMatch { name: name.to_owned(), value });
    let method = option::of(select(vec![Method::GET, Method::POST]));
    (option::of(paths()), vec(header, 0..2), vec(query, 0..2), method).prop_map(|(path, headers, query, method)| Match {
        path,
        headers,
        query,
        method,
    })
}

fn routes() -> impl Strategy<Value = Routes> {
    let route = (vec(hosts(), 0..3), vec(vec(matches(), 0..3), 0..3));
    vec(route, 0..6).prop_map(|routes| {
        let mut n = 0;
        let mut rule = |matches| {
            n += 1;
            Rule { matches, policy: n }
        };
        let mut route =
            |(hosts, rules): (_, Vec<_>)| Route { meta: Meta::builtin("r"), hosts, rules: rules.into_iter().map(&mut rule).collect() };
        routes.into_iter().map(&mut route).collect()
    })
}

fn requests() -> impl Strategy<Value = Parts> {
    let host = select(vec!["http://a.b.c", "http://A.b.C:80", "http://b.c.", "http://x.y.b.c", ""]);
    let path = select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/a//b", "/a/b/c/d", "/abc"]);
    let query = select(vec!["", "?a=1", "?a=12&b=2", "?a+b=a%20b&b=%", "?a=&a=2", "?b=%c3%a4&a", "?&&", "?a=a%2Bb"]);
    let header = (select(vec!["x-a", "x-b"]), select(vec!["", "1", "12", "2", "a b", "ä"]));
    let method = select(vec![Method::GET, Method::POST, Method::HEAD]);
    (host, path, query, vec(header, 0..3), method, any::<bool>()).prop_map(|(host, path, query, headers, method, named)| {
        let mut request = Request::builder().method(method).uri(format!("{host}{path}{query}"));
        for (name, value) in headers {
            request = request.header(name, value.as_bytes());
        }
        if named {
            request = request.header("host", "a.b.c:8080");
        }
        request.body(()).unwrap().into_parts().0
    })
}

/// What follows is the reference's text, sentence by sentence.
mod naive {
    use super::*;

    pub(super) type Rank = (u8, usize, usize, usize, usize, bool);

    fn host(hosts: &[HostMatch], request: &Parts) -> Option<(u8, usize)> {
        if hosts.is_empty() {
            return Some((0, 0));
        }
        let header = request.headers.get("host").map(|h| h.to_str().unwrap().split(':').next().unwrap());
        let requested = request.uri.host().or(header)?.to_lowercase();
        let one = |host: &HostMatch| {
            let (HostMatch::Exact(pattern) | HostMatch::Suffix(pattern)) = host;
            let pattern = pattern.to_lowercase();
            let requested = if pattern.ends_with('.') { requested.clone() } else { requested.trim_end_matches('.').to_owned() };
            match host {
                HostMatch::Exact(_) => (requested == pattern).then_some((2, pattern.len())),
                HostMatch::Suffix(_) => requested.ends_with(&format!(".{pattern}")).then_some((1, pattern.len())),
            }
        };
        hosts.iter().filter_map(one).max()
    }

    fn spans(regex: &Regex, text: &str) -> bool {
        let found = regex::Regex::new(regex.as_str()).unwrap().find(text).map(|m| m.as_str().len());
        found == Some(text.len())
    }

    fn path(path: &PathMatch, request: &Parts) -> Option<usize> {
        let requested = request.uri.path();
        match path {
            PathMatch::Exact(path) => (requested == path).then_some(path.len()),
            PathMatch::Prefix(path) if path == "/" => Some(1),
            PathMatch::Prefix(path) => {
                let path = path.trim_end_matches('/');
                (format!("{requested}/").starts_with(&format!("{path}/"))).then_some(path.len())
            }
            PathMatch::Regex(regex) => spans(regex, requested).then_some(requested.len()),
        }
    }

    fn value(pattern: &ValueMatch, value: &[u8], text: Option<&str>) -> bool {
        match pattern {
            ValueMatch::Exact(exact) => exact == value,
            ValueMatch::Regex(regex) => text.is_some_and(|text| spans(regex, text)),
        }
    }

    fn decode(text: &str) -> String {
        let mut bytes = Vec::new();
        let text = text.replace('+', " ");
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let code = rest.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
            match (first, code) {
                ('%', Some(code)) => {
                    bytes.push(code);
                    rest = &rest[3..];
                }
                _ => {
                    bytes.extend(first.to_string().bytes());
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    fn rank(m: &Match, request: &Parts) -> Option<(usize, usize, usize, bool)> {
        let headers: Vec<_> = request.headers.iter().collect();
        let query = request.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query: Vec<_> = query.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decode(n), decode(v))).collect();
        let header = |h: &HeaderMatch| headers.iter().any(|(n, v)| **n == h.name && value(&h.value, v.as_bytes(), v.to_str().ok()));
        let parameter = |q: &QueryMatch| query.iter().any(|(n, v)| *n == q.name && value(&q.value, v.as_bytes(), Some(v)));
        let holds = m.method.as_ref().is_none_or(|method| request.method == *method)
            && m.headers.iter().all(header)
            && m.query.iter().all(parameter);
        let path = m.path.as_ref().map_or(Some(1), |p| path(p, request))?;
        holds.then_some((path, m.headers.len(), m.query.len(), m.method.is_some()))
    }

    pub(super) fn find(routes: &Routes, request: &Parts) -> Option<(usize, Rank)> {
        let mut all = Vec::new();
        for route in routes {
            let Some((kind, len)) = host(&route.hosts, request) else { continue };
            for rule in &route.rules {
                let implied = rule.matches.is_empty().then_some((1, 0, 0, false));
                for (path, headers, query, method) in rule.matches.iter().filter_map(|m| rank(m, request)).chain(implied) {
                    all.push((rule.policy, (kind, len, path, headers, query, method)));
                }
            }
        }
        // Stable: of equals, the first stays in front.
        all.sort_by(|(_, one), (_, other)| other.cmp(one));
        all.first().copied()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_matcher_takes_the_rule_that_the_model_takes(routes in routes(), request in requests()) {
        let taken = find(&routes, &request).map(|found| found.rule.policy);
        let expected = naive::find(&routes, &request);
        prop_assert_eq!(taken, expected.map(|(rule, _)| rule), "{:?}", expected);
    }
}
