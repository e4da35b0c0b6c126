use std::path::Path;

use meshkit_manifest::{Event, Manifest};
use meshkit_policy::{Client, TlsState};

use super::*;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: voting-1, namespace: ns, labels: {app: voting}, annotations: {config.linkerd.io/opaque-ports: '3306'}}
spec:
  containers:
  - name: voting
    ports: [{name: grpc, containerPort: 8080}, {name: http, containerPort: 8081}, {name: db, containerPort: 3306}]
    readinessProbe: {httpGet: {path: /ready?x=1, port: http}}
";

const SERVER: &str = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: voting-grpc, namespace: ns}
spec: {podSelector: {matchLabels: {app: voting}}, port: grpc, proxyProtocol: gRPC}
";

const ALLOW: &str = "
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: web-may, namespace: ns}
spec: {targetRef: {group: policy.linkerd.io, kind: Server, name: voting-grpc}, requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: web}]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: web, namespace: ns}
spec: {identityRefs: [{kind: ServiceAccount, name: web}]}
";

fn mesh() -> Mesh {
    Mesh {
        namespace: "linkerd".to_owned(),
        domain: "cluster.local".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        probe_networks: vec!["0.0.0.0/0".parse().unwrap()],
        default_policy: DefaultPolicy::AllUnauthenticated,
    }
}

fn policy(objects: &[&str], port: u16) -> Policy {
    let mut cluster = Cluster::default();
    let text = objects.join("\n---\n");
    cluster.apply(Event::Reset(Manifest::parse(Path::new("x"), &text).unwrap().objects), |_| true);
    let workload = Workload::parse(r#"{"ns":"ns", "pod":"voting-1"}"#).unwrap();
    super::policy(&cluster, &mesh(), &workload, port).unwrap()
}

fn client(id: Option<&str>) -> Client {
    let tls = match id {
        Some(id) => {
            TlsState::Terminated { client_id: Some(format!("{id}.serviceaccount.identity.linkerd.cluster.local").parse().unwrap()) }
        }
        None => TlsState::NoTls,
    };
    Client { ip: [10, 1, 2, 3].into(), tls }
}

fn allows(policy: &Policy, id: Option<&str>, method: &str, path: &str) -> bool {
    let request = http::Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
    policy.route(&request).is_some_and(|found| policy.authorize_request(&client(id), &found).is_ok())
}

#[test]
fn a_server_admits_whom_a_policy_names_and_nobody_else() {
    let open = policy(&[POD, SERVER, ALLOW], 8080);
    assert!(matches!(open.protocol, Protocol::Grpc { .. }));
    assert_eq!((open.server.kind(), open.server.name()), ("server", "voting-grpc"));
    let rpc = "/emojivoto.v1.VotingService/VoteJoy";
    assert!(allows(&open, Some("web.ns"), "POST", rpc));
    assert!(!allows(&open, Some("intruder.ns"), "POST", rpc));
    assert!(!allows(&open, None, "POST", rpc));

    let shut = policy(&[POD, SERVER], 8080);
    assert!(!allows(&shut, Some("web.ns"), "POST", rpc));
}

#[test]
fn a_policy_whose_reference_does_not_exist_grants_nothing() {
    let (dangling, _) = ALLOW.split_once("---").unwrap();
    assert!(policy(&[POD, SERVER, dangling], 8080).authorizations.is_empty());
}

#[test]
fn a_port_without_a_server_has_the_default_and_probes_have_their_own_route() {
    let default = policy(&[POD, SERVER, ALLOW], 8081);
    assert_eq!((default.server.kind(), default.server.name()), ("default", "all-unauthenticated"));
    assert!(allows(&default, None, "GET", "/anything"));
    assert_eq!(policy(&[POD], 3306).protocol, Protocol::Opaque);

    let strict = POD.replace("annotations: {", "annotations: {config.linkerd.io/default-inbound-policy: deny, ");
    let strict = policy(&[&strict], 8081);
    assert!(!allows(&strict, Some("web.ns"), "GET", "/anything"));
    assert!(allows(&strict, None, "GET", "/ready"), "the kubelet may probe");
    assert!(!allows(&strict, None, "POST", "/ready"));
}

#[test]
fn of_two_servers_the_older_counts() {
    let older = SERVER.replace("name: voting-grpc", "name: z-older, creationTimestamp: '2020-01-01T00:00:00Z'");
    assert_eq!(policy(&[POD, SERVER, &older], 8080).server.name(), "z-older");
    let access = SERVER.replace("proxyProtocol: gRPC", "proxyProtocol: gRPC, accessPolicy: all-authenticated");
    let open = policy(&[POD, &access], 8080);
    assert!(allows(&open, Some("anyone.ns"), "POST", "/a/b") && !allows(&open, None, "POST", "/a/b"));
}

#[test]
fn a_server_authorization_names_clients_in_one_object() {
    let authorization = "
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {name: saz, namespace: ns}
spec: {server: {name: voting-grpc}, client: {meshTLS: {serviceAccounts: [{name: web}], identities: ['*.ops.serviceaccount.identity.linkerd.cluster.local']}}}
";
    let policy = policy(&[POD, SERVER, authorization], 8080);
    assert!(allows(&policy, Some("web.ns"), "POST", "/a/b"));
    assert!(allows(&policy, Some("anyone.ops"), "POST", "/a/b"));
    assert!(!allows(&policy, Some("bot.ns"), "POST", "/a/b"));
}

#[test]
fn workloads_are_told_in_json_or_in_the_older_form() {
    let wanted = Workload { ns: "ns".to_owned(), pod: "web-1".to_owned() };
    assert_eq!(Workload::parse("{\"ns\":\"ns\", \"pod\":\"web-1\"}\n"), Ok(wanted.clone()));
    assert_eq!(Workload::parse("ns:web-1"), Ok(wanted));
    for bad in ["", "ns", "{}", "{\"ns\":\"a\"}"] {
        assert_eq!(Workload::parse(bad).unwrap_err().code(), Code::INVALID_ARGUMENT, "{bad}");
    }
}
