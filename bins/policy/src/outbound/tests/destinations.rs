use super::*;
use crate::outbound::{Destination, tls::Filter};

#[test]
fn a_name_is_a_services_whether_there_is_one_or_not() {
    let table = [
        ("web.ns.svc.cluster.local:80", Ok(("web", 80))),
        ("web.ns.svc.cluster.local", Ok(("web", 80))),
        ("web.ns.svc.cluster.local.:80", Ok(("web", 80))),
        ("web.ns.svc:8080", Ok(("web", 8080))),
        ("web.ns.svc.elsewhere.example:80", Ok(("web", 80))),
        ("web.ns.svc.cluster.local:81", Ok(("web", 81))),
        ("none.ns.svc.cluster.local:80", Ok(("none", 80))),
        ("web.ns:80", Err(Code::NOT_FOUND)),
        ("example.com:80", Err(Code::NOT_FOUND)),
        ("web..svc.cluster.local:80", Err(Code::NOT_FOUND)),
        ("web.ns.pod.cluster.local:80", Err(Code::NOT_FOUND)),
        ("web.ns.svc.cluster.local:0", Err(Code::INVALID_ARGUMENT)),
        ("web.ns.svc.cluster.local:99999", Err(Code::INVALID_ARGUMENT)),
        ("web ns", Err(Code::INVALID_ARGUMENT)),
        ("", Err(Code::INVALID_ARGUMENT)),
    ];
    for (name, expected) in table {
        let found =
            policy_for("client", "", name).map(|policy| (policy.parent.name().to_owned(), policy.parent.port().map_or(0, u16::from)));
        assert_eq!(found, expected.map(|(name, port): (&str, u16)| (name.to_owned(), port)), "{name}");
    }
    let unknown = policy("", "none.ns.svc.cluster.local:80");
    assert_eq!(backends(&http_rules(&unknown)[0].distribution), [("none.ns.svc.cluster.local:80".to_owned(), 1, None)]);
}

#[test]
fn an_address_is_a_services_or_outside_or_nobodys() {
    for target in ["10.96.0.7:80", "[fd00::7]:80"] {
        let parent = policy("", target).parent;
        assert_eq!((parent.group(), parent.kind(), parent.namespace(), parent.name()), ("core", "Service", "ns", "web"), "{target}");
        assert_eq!(parent.port().map(u16::from), Some(80));
    }
    assert_eq!(policy_for("client", "", "10.1.2.3:80"), Err(Code::NOT_FOUND), "a Pod's");
    let refused = World::new(SERVICES).subject("client", "10.1.2.3:80").unwrap_err();
    assert!(refused.to_string().contains("No such service"), "{refused}");
}

#[test]
fn a_port_that_a_service_does_not_declare_is_forbidden() {
    let undefined = policy("", "10.96.0.7:81");
    assert_eq!((undefined.parent.kind(), undefined.parent.name()), ("Service", "web"));
    let route = opaque(&undefined);
    assert_eq!(route.meta, Meta::builtin("undefined-port"));
    assert_eq!(route.policy.distribution, Distribution::Empty);
    assert_eq!(route.policy.filters[..], [Filter::Forbidden]);
    assert!(matches!(undefined.protocol, Protocol::Opaque(_)));
}

#[test]
fn what_is_outside_is_reached_as_it_is() {
    let external = policy("", "192.0.2.1:443");
    let fallback = Meta::builtin("egress-fallback");
    assert_eq!(external.parent, fallback);
    let Protocol::Detect { timeout, http1, .. } = &external.protocol else { panic!() };
    assert_eq!((timeout.as_secs(), &http1[0].meta), (10, &fallback));
    let there = [("192.0.2.1:443".to_owned(), 1, None)];
    assert_eq!(backends(&http_rules(&external)[0].distribution), there);
    assert_eq!(connection_backends(&opaque(&external).policy.distribution), there);
    assert_eq!(opaque(&external).meta, fallback);
    for (backend, _) in http_rules(&external)[0].distribution.backends() {
        assert_eq!((&backend.backend.meta, backend.backend.accrual), (&fallback, None));
    }
}

#[test]
fn clients_without_routes_of_their_own_see_the_same() {
    let consumer = Text { namespace: "team", parents: "{group: core, kind: Service, name: web, namespace: ns}", ..ROUTE }.yaml();
    let world = World::new(&format!("{SERVICES}{consumer}"));
    let of = |namespace: &str| world.subject(namespace, WEB).unwrap();
    assert_eq!(of("client"), of("ns"));
    assert_eq!(of("client"), of("other"));
    assert_ne!(of("client"), of("team"));
    assert_eq!(of("team").destination(), of("client").destination());
    let web = Destination::Service { namespace: "ns".to_owned(), name: "web".to_owned(), port: 80 };
    assert_eq!(*of("team").destination(), web);
}
