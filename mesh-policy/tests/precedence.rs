//! Which of two rules a request takes: the compatibility table, as data.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use http::{HeaderName, Method, Request, request::Parts};
use meshkit_policy::{
    Meta, grpc, http as policy,
    route::{HeaderMatch, HostMatch, PathMatch, QueryMatch, Regex, Route, Rule, ValueMatch, find},
};

/// A rule in a word: `host GET /path* h2 q1`. A path ends in `*` if it is a prefix and begins with `~` if it is a regular expression; `*.` begins
/// a suffix of hosts; `h2` are two header conditions, `q1` is one on the query, `-` is a rule without matches.
fn rule(word: &str) -> Route<policy::Match, String> {
    let mut matched = policy::Match::default();
    let (mut hosts, mut none) = (Vec::new(), false);
    for part in word.split(' ') {
        match part {
            "-" => none = true,
            "GET" => matched.method = Some(Method::GET),
            "h1" | "h2" => {
                let count = usize::from(part == "h2") + 1;
                matched.headers = ["x-one", "x-two"][..count].iter().map(|name| header(name)).collect();
            }
            "q1" | "q2" => {
                let count = usize::from(part == "q2") + 1;
                matched.query = ["one", "two"][..count].iter().map(|name| query(name)).collect();
            }
            path if path.starts_with('/') => {
                matched.path = Some(match path.strip_suffix('*') {
                    Some(prefix) => PathMatch::Prefix(prefix.to_owned()),
                    None => PathMatch::Exact(path.to_owned()),
                });
            }
            regex if regex.starts_with('~') => matched.path = Some(PathMatch::Regex(Regex::new(&regex[1..]).unwrap())),
            host => hosts.push(match host.strip_prefix("*.") {
                Some(suffix) => HostMatch::Suffix(suffix.to_owned()),
                None => HostMatch::Exact(host.to_owned()),
            }),
        }
    }
    let matches = if none { Vec::new() } else { vec![matched] };
    Route { meta: Meta::builtin(word), hosts, rules: vec![Rule { matches, policy: word.to_owned() }] }
}

fn header(name: &'static str) -> HeaderMatch {
    HeaderMatch { name: HeaderName::from_static(name), value: ValueMatch::Exact(b"1".to_vec()) }
}

fn query(name: &str) -> QueryMatch {
    QueryMatch { name: name.to_owned(), value: ValueMatch::Exact(b"1".to_vec()) }
}

/// A request that every rule of the table matches.
fn request() -> Parts {
    let request = Request::get("http://web.example.com/foo/bar?one=1&two=1").header("x-one", "1").header("x-two", "1");
    request.body(()).unwrap().into_parts().0
}

/// Who wins, and over whom, whatever their order in the list.
const BETTER: [(&str, &str); 20] = [
    // Hosts first, whatever the path.
    ("web.example.com /*", "*.example.com /foo/bar"),
    ("*.example.com /*", "/foo/bar h2"),
    ("*.example.com /*", "*.com /foo/bar"),
    ("WEB.EXAMPLE.COM /*", "*.example.com /*"),
    // Then the path's length, whatever its kind.
    ("/foo/bar", "/foo* GET h2 q2"),
    ("/foo/bar*", "/foo* GET h2 q2"),
    ("~/.*", "/foo* h2"),
    ("~/foo/b.*", "/foo*"),
    ("/foo*", "-"),
    ("/foo*", "/* h2"),
    // A match without a path is as good as the prefix `/`: what follows decides.
    ("GET", "/*"),
    ("h1", "/* GET"),
    ("GET", "-"),
    // Then headers, then the query, then the method.
    ("/foo* h2", "/foo* h1 q2 GET"),
    ("/foo* h1", "/foo* q2 GET"),
    ("/foo* q2", "/foo* q1 GET"),
    ("/foo* q1", "/foo* GET"),
    ("/foo* GET", "/foo*"),
    ("/foo/bar GET", "/foo/bar"),
    ("/foo/bar* h1", "/foo/bar GET"),
];

/// Whoever comes first wins.
const EQUAL: [(&str, &str); 7] = [
    // The kind of a path does not count: peers of the compatible system do not look at it.
    ("/foo/bar", "/foo/bar*"),
    ("/foo/bar", "~/foo/bar"),
    ("/foo/bar*", "~/.*"),
    ("/foo*", "/foo/*"),
    ("-", "/*"),
    ("*.example.com", "*.EXAMPLE.com"),
    ("h1 q1 GET /*", "h1 q1 GET"),
];

fn taken(first: &str, second: &str) -> String {
    let routes = [rule(first), rule(second)];
    find(&routes, &request()).unwrap().rule.policy.clone()
}

#[test]
fn the_more_specific_rule_is_taken_wherever_it_stands() {
    for (better, worse) in BETTER {
        assert_eq!(taken(better, worse), better, "before {worse}");
        assert_eq!(taken(worse, better), better, "after {worse}");
    }
}

#[test]
fn of_equally_specific_rules_the_first_is_taken() {
    for (one, other) in EQUAL {
        assert_eq!(taken(one, other), one);
        assert_eq!(taken(other, one), other);
    }
}

#[test]
fn within_a_rule_the_most_specific_match_counts() {
    let mut wide = rule("/foo*");
    wide.rules[0].matches.push(rule("/foo/bar").rules[0].matches[0].clone());
    let routes = [rule("/foo/ba*"), rule("/foo* h2"), wide];
    let request = request();
    let found = find(&routes, &request).unwrap();
    assert_eq!(found.route.meta.name(), "/foo*");
    assert_eq!(found.matched.unwrap().path, Some(PathMatch::Exact("/foo/bar".to_owned())));
}

#[test]
fn a_request_that_nothing_matches_takes_no_route() {
    let routes = [rule("other.com"), rule("/bar*"), rule("/foo"), rule("~/fo")];
    assert!(find(&routes, &request()).is_none());
    assert!(find::<policy::Match, ()>(&[], &request()).is_none());
}

#[test]
fn calls_take_the_longer_service_then_the_longer_method_then_more_headers() {
    let rule = |service: Option<&str>, method: Option<&str>, headers: usize| {
        let headers = ["x-one", "x-two"][..headers].iter().map(|name| header(name)).collect();
        let matches = vec![grpc::Match { service: service.map(str::to_owned), method: method.map(str::to_owned), headers }];
        Route { meta: Meta::builtin("route"), hosts: vec![], rules: vec![Rule { matches, policy: () }] }
    };
    // From the best to the worst.
    let ranks = [
        rule(Some("a.B"), Some("Find"), 1),
        rule(Some("a.B"), Some("Find"), 0),
        rule(Some("a.B"), None, 2),
        rule(Some("a.B"), None, 0),
        rule(None, Some("Find"), 2),
        rule(None, Some("Find"), 0),
        rule(None, None, 1),
        rule(None, None, 0),
    ];
    let call = Request::post("http://web/a.B/Find").header("x-one", "1").header("x-two", "1").body(()).unwrap().into_parts().0;
    for better in 0..ranks.len() {
        for worse in better + 1..ranks.len() {
            let routes = [ranks[worse].clone(), ranks[better].clone()];
            assert!(std::ptr::eq(find(&routes, &call).unwrap().route, &routes[1]), "{better} against {worse}");
        }
    }
}
