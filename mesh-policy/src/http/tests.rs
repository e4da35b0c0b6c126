use std::error::Error as _;

use ::http::{Request, Uri, uri::Scheme};
use proptest::prelude::*;

use super::*;
use crate::route::Regex;

fn parts(uri: &str) -> Parts {
    Request::builder().uri(uri).body(()).unwrap().into_parts().0
}

fn pairs(pairs: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
    pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn run(filter: Filter, request: &mut Parts, matched: Option<&Match>) -> Result<(), Error> {
    apply(&[filter], request, matched, &Dice::new(1))
}

/// Status and location of a redirect; `None` if the request passes.
fn redirected(redirect: Redirect, uri: &str, matched: &Match) -> Option<(u16, String)> {
    let error = run(Filter::Redirect(redirect), &mut parts(uri), Some(matched)).err()?;
    let Cause::Redirected(status) = error.cause() else { panic!("{error}") };
    let location = error.source().unwrap().downcast_ref::<Location>().unwrap();
    Some((status.as_u16(), location.0.to_str().unwrap().to_owned()))
}

#[test]
fn headers_are_added_then_set_then_removed() {
    let modifier = HeaderModifier {
        add: pairs(&[("x-add", "2"), ("x-set", "lost"), ("x-gone", "1")]),
        set: pairs(&[("x-set", "1"), ("x-gone", "2")]),
        remove: vec![HeaderName::from_static("x-gone")],
    };
    let mut headers: HeaderMap = pairs(&[("x-add", "1"), ("x-set", "old"), ("x-other", "kept")]).into_iter().collect();
    modifier.apply(&mut headers);
    let values = |name| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("x-add"), ["1", "2"]);
    assert_eq!(values("x-set"), ["1"]);
    assert_eq!(values("x-gone"), [""; 0]);
    assert_eq!(values("x-other"), ["kept"]);
}

#[test]
fn response_filters_leave_requests_alone_and_the_other_way_round() {
    let modifier = HeaderModifier { set: pairs(&[("x", "1")]), ..HeaderModifier::default() };
    let mut request = parts("/");
    run(Filter::ResponseHeaders(modifier.clone()), &mut request, None).unwrap();
    assert!(request.headers.is_empty());
    let mut response = HeaderMap::new();
    apply_response(&[Filter::RequestHeaders(modifier.clone())], &mut response);
    assert!(response.is_empty());
    apply_response(&[Filter::ResponseHeaders(modifier)], &mut response);
    assert_eq!(response["x"], "1");
}

#[test]
fn a_redirect_changes_what_it_names_and_nothing_else() {
    let host = |host: &str| Some(host.to_owned());
    let (http, https) = (|| Some(Scheme::HTTP), || Some(Scheme::HTTPS));
    let none = Redirect::default;
    let full = |path: &str| Some(PathModifier::Full(path.to_owned()));
    let table = [
        (none(), "http://a.b/foo", None),
        (Redirect { host: host("a.b"), ..none() }, "http://a.b/foo", None),
        (Redirect { host: host("c.d"), ..none() }, "http://a.b/foo?x=y&z", Some("http://c.d/foo?x=y&z")),
        (Redirect { host: host("c.d"), ..none() }, "http://a.b:8080/", Some("http://c.d:8080/")),
        (Redirect { host: host("c.d"), ..none() }, "http://a.b:80/", Some("http://c.d/")),
        (Redirect { host: host("c.d"), scheme: https(), ..none() }, "http://a.b:443/", Some("https://c.d/")),
        (Redirect { host: host("c.d"), port: Some(81), ..none() }, "http://a.b/", Some("http://c.d:81/")),
        // Without an authority, what is named is enough.
        (Redirect { host: host("c.d"), ..none() }, "/foo", Some("http://c.d/foo")),
        (Redirect { port: Some(8080), ..none() }, "http://a.b/foo?x", Some("http://a.b:8080/foo?x")),
        (Redirect { port: Some(80), ..none() }, "http://a.b:8080/", Some("http://a.b/")),
        (Redirect { port: Some(443), scheme: https(), ..none() }, "http://a.b:8080/", Some("https://a.b/")),
        (Redirect { port: Some(443), scheme: http(), ..none() }, "http://a.b/", Some("http://a.b:443/")),
        (Redirect { scheme: https(), ..none() }, "http://a.b/foo", Some("https://a.b/foo")),
        (Redirect { scheme: https(), ..none() }, "http://a.b:8080/foo", Some("https://a.b:8080/foo")),
        (Redirect { path: full("/bar"), ..none() }, "http://a.b/foo?x=y", Some("http://a.b/bar")),
        (Redirect { path: full("/b\u{e4}r"), ..none() }, "http://a.b/foo", Some("http://a.b/b%C3%A4r")),
        (Redirect { path: full("/bar?z"), ..none() }, "http://a.b/foo?x=y", Some("http://a.b/bar?z")),
    ];
    for (redirect, uri, expected) in table {
        let seen = redirected(redirect.clone(), uri, &Match::default());
        assert_eq!(seen, expected.map(|location| (301, location.to_owned())), "{redirect:?} of {uri}");
    }
    let found = Redirect { status: Some(StatusCode::FOUND), scheme: https(), ..none() };
    assert_eq!(redirected(found, "http://a.b/", &Match::default()), Some((302, "https://a.b/".to_owned())));
}

/// The table of the Gateway API's `HTTPPathModifier`, and the root as a prefix.
const PREFIXES: [(&str, &str, &str, &str); 15] = [
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"),
    ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "", "/bar"),
    ("/foo/", "/foo", "", "/"),
    ("/foo", "/foo", "", "/"),
    ("/foo/", "/foo", "/", "/"),
    ("/foo", "/foo", "/", "/"),
    ("/foo", "/", "/xyz", "/xyz/foo"),
    ("/", "/", "/xyz", "/xyz"),
    ("/foo//bar?x", "/foo", "/xyz", "/xyz//bar?x"),
    ("/foo/bar?x=/foo", "/foo", "/xyz", "/xyz/bar?x=/foo"),
];

#[test]
fn a_prefix_is_replaced_as_the_gateway_api_says() {
    for (path, old, new, expected) in PREFIXES {
        let (matched, path) = (Match::prefix(old), format!("http://a.b{path}"));
        let modifier = || Some(PathModifier::Prefix(new.to_owned()));
        let mut request = parts(&path);
        run(Filter::Rewrite(Rewrite { path: modifier(), host: None }), &mut request, Some(&matched)).unwrap();
        assert_eq!(request.uri.to_string(), format!("http://a.b{expected}"), "{path}: {old} by {new}");
        let location = redirected(Redirect { path: modifier(), ..Redirect::default() }, &path, &matched);
        assert_eq!(location.map(|(_, location)| location), (request.uri != parts(&path).uri).then(|| request.uri.to_string()));
    }
    let to = Redirect { path: Some(PathModifier::Prefix("/xyz".to_owned())), ..Redirect::default() };
    assert_eq!(redirected(to, "http://a.b/foo", &Match::default()).unwrap().1, "http://a.b/xyz/foo");
}

#[test]
fn a_redirect_that_cannot_be_built_is_an_error_of_the_policy() {
    let cause = |redirect, uri, path| {
        let matched = Match { path: Some(path), ..Match::default() };
        run(Filter::Redirect(redirect), &mut parts(uri), Some(&matched)).unwrap_err().cause().clone()
    };
    let root = || PathMatch::Prefix("/".to_owned());
    let path = |path: &str| Redirect { path: Some(PathModifier::Prefix(path.to_owned())), ..Redirect::default() };
    assert_eq!(cause(path("/x"), "http://a.b/foo", PathMatch::Exact("/foo".to_owned())), Cause::InvalidRedirect);
    assert_eq!(cause(path("/x"), "http://a.b/foo", PathMatch::Regex(Regex::new("/foo").unwrap())), Cause::InvalidRedirect);
    assert_eq!(cause(path("/x"), "/foo", root()), Cause::InvalidRedirect);
    assert_eq!(cause(path("x"), "http://a.b/foo", root()), Cause::InvalidRedirect);
    let full = Redirect { path: Some(PathModifier::Full(".evil.example".to_owned())), ..Redirect::default() };
    assert_eq!(cause(full, "http://a.b/foo", root()), Cause::InvalidRedirect);
    let host = Redirect { host: Some("not a host".to_owned()), ..Redirect::default() };
    assert_eq!(cause(host, "http://a.b/", root()), Cause::InvalidRedirect);
    assert_eq!(cause(path("/\n"), "http://a.b/", root()), Cause::InvalidRedirect);
}

#[test]
fn a_rewrite_changes_target_and_host_header_together() {
    let rewrite = Rewrite { host: Some("c.d:81".to_owned()), path: Some(PathModifier::Full("/bar".to_owned())) };
    let rewritten = |uri: &str, host: Option<&'static str>| {
        let mut request = parts(uri);
        request.headers.extend(host.map(|h| (::http::header::HOST, HeaderValue::from_static(h))));
        run(Filter::Rewrite(rewrite.clone()), &mut request, None).unwrap();
        let host = request.headers.get("host").map(|h| h.to_str().unwrap().to_owned());
        (request.uri.to_string(), host)
    };
    let new = || Some("c.d:81".to_owned());
    assert_eq!(rewritten("http://a.b/foo?x", None), ("http://c.d:81/bar?x".to_owned(), None));
    assert_eq!(rewritten("http://a.b/foo", Some("a.b")), ("http://c.d:81/bar".to_owned(), new()));
    assert_eq!(rewritten("/foo", Some("a.b")), ("/bar".to_owned(), new()));
    assert_eq!(rewritten("/foo", None), ("/bar".to_owned(), new()));
    let bad = Rewrite { host: Some("a b".to_owned()), path: None };
    assert_eq!(run(Filter::Rewrite(bad), &mut parts("/"), None).unwrap_err().cause(), &Cause::InvalidPolicy);
}

#[test]
fn a_failure_strikes_its_share_and_filters_after_it_do_not_run() {
    let fail = |share: Ratio| {
        let fail = FailureInjector { response: StatusCode::IM_A_TEAPOT, message: "planned".into(), share };
        let set = HeaderModifier { set: pairs(&[("x", "1")]), ..HeaderModifier::default() };
        [Filter::Fail(fail), Filter::RequestHeaders(set)]
    };
    let dice = Dice::new(3);
    let mut request = parts("/");
    let error = apply(&fail(Ratio::ONE), &mut request, None, &dice).unwrap_err();
    assert_eq!((error.cause(), error.to_string().as_str()), (&Cause::InjectedStatus(StatusCode::IM_A_TEAPOT), "planned"));
    assert!(request.headers.is_empty());
    let half = fail(Ratio::new(0.5).unwrap());
    let struck = (0..1000).filter(|_| apply(&half, &mut parts("/"), None, &dice).is_err()).count();
    assert!((420..580).contains(&struck), "{struck}");
    assert!(apply(&fail(Ratio::ZERO), &mut request, None, &dice).is_ok());
}

#[test]
fn a_policy_that_is_not_understood_fails_requests() {
    let error = run(Filter::InternalError("invalid policy: no".into()), &mut parts("/"), None).unwrap_err();
    assert_eq!((error.cause(), error.to_string().as_str()), (&Cause::InvalidPolicy, "invalid policy: no"));
}

proptest! {
    /// Hosts and paths come from a peer.
    #[test]
    fn whatever_a_redirect_or_rewrite_says_it_ends_in_a_uri_or_an_error(
        host in proptest::option::of(".{0,12}"),
        port in proptest::option::of(any::<u16>()),
        text in "(/|[a-z]|%|\\?|#| |.){0,10}",
        full in any::<bool>(),
        old in "/?[a-b]{0,2}/?",
        uri in "(http://[a-c]{1,2}(:80)?)?/([a-b]{0,2}/?){0,3}(\\?[a-b]{0,2})?",
    ) {
        let path = Some(if full { PathModifier::Full(text) } else { PathModifier::Prefix(text) });
        let matched = Match::prefix(&old);
        let redirect = Redirect { host: host.clone(), port, path: path.clone(), ..Redirect::default() };
        let redirect = run(Filter::Redirect(redirect), &mut parts(&uri), Some(&matched));
        if let Err(error) = redirect {
            match error.source().and_then(|e| e.downcast_ref::<Location>()) {
                Some(location) => prop_assert!(location.0.to_str().unwrap().parse::<Uri>().is_ok()),
                None => prop_assert_eq!(error.cause(), &Cause::InvalidRedirect),
            }
        }
        if let Err(error) = run(Filter::Rewrite(Rewrite { host, path }), &mut parts(&uri), Some(&matched)) {
            prop_assert_eq!(error.cause(), &Cause::InvalidPolicy);
        }
    }

    #[test]
    fn modified_headers_are_what_a_list_would_be(
        before in headers(), add in headers(), set in headers(), remove in proptest::collection::vec(name(), 0..3),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in &before {
            map.append(name, value.clone());
        }
        HeaderModifier { add: add.clone(), set: set.clone(), remove: remove.clone() }.apply(&mut map);
        let mut list = before;
        list.extend(add);
        for (name, value) in set {
            list.retain(|(n, _)| *n != name);
            list.push((name, value));
        }
        list.retain(|(n, _)| !remove.contains(n));
        for name in NAMES.map(HeaderName::from_static) {
            let expected: Vec<_> = list.iter().filter(|(n, _)| *n == name).map(|(_, v)| v).collect();
            prop_assert_eq!(map.get_all(&name).iter().collect::<Vec<_>>(), expected);
        }
    }
}

const NAMES: [&str; 3] = ["x-a", "x-b", "x-c"];

fn name() -> impl Strategy<Value = HeaderName> {
    proptest::sample::select(NAMES.to_vec()).prop_map(HeaderName::from_static)
}

fn headers() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let value = proptest::sample::select(vec!["1", "2", "3"]).prop_map(HeaderValue::from_static);
    proptest::collection::vec((name(), value), 0..4)
}
