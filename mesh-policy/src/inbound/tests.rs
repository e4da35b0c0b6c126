use ::http::Request;

use meshkit_core::Cause;

use super::*;
use crate::authorization::TlsState;

const CLUSTER: &str = "10.0.0.0/8";

fn meshed(id: &str) -> Client {
    Client { ip: [10, 0, 0, 1].into(), tls: TlsState::Terminated { client_id: Some(id.parse().unwrap()) } }
}

fn plain(ip: [u8; 4]) -> Client {
    Client { ip: ip.into(), tls: TlsState::NoTls }
}

fn parts(path: &str) -> Parts {
    Request::builder().uri(path).body(()).unwrap().into_parts().0
}

fn default(name: &str) -> Policy {
    name.parse::<DefaultPolicy>().unwrap().policy(&[CLUSTER.parse().unwrap()], Duration::from_secs(10))
}

fn allows(policy: &Policy, client: &Client) -> bool {
    policy.route(&parts("/")).is_some_and(|found| policy.authorize_request(client, &found).is_ok())
}

#[test]
fn the_default_policies_admit_whom_their_names_say() {
    let (inside, outside) = (plain([10, 1, 1, 1]), plain([192, 168, 1, 1]));
    let web = meshed("web.ns");
    let table = [
        ("deny", [false, false, false]),
        ("audit", [true, true, true]),
        ("all-unauthenticated", [true, true, true]),
        ("all-authenticated", [false, false, true]),
        ("cluster-unauthenticated", [true, false, true]),
        ("cluster-authenticated", [false, false, true]),
    ];
    for (name, admitted) in table {
        let policy = default(name);
        let seen = [&inside, &outside, &web].map(|client| allows(&policy, client));
        assert_eq!(seen, admitted, "{name}");
        if name != "deny" {
            assert_eq!([&inside, &outside, &web].map(|client| policy.authorize_tcp(client).is_ok()), admitted, "{name}, TCP");
        }
    }
    assert!("allow".parse::<DefaultPolicy>().is_err());
}

#[test]
fn a_spiffe_client_is_not_just_any_identity() {
    assert!(!allows(&default("all-authenticated"), &meshed("spiffe://td/web")));
}

fn permit(name: &str, id: &str) -> Authorization {
    Authorization::new(Meta::builtin(name)).identities([id.parse().unwrap()])
}

fn http1(server: Vec<Authorization>, routes: Vec<(&str, Vec<Authorization>)>) -> Policy {
    let route = |(path, own): (&str, Vec<Authorization>)| Route {
        meta: Meta::builtin(path),
        hosts: Vec::new(),
        rules: vec![Rule {
            matches: vec![http::Match::prefix(path)],
            policy: RoutePolicy { authorizations: own.into(), filters: [].into() },
        }],
    };
    Policy {
        protocol: Protocol::Http1 { routes: routes.into_iter().map(route).collect(), rate_limit: None },
        server: Meta::builtin("server"),
        authorizations: server.into(),
    }
}

#[test]
fn a_route_adds_its_own_authorizations_to_the_servers() {
    let policy = http1(vec![permit("all", "web.ns")], vec![("/", vec![]), ("/admin", vec![permit("admin", "admin.ns")])]);
    let verdict = |client: &Client, path: &str| {
        let request = parts(path);
        let found = policy.route(&request).unwrap();
        policy.authorize_request(client, &found).map(|meta| meta.name().to_owned()).map_err(|denied| denied.to_string())
    };
    assert_eq!(verdict(&meshed("web.ns"), "/admin/x"), Ok("all".to_owned()));
    assert_eq!(verdict(&meshed("admin.ns"), "/admin"), Ok("admin".to_owned()));
    assert_eq!(
        verdict(&meshed("admin.ns"), "/").unwrap_err(),
        "client admin.ns is not authorized by default/server on default//; nearest is default/all: the client's identity is not listed"
    );
    assert!(verdict(&plain([10, 0, 0, 1]), "/").unwrap_err().contains("the connection is not mutual TLS"));
    assert!(policy.authorize_tcp(&meshed("web.ns")).is_err(), "an HTTP server admits no other bytes");
}

#[test]
fn nothing_is_allowed_where_nothing_is_said() {
    let policy = http1(vec![], vec![("/", vec![])]);
    let request = parts("/");
    let denied = policy.authorize_request(&plain([10, 0, 0, 1]), &policy.route(&request).unwrap()).unwrap_err();
    assert!(denied.is_unauthenticated());
    assert_eq!(
        denied.to_string(),
        "a client without an identity is not authorized by default/server on default//; it has no authorization"
    );
    assert!(http1(vec![], vec![]).route(&request).is_none());
}

#[test]
fn a_denied_connection_says_on_what_and_why() {
    let denied = default("all-authenticated").authorize_tcp(&plain([10, 0, 0, 1])).unwrap_err();
    assert_eq!(denied.nearest().unwrap().1, Mismatch::NotTls);
    assert_eq!(denied.server().name(), "all-authenticated");
    let error = denied.into_error();
    assert_eq!((error.cause(), error.to_string().as_str()), (&Cause::Denied, "unauthorized connection on default/all-authenticated"));
    let http_only = http1(vec![permit("all", "web.ns")], vec![]).authorize_tcp(&meshed("web.ns")).unwrap_err();
    assert!(http_only.to_string().ends_with("it admits nothing but HTTP requests"));
}

#[test]
fn the_first_authorization_that_matches_names_the_verdict() {
    let policy = http1(vec![permit("server", "web.ns")], vec![("/", vec![permit("one", "web.ns"), permit("two", "web.ns")])]);
    let request = parts("/");
    let found = policy.route(&request).unwrap();
    assert_eq!(policy.authorize_request(&meshed("web.ns"), &found).unwrap().name(), "one");
}

#[test]
fn a_client_that_needs_no_certificate_still_needs_tls() {
    let tls = permit("tls", "web.ns").tls();
    let policy = http1(vec![tls], vec![("/", vec![])]);
    assert!(allows(&policy, &Client { ip: [10, 0, 0, 1].into(), tls: TlsState::Terminated { client_id: None } }));
    assert!(allows(&policy, &meshed("web.ns")));
    assert!(!allows(&policy, &plain([10, 0, 0, 1])));
}

#[test]
fn what_is_not_understood_fails_requests_and_admits_nothing_else() {
    let policy = Policy::invalid("invalid policy: no", Duration::from_secs(10));
    let (request, client) = (parts("/"), plain([10, 0, 0, 1]));
    let found = policy.route(&request).unwrap();
    assert!(policy.authorize_request(&client, &found).is_ok());
    assert!(matches!(found, FoundRoute::Http(found) if matches!(&found.rule.policy.filters[..], [http::Filter::InternalError(_)])));
    assert!(policy.authorize_tcp(&client).is_err());
}

#[test]
fn the_names_of_the_default_policies_round_trip() {
    for policy in DefaultPolicy::ALL {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert!("Deny".parse::<DefaultPolicy>().unwrap_err().to_string().starts_with("\"Deny\" is not a default policy"));
}
