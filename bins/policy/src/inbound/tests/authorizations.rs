use meshkit_policy::net::Network;

use super::*;

fn policy_of(target: &str, references: &str) -> String {
    format!(
        "{{apiVersion: policy.linkerd.io/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: it, namespace: ns}}, \
         spec: {{targetRef: {target}, requiredAuthenticationRefs: [{references}]}}}}"
    )
}

fn mesh_tls(namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: policy.linkerd.io/v1alpha1, kind: MeshTLSAuthentication, metadata: {{name: web, namespace: {namespace}}}, spec: {{{spec}}}}}"
    )
}

const TO_SERVER: &str = "{group: policy.linkerd.io, kind: Server, name: web-http}";
const TO_NAMESPACE: &str = "{group: '', kind: Namespace, name: ns}";
const WEB: &str = "{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: web}";
const NETWORK: &str = "{group: policy.linkerd.io, kind: NetworkAuthentication, name: near}";
const NEAR: &str = "
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: near, namespace: ns}
spec: {networks: [{cidr: 10.1.0.0/16, except: [10.1.9.0/24]}, {cidr: 192.0.2.1}]}
";

/// Which of `web.ns`, `bot.ns`, `web.far` and somebody without identity may call.
fn admitted(objects: &[&str]) -> Vec<bool> {
    let policy = policy(&[&[POD, SERVER], objects].concat(), 8080);
    [Some("web.ns"), Some("bot.ns"), Some("web.far"), None].map(|account| permit(&policy, account, "GET", "/").is_some()).into()
}

#[test]
fn who_has_the_identity_is_admitted() {
    let table = [
        ("identities: [web.ns.serviceaccount.identity.linkerd.td.local]", [true, false, false, false]),
        ("identities: ['*.ns.serviceaccount.identity.linkerd.td.local']", [true, true, false, false]),
        ("identities: ['*']", [true, true, true, false]),
        ("identities: ['spiffe://td/other']", [false, false, false, false]),
        ("identityRefs: [{kind: ServiceAccount, name: web}]", [true, false, false, false]),
        ("identityRefs: [{kind: ServiceAccount, name: web, namespace: far}]", [false, false, true, false]),
        ("identityRefs: [{kind: Namespace, name: ns}]", [true, true, false, false]),
        ("identityRefs: [{kind: Namespace, name: far}, {kind: ServiceAccount, name: bot}]", [false, true, true, false]),
    ];
    for (spec, expected) in table {
        assert_eq!(admitted(&[&policy_of(TO_SERVER, WEB), &mesh_tls("ns", spec)]), expected, "{spec}");
    }
}

#[test]
fn a_reference_may_name_an_account_itself_or_an_authentication_elsewhere() {
    let account = "{kind: ServiceAccount, name: web}";
    assert_eq!(admitted(&[&policy_of(TO_SERVER, account)]), [true, false, false, false]);
    let far = "{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: web, namespace: far}";
    let there = mesh_tls("far", "identityRefs: [{kind: ServiceAccount, name: web}]");
    assert_eq!(
        admitted(&[&policy_of(TO_SERVER, far), &there]),
        [false, false, true, false],
        "an account without a namespace is a neighbour"
    );
    let lower = "{group: Policy.Linkerd.IO, kind: meshtlsauthentication, name: web}";
    assert_eq!(admitted(&[&policy_of(TO_SERVER, lower), &mesh_tls("ns", "identities: ['*']")]), [true, true, true, false]);
}

#[test]
fn a_policy_that_names_nothing_admits_everybody_and_one_that_names_what_is_not_there_nobody() {
    assert_eq!(admitted(&[&policy_of(TO_SERVER, "")]), [true; 4]);
    assert_eq!(admitted(&[&policy_of(TO_SERVER, WEB)]), [false; 4]);
    assert_eq!(admitted(&[&policy_of(TO_SERVER, &format!("{{kind: ServiceAccount, name: web}}, {NETWORK}"))]), [false; 4]);
    let open = policy(&[POD, SERVER, &policy_of(TO_SERVER, "")], 8080);
    let [it] = &open.authorizations[..] else { panic!("{open:?}") };
    assert_eq!((&it.networks, &it.authentication), (&Network::all(), &Authentication::Unauthenticated));
    assert_eq!((it.meta.group(), it.meta.kind(), it.meta.name()), ("policy.linkerd.io", "authorizationpolicy", "it"));
}

#[test]
fn two_authentications_of_a_kind_contradict_each_other() {
    let twice = serde_json::json!({
        "apiVersion": "policy.linkerd.io/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "it", "namespace": "ns"},
        "spec": {
            "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "web-http"},
            "requiredAuthenticationRefs": [{"kind": "ServiceAccount", "name": "web"}, {"kind": "ServiceAccount", "name": "bot"}],
        },
    });
    let mut all = objects(&format!("{POD}---\n{SERVER}"));
    all.push(crate::fixture::unchecked(twice));
    let policy = World::of(all).inbound(&Workload::pod("ns", "web-1"), 8080).unwrap();
    assert!(policy.authorizations.is_empty(), "a folder would refuse it; an API server without a webhook does not");
}

#[test]
fn an_authentication_that_refers_to_what_has_no_identity_admits_nobody() {
    for spec in [
        serde_json::json!({"identityRefs": [{"kind": "ServiceAccount", "name": "web"}, {"kind": "Pod", "name": "web"}]}),
        serde_json::json!({"identityRefs": [{"group": "example.com", "kind": "ServiceAccount", "name": "web"}]}),
        serde_json::json!({"identities": ["*web"]}),
        serde_json::json!({"identities": []}),
    ] {
        let metadata = serde_json::json!({"name": "web", "namespace": "ns"});
        let object = serde_json::json!({"apiVersion": "policy.linkerd.io/v1alpha1", "kind": "MeshTLSAuthentication", "metadata": metadata, "spec": spec});
        let mut all = objects(&[POD, SERVER, &policy_of(TO_SERVER, WEB)].join("\n---\n"));
        all.push(crate::fixture::unchecked(object));
        let policy = World::of(all).inbound(&Workload::pod("ns", "web-1"), 8080).unwrap();
        assert!(policy.authorizations.is_empty(), "{spec}");
    }
}

#[test]
fn all_that_is_required_must_hold() {
    let both = policy_of(TO_SERVER, &format!("{{kind: ServiceAccount, name: web}}, {NETWORK}"));
    let policy = policy(&[POD, SERVER, &both, NEAR], 8080);
    let request = Request::get("/").body(()).unwrap().into_parts().0;
    let found = policy.route(&request).unwrap();
    let table = [
        (Some("web.ns"), "10.1.2.3", true),
        (Some("web.ns"), "192.0.2.1", true),
        (Some("web.ns"), "10.1.9.3", false),
        (Some("web.ns"), "10.2.2.3", false),
        (None, "10.1.2.3", false),
    ];
    for (account, ip, expected) in table {
        assert_eq!(policy.authorize_request(&client(account, ip), &found).is_ok(), expected, "{account:?} {ip}");
    }
}

#[test]
fn a_policy_for_the_namespace_is_for_its_servers_and_for_no_port_without_one() {
    let closed = POD.replace("labels:", "annotations: {config.linkerd.io/default-inbound-policy: deny}, labels:");
    let open = policy_of(TO_NAMESPACE, "");
    assert!(permit(&policy(&[&closed, SERVER, &open], 8080), None, "GET", "/").is_some());
    assert!(permit(&policy(&[&closed, SERVER, &open], 8081), None, "GET", "/").is_none());
    let elsewhere = policy_of("{group: policy.linkerd.io, kind: Server, name: other}", "");
    assert!(permit(&policy(&[POD, SERVER, &elsewhere], 8080), None, "GET", "/").is_none());
}

#[test]
fn a_servers_access_policy_adds_to_its_authorizations() {
    let with = |access: &str| SERVER.replace("port: 8080", &format!("port: 8080, accessPolicy: {access}"));
    let web = policy_of(TO_SERVER, "{kind: ServiceAccount, name: web}");
    for (access, anybody) in
        [("deny", None), ("all-unauthenticated", Some("default/all-unauthenticated")), ("audit", Some("default/audit"))]
    {
        let policy = policy(&[POD, &with(access), &web], 8080);
        assert_eq!(permit(&policy, None, "GET", "/").as_deref(), anybody, "{access}");
        assert_eq!(permit(&policy, Some("web.ns"), "GET", "/").as_deref(), Some("authorizationpolicy/it"), "{access}");
        assert_eq!(policy.server.name(), "web-http");
    }
    let open = POD.replace("labels:", "annotations: {config.linkerd.io/default-inbound-policy: all-unauthenticated}, labels:");
    assert!(permit(&policy(&[&open, SERVER], 8080), None, "GET", "/").is_none(), "a Server makes the default mean nothing");
}

#[test]
fn a_server_authorization_says_it_in_one_object() {
    let saz = |server: &str, client: &str| {
        format!(
            "{{apiVersion: policy.linkerd.io/v1beta1, kind: ServerAuthorization, metadata: {{name: saz, namespace: ns}}, \
             spec: {{server: {server}, client: {client}}}}}"
        )
    };
    let (name, labels) = ("{name: web-http}", "{selector: {matchLabels: {tier: front}}}");
    let table = [
        (name, "{meshTLS: {serviceAccounts: [{name: web}]}}", [true, false, false, false]),
        (name, "{meshTLS: {serviceAccounts: [{name: web, namespace: far}]}}", [false, false, true, false]),
        (name, "{meshTLS: {identities: ['*.ns.serviceaccount.identity.linkerd.td.local']}}", [true, true, false, false]),
        (name, "{meshTLS: {identities: ['*']}}", [true, true, true, false]),
        (name, "{meshTLS: {unauthenticatedTLS: true}}", [true, true, true, false]),
        (name, "{unauthenticated: true}", [true; 4]),
        (labels, "{unauthenticated: true}", [true; 4]),
        ("{selector: {}}", "{unauthenticated: true}", [true; 4]),
        ("{selector: {matchLabels: {tier: back}}}", "{unauthenticated: true}", [false; 4]),
        ("{name: other}", "{unauthenticated: true}", [false; 4]),
        (name, "{unauthenticated: true, networks: [{cidr: 10.9.0.0/16}]}", [false; 4]),
        (name, "{networks: [{cidr: 10.1.0.0/16}]}", [false; 4]),
        (name, "{meshTLS: {}}", [false; 4]),
    ];
    for (server, client, expected) in table {
        assert_eq!(admitted(&[&saz(server, client)]), expected, "{server} {client}");
    }
    let found = policy(&[POD, SERVER, &saz(name, "{unauthenticated: true}")], 8080);
    assert_eq!(found.authorizations[0].networks, [Network::from("10.0.0.0/8".parse::<ipnet::IpNet>().unwrap())], "the cluster's stand in");
    assert_eq!(found.authorizations[0].meta.kind(), "serverauthorization");
}

#[test]
fn authorizations_are_told_in_the_order_of_their_names() {
    let named = |name: &str| policy_of(TO_SERVER, "").replace("name: it", &format!("name: {name}"));
    let names = |all: &[Authorization]| all.iter().map(|it| it.meta.name().to_owned()).collect::<Vec<_>>();
    let saz = "{apiVersion: policy.linkerd.io/v1beta1, kind: ServerAuthorization, metadata: {name: z, namespace: ns}, spec: {server: {name: web-http}, client: {unauthenticated: true}}}";
    let found =
        policy(&[POD, &SERVER.replace("port: 8080", "port: 8080, accessPolicy: audit"), &named("c"), &named("a"), saz, &named("b")], 8080);
    assert_eq!(names(&found.authorizations), ["z", "a", "b", "c", "audit"]);
}
