use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use proptest::{collection::vec, prelude::*};
use tower_service::Service as _;

use super::*;

fn review(group: &str, version: &str, kind: &str, object: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "it", "operation": "CREATE", "name": "a", "namespace": "ns",
            "kind": {"group": group, "version": version, "kind": kind},
            "object": object,
        },
    })
}

fn answer(validator: Validator, review: &Value) -> Value {
    let mut answer: Value = serde_json::from_slice(&validator.review(review.to_string().as_bytes())).unwrap();
    assert_eq!((&answer["kind"], &answer["apiVersion"]), (&json!("AdmissionReview"), &review["apiVersion"]));
    answer["response"].take()
}

/// What a policy or route is refused with; nothing if it is taken.
fn refused(group: &str, version: &str, kind: &str, metadata: Value, spec: Value) -> String {
    let response = answer(Validator::Policies, &review(group, version, kind, json!({"metadata": metadata, "spec": spec})));
    assert_eq!(response["uid"], "it");
    assert_eq!(response["allowed"] == true, response.get("status").is_none());
    response["status"]["message"].as_str().unwrap_or_default().to_owned()
}

fn check(group: &str, version: &str, rows: &[(&str, Value, &str)]) {
    for (kind, spec, wanted) in rows {
        let told = refused(group, version, kind, json!({"name": "a", "namespace": "ns"}), spec.clone());
        assert!(if wanted.is_empty() { told.is_empty() } else { told.contains(wanted) }, "{kind} {spec}: {told:?} is not {wanted:?}");
    }
}

fn target(kind: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": kind, "name": "x"})
}

#[test]
fn authorizations_are_refused_with_the_path_of_the_field() {
    let policy = |target: Value, refs: Value| json!({"targetRef": target, "requiredAuthenticationRefs": refs});
    let mesh = target("MeshTLSAuthentication");
    let account = json!({"kind": "ServiceAccount", "name": "x"});
    let network = target("NetworkAuthentication");
    check(
        "policy.linkerd.io",
        "v1alpha1",
        &[
            ("AuthorizationPolicy", policy(target("Server"), json!([mesh, network])), ""),
            ("AuthorizationPolicy", policy(json!({"kind": "Namespace", "name": "ns"}), json!([])), ""),
            ("AuthorizationPolicy", policy(json!({"kind": "Namespace", "name": "other"}), json!([])), "spec.targetRef"),
            ("AuthorizationPolicy", policy(target("EgressNetwork"), json!([])), "spec.targetRef"),
            ("AuthorizationPolicy", policy(target("Server"), json!([mesh, mesh])), "spec.requiredAuthenticationRefs"),
            ("AuthorizationPolicy", policy(target("Server"), json!([account, account])), "spec.requiredAuthenticationRefs"),
            ("AuthorizationPolicy", policy(target("Server"), json!([account, mesh])), "spec.requiredAuthenticationRefs"),
            ("AuthorizationPolicy", policy(target("Server"), json!([network, network])), "spec.requiredAuthenticationRefs"),
            ("AuthorizationPolicy", policy(target("Server"), json!([target("Server")])), "spec.requiredAuthenticationRefs[0]"),
            ("AuthorizationPolicy", json!({"targetRef": target("Server")}), "requiredAuthenticationRefs"),
            ("MeshTLSAuthentication", json!({"identities": ["*", "*.a.b", "spiffe://td/x"]}), ""),
            ("MeshTLSAuthentication", json!({"identities": ["a..b"]}), "spec.identities[0]"),
            ("MeshTLSAuthentication", json!({"identities": ["spiffe://td/../x"]}), "spec.identities[0]"),
            ("MeshTLSAuthentication", json!({"identities": ["spiffe://td/x/"]}), "spec.identities[0]"),
            ("MeshTLSAuthentication", json!({"identities": []}), "exactly one"),
            ("MeshTLSAuthentication", json!({"identities": ["a"], "identityRefs": [account]}), "exactly one"),
            ("MeshTLSAuthentication", json!({"identityRefs": [{"kind": "Pod", "name": "x"}]}), "spec.identityRefs[0]"),
            (
                "MeshTLSAuthentication",
                json!({"identityRefs": [{"kind": "Namespace", "name": "x", "namespace": "y"}]}),
                "spec.identityRefs[0]",
            ),
            ("NetworkAuthentication", json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]}), ""),
            ("NetworkAuthentication", json!({"networks": []}), "spec.networks"),
            ("NetworkAuthentication", json!({"networks": [{"cidr": "10.0.0.0/33"}]}), "spec.networks[0]"),
            ("NetworkAuthentication", json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}]}), "except[0]"),
            ("NetworkAuthentication", json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}]}), "except[0]"),
            ("EgressNetwork", json!({"trafficPolicy": "Deny"}), ""),
            ("EgressNetwork", json!({"trafficPolicy": "Deny", "networks": []}), "spec.networks"),
            ("HTTPLocalRateLimitPolicy", json!({"targetRef": target("Server"), "total": {"requestsPerSecond": 9}}), ""),
            ("HTTPLocalRateLimitPolicy", json!({"targetRef": target("HTTPRoute")}), "spec.targetRef"),
            ("HTTPLocalRateLimitPolicy", json!({"targetRef": target("Server"), "identity": {"requestsPerSecond": 0}}), "spec.identity"),
        ],
    );
}

#[test]
fn servers_and_their_authorizations_are_read_strictly() {
    check(
        "policy.linkerd.io",
        "v1beta3",
        &[
            ("Server", json!({"podSelector": {}, "port": "http", "accessPolicy": "audit", "proxyProtocol": "TLS"}), ""),
            ("Server", json!({"podSelector": {}, "port": 80, "accessPolicy": "open"}), "spec.accessPolicy"),
            ("Server", json!({"podSelector": {}, "port": 80, "proxyProtocol": "HTTP/3"}), "spec.proxyProtocol"),
            ("Server", json!({"podSelector": [], "port": 80}), "spec.podSelector"),
            ("HTTPRoute", json!({"rules": [{"matches": [{"path": {"value": "x"}}]}]}), "spec.rules[0].matches[0].path.value"),
            ("HTTPRoute", json!({"rules": [{"timeouts": {"request": "1s", "backendRequest": "2s"}}]}), "timeouts.backendRequest"),
            ("HTTPRoute", json!({"rules": {}}), "spec.rules"),
        ],
    );
    check(
        "policy.linkerd.io",
        "v1beta1",
        &[
            ("ServerAuthorization", json!({"server": {"name": "x"}, "client": {"unauthenticated": true}}), ""),
            (
                "ServerAuthorization",
                json!({"server": {"name": "x"}, "client": {"unauthenticated": true, "meshTLS": {"identities": ["*"]}}}),
                "spec.client",
            ),
        ],
    );
}

#[test]
fn routes_of_the_gateway_api_are_read_leniently() {
    let parent = |kind: &str, port: Value| json!([{"group": "policy.linkerd.io", "kind": kind, "name": "x", "port": port}]);
    let rules = json!([{"backendRefs": [{"name": "x"}]}]);
    check(
        "gateway.networking.k8s.io",
        "v1",
        &[
            ("HTTPRoute", json!({"rules": "somebody else's"}), ""),
            ("HTTPRoute", json!({"rules": [{"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "x"}}}]}]}), ""),
            ("HTTPRoute", json!({"rules": [{"backendRefs": [{"kind": "Bucket", "name": "x"}]}]}), ""),
            ("HTTPRoute", json!({"rules": [{"backendRefs": [{"name": "x", "port": 80}]}]}), ""),
            ("HTTPRoute", json!({"rules": rules}), "spec.rules[0].backendRefs[0].port"),
            ("GRPCRoute", json!({"rules": rules}), "spec.rules[0].backendRefs[0].port"),
            ("GRPCRoute", json!({"rules": [{"matches": [{"method": {"type": "Exact"}}]}]}), "spec.rules[0].matches[0].method"),
            ("HTTPRoute", json!({"parentRefs": parent("EgressNetwork", Value::Null)}), "spec.parentRefs[0].port"),
            ("HTTPRoute", json!({"parentRefs": parent("EgressNetwork", json!(443))}), ""),
        ],
    );
    check(
        "gateway.networking.k8s.io",
        "v1alpha2",
        &[
            ("TCPRoute", json!({"rules": [{}]}), ""),
            ("TCPRoute", json!({"rules": []}), "spec.rules"),
            ("TLSRoute", json!({"rules": [{}, {}]}), "spec.rules"),
            ("TLSRoute", json!({"parentRefs": parent("EgressNetwork", Value::Null), "rules": [{}]}), "spec.parentRefs[0].port"),
        ],
    );
    let (group, at_service) =
        ("gateway.networking.k8s.io", json!({"parentRefs": [{"group": "core", "kind": "Service", "name": "x", "port": 80}]}));
    let metadata = json!({"name": "a", "namespace": "ns", "annotations": {"retry.linkerd.io/limit": "many"}});
    assert!(refused(group, "v1", "HTTPRoute", metadata.clone(), at_service).contains("retry.linkerd.io/limit"));
    assert_eq!(refused(group, "v1", "HTTPRoute", metadata, json!({"parentRefs": parent("Server", Value::Null)})), "");
    assert_eq!(refused(group, "v9", "HTTPRoute", json!({}), json!({})), "", "a version that nobody knows yet");
}

#[test]
fn kinds_of_others_are_refused_and_deletions_are_not_asked_about() {
    for (group, version, kind) in [("policy.linkerd.io", "v1", "Server"), ("policy.linkerd.io", "v1alpha1", "Pod"), ("", "v1", "Service")] {
        assert!(!refused(group, version, kind, json!({"name": "a"}), json!({})).is_empty(), "{group} {version} {kind}");
    }
    let mut deletion = review("policy.linkerd.io", "v1beta3", "Server", Value::Null);
    deletion["request"]["operation"] = "DELETE".into();
    assert_eq!(answer(Validator::Policies, &deletion), json!({"uid": "it", "allowed": true}));
    deletion["request"]["operation"] = "UPDATE".into();
    assert_eq!(answer(Validator::Policies, &deletion)["status"]["message"], "the review has no object");
}

#[test]
fn the_namespace_of_the_request_stands_in_for_that_of_the_object() {
    let spec = |namespace: &str| json!({"targetRef": {"kind": "Namespace", "name": namespace}, "requiredAuthenticationRefs": []});
    assert_eq!(refused("policy.linkerd.io", "v1alpha1", "AuthorizationPolicy", json!({"name": "a"}), spec("ns")), "");
    assert!(
        refused("policy.linkerd.io", "v1alpha1", "AuthorizationPolicy", json!({"name": "a"}), spec("default")).contains("spec.targetRef")
    );
}

#[test]
fn profiles_are_read_without_forgiveness() {
    let condition = json!({"method": "GET"});
    let route = |route: Value| json!({"routes": [route]});
    let budget = |ratio: f64, ttl: &str| json!({"retryBudget": {"retryRatio": ratio, "minRetriesPerSecond": 1, "ttl": ttl}});
    let response =
        |status: Value| route(json!({"name": "r", "condition": condition, "responseClasses": [{"condition": {"status": status}}]}));
    let name = "web.ns.svc.cluster.local";
    let rows = [
        (name, route(json!({"name": "\u{e9}\u{1f600}\"\\ #: {r}", "condition": condition, "timeout": "1s"})), ""),
        (name, json!({}), ""),
        ("Web", json!({}), "metadata.name"),
        (name, route(json!({"name": "r", "condition": condition, "timout": "1s"})), "spec.routes[0].timout"),
        (name, route(json!({"condition": condition})), "spec.routes[0].name"),
        (name, route(json!({"name": "r"})), "spec.routes[0].condition"),
        (name, route(json!({"name": "r", "condition": {"all": [{}]}})), "spec.routes[0].condition.all[0]"),
        (name, route(json!({"name": "r", "condition": condition, "timeout": "soon"})), "spec.routes[0].timeout"),
        (name, response(json!({"min": 200, "max": 299})), ""),
        (name, response(json!({"min": 99})), "condition.status.min"),
        (name, response(json!({"min": 300, "max": 200})), "condition.status"),
        (name, budget(0.2, "10s"), ""),
        (name, budget(-0.1, "10s"), "spec.retryBudget.retryRatio"),
        (name, budget(0.2, "long"), "spec.retryBudget: "),
    ];
    for (name, spec, wanted) in rows {
        let metadata = json!({"name": name, "namespace": "ns", "managedFields": [{}], "annotations": {"a\u{7f}": "\u{1}"}});
        let object = json!({"metadata": metadata, "spec": spec});
        let response = answer(Validator::Profiles, &review("linkerd.io", "v1alpha2", "ServiceProfile", object));
        let told = response["status"]["message"].as_str().unwrap_or_default();
        assert!(if wanted.is_empty() { response["allowed"] == true } else { told.contains(wanted) }, "{spec}: {told:?} is not {wanted:?}");
        assert_eq!(response["status"]["code"] == 400, !wanted.is_empty());
    }
    let server =
        review("policy.linkerd.io", "v1beta3", "Server", json!({"metadata": {"name": "a"}, "spec": {"podSelector": {}, "port": 80}}));
    assert_eq!(answer(Validator::Profiles, &server)["allowed"], false);
}

#[test]
fn the_text_of_a_refusal_is_bounded() {
    let identities: Vec<_> = (0..5000).map(|_| "\u{1f600} ".repeat(2000)).collect();
    let told =
        refused("policy.linkerd.io", "v1alpha1", "MeshTLSAuthentication", json!({"name": "a"}), json!({"identities": identities[..40]}));
    assert!(told.ends_with("; and 24 more") && told.chars().count() < (FAULTS_MAX + 1) * (FAULT_MAX + 8), "{}", told.len());
}

async fn post(method: &str, path: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
    let request = Request::builder().method(method).uri(path).body(Full::new(bytes::Bytes::from(body))).unwrap();
    let response = Webhook::new(Validator::Policies).call(request).await.unwrap();
    (response.status(), response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn only_reviews_that_are_posted_to_the_root_are_answered() {
    let server =
        review("policy.linkerd.io", "v1beta3", "Server", json!({"metadata": {"name": "a"}, "spec": {"podSelector": {}, "port": 80}}));
    let (status, body) = post("POST", "/", server.to_string().into_bytes()).await;
    assert_eq!((status, serde_json::from_slice::<Value>(&body).unwrap()["response"]["allowed"].clone()), (StatusCode::OK, json!(true)));
    assert_eq!(post("GET", "/", Vec::new()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(post("POST", "/x", Vec::new()).await.0, StatusCode::NOT_FOUND);
    let (status, body) = post("POST", "/", b"no review".to_vec()).await;
    assert_eq!((status, serde_json::from_slice::<Value>(&body).unwrap()["response"]["allowed"].clone()), (StatusCode::OK, json!(false)));
    assert_eq!(post("POST", "/", vec![b' '; BODY_MAX + 1]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(post("POST", "/", vec![b' '; BODY_MAX]).await.0, StatusCode::OK);
}

fn json_value() -> impl Strategy<Value = Value> {
    let words =
        "spec|rules|parentRefs|matches|path|value|routes|condition|all|port|networks|cidr|except|10.0.0.0/8|name|identities|[\\PC]{0,4}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((words, inner), 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn is_answer(body: &[u8]) -> bool {
    let answer: Value = serde_json::from_slice(body).unwrap();
    answer["kind"] == "AdmissionReview" && answer["response"]["allowed"].is_boolean()
}

proptest! {
    #[test]
    fn no_bytes_panic(body in vec(any::<u8>(), 0..300)) {
        prop_assert!(is_answer(&Validator::Policies.review(&body)) && is_answer(&Validator::Profiles.review(&body)));
    }

    #[test]
    fn no_object_panics(kind in 0..Kind::ALL.len(), version in "v1|v1alpha1|v1alpha2|v1beta1|v1beta3", metadata in json_value(), spec in json_value()) {
        let kind = Kind::ALL[kind];
        let object = json!({"metadata": metadata, "spec": spec});
        for object in [object, spec] {
            let body = review(kind.group(), &version, kind.as_str(), object).to_string().into_bytes();
            prop_assert!(is_answer(&Validator::Policies.review(&body)) && is_answer(&Validator::Profiles.review(&body)));
        }
    }
}
