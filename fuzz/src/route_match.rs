//! The route that a request takes, against a naive model: every rule is asked, everything is decoded and copied, and the answers are sorted.

mod naive;

use http::{HeaderName, HeaderValue, Method, Request, header::HOST, request::Parts};
use meshkit_policy::{
    Meta, grpc,
    http::Match,
    route::{self, HeaderMatch, HostMatch, PathMatch, QueryMatch, Regex, Route, Rule, ValueMatch},
};

use crate::{Input, Verdict};

const HOSTS: [&str; 7] = ["a.b.c", "b.c", "c", "A.B.c", "x.b.c", "a.b.c.", ""];
const PATHS: [&str; 9] = ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a//b", "/a/b/c", "*"];
const VALUES: [&str; 7] = ["", "1", "2", "a b", "a+b", "%", "\u{e4}"];
const NAMES: [&str; 2] = ["x-a", "x-b"];
const PARAMETERS: [&str; 3] = ["a", "b", "a b"];
const SERVICES: [&str; 3] = ["emojivoto.v1.VotingService", "a", ""];
/// Routes, rules of each and matches of each: more say nothing new.
const MOST: usize = 4;

/// Routes, then a request. The rule that is taken must be the one that the model takes.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let expected = if input.flag() {
        let routes = routes(&mut input, http_match);
        let Some(request) = request(&mut input) else { return Verdict::Refused };
        let taken = route::find(&routes, &request).map(|found| found.rule.policy);
        let expected = naive::find(&routes, &request, naive::http);
        assert_eq!(taken, expected, "{routes:?} {request:?}");
        expected
    } else {
        let routes = routes(&mut input, grpc_match);
        let Some(request) = request(&mut input) else { return Verdict::Refused };
        let taken = route::find(&routes, &request).map(|found| found.rule.policy);
        let expected = naive::find(&routes, &request, naive::grpc);
        assert_eq!(taken, expected, "{routes:?} {request:?}");
        expected
    };
    Verdict::when(expected.is_some())
}

fn routes<M>(input: &mut Input<'_>, one: fn(&mut Input<'_>) -> M) -> Vec<Route<M, usize>> {
    let mut count = 0;
    let mut rule = |input: &mut Input<'_>| {
        count += 1;
        Rule { matches: (0..input.below(MOST)).map(|_| one(input)).collect(), policy: count }
    };
    (0..input.below(MOST))
        .map(|_| {
            let hosts = (0..input.below(MOST)).map(|_| host(input)).collect();
            let rules = (0..input.below(MOST)).map(|_| rule(input)).collect();
            Route { meta: Meta::builtin("r"), hosts, rules }
        })
        .collect()
}

fn text(input: &mut Input<'_>, known: &[&str]) -> String {
    // The last choice is free.
    match input.below(known.len() + 1) {
        free if free == known.len() => input.text(),
        choice => known[choice].to_owned(),
    }
}

fn host(input: &mut Input<'_>) -> HostMatch {
    let exact = input.flag();
    let name = text(input, &HOSTS);
    if exact { HostMatch::Exact(name) } else { HostMatch::Suffix(name) }
}

fn regex(input: &mut Input<'_>) -> Regex {
    thread_local! {
        // To compile them takes a hundred times as long as all the rest.
        static COMPILED: Vec<Regex> = naive::REGEXES.iter().map(|(pattern, _)| Regex::new(pattern).expect("a pattern of ours")).collect();
    }
    COMPILED.with(|compiled| compiled[input.below(compiled.len())].clone())
}

fn value(input: &mut Input<'_>) -> ValueMatch {
    if input.flag() { ValueMatch::Regex(regex(input)) } else { ValueMatch::Exact(text(input, &VALUES).into_bytes()) }
}

fn headers(input: &mut Input<'_>) -> Vec<HeaderMatch> {
    let header = |input: &mut Input<'_>| HeaderMatch { name: HeaderName::from_static(input.pick(&NAMES)), value: value(input) };
    (0..input.below(MOST - 1)).map(|_| header(input)).collect()
}

fn http_match(input: &mut Input<'_>) -> Match {
    let path = match input.below(4) {
        0 => None,
        1 => Some(PathMatch::Exact(text(input, &PATHS))),
        2 => Some(PathMatch::Prefix(text(input, &PATHS))),
        _ => Some(PathMatch::Regex(regex(input))),
    };
    let headers = headers(input);
    let query = (0..input.below(MOST - 1)).map(|_| QueryMatch { name: text(input, &PARAMETERS), value: value(input) }).collect();
    Match { path, headers, query, method: input.pick(&[None, Some(&Method::GET), Some(&Method::POST)]).cloned() }
}

fn grpc_match(input: &mut Input<'_>) -> grpc::Match {
    let service = input.flag().then(|| text(input, &SERVICES));
    let method = input.flag().then(|| text(input, &["Vote", ""]));
    grpc::Match { service, method, headers: headers(input) }
}

fn request(input: &mut Input<'_>) -> Option<Parts> {
    let method = input.pick(&[&Method::POST, &Method::GET, &Method::HEAD]).clone();
    let host = input.pick(&["", "http://a.b.c", "http://A.b.C:80", "http://b.c.", "http://x.y.b.c"]);
    let path = if input.flag() { format!("/{}", text(input, &SERVICES[..2])) } else { text(input, &PATHS) };
    let query = text(input, &["", "?a=1", "?a=12&b=2", "?a+b=a%20b&b=%", "?a=&a=2", "?b=%c3%a4&a", "?&&", "?a=a%2Bb"]);
    let mut request = Request::builder().method(method).uri(format!("{host}{path}{query}"));
    for _ in 0..input.below(MOST) {
        let name = HeaderName::from_static(input.pick(&NAMES));
        request = request.header(name, HeaderValue::from_bytes(text(input, &VALUES).as_bytes()).ok()?);
    }
    if !input.is_empty() {
        request = request.header(HOST, HeaderValue::from_bytes(input.rest()).ok()?);
    }
    Some(request.body(()).ok()?.into_parts().0)
}
