//! Calls: what goes over the wire, and what comes of the answers.

#![allow(clippy::unwrap_used)] // Everything in here is a test.

use std::{sync::Arc, time::Duration, time::SystemTime};

use meshkit_kube::{About, Access, Client, Conflicts, Filter, Happening, Held, Lease, Recorder, Resource, Selection, lease::Terms};
use meshkit_manifest::{Kind, Object, meta::Condition};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use fake::{Fake, Trouble, eventually};

mod fake;

fn answer(fake: &Fake, path: &str, code: u16, value: &Value) {
    fake.state().fixed.insert(path.to_owned(), (code, value.to_string()));
}

fn last(fake: &Fake) -> (String, Value) {
    let state = fake.state();
    (state.requests.last().unwrap().clone(), serde_json::from_str(state.bodies.last().unwrap()).unwrap_or_default())
}

#[tokio::test]
async fn tokens_and_rights_are_reviewed() {
    let fake = Fake::start().await;
    let client = fake.client();
    let status = json!({"status": {"authenticated": true, "audiences": ["identity.l5d.io"],
        "user": {"username": "system:serviceaccount:emojivoto:web", "uid": "1", "groups": ["system:authenticated"]}}});
    answer(&fake, "/apis/authentication.k8s.io/v1/tokenreviews", 201, &status);
    let reviewed = client.review_token("abc", &["identity.l5d.io"]).await.unwrap();
    assert!(reviewed.authenticated);
    assert_eq!(reviewed.user.username, "system:serviceaccount:emojivoto:web");
    let (request, body) = last(&fake);
    assert_eq!(request, "POST /apis/authentication.k8s.io/v1/tokenreviews?");
    assert_eq!(body["spec"], json!({"token": "abc", "audiences": ["identity.l5d.io"]}));

    answer(&fake, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 201, &json!({"status": {"allowed": false, "reason": "no"}}));
    let access = Access::new("create", "authentication.k8s.io", "tokenreviews");
    let verdict = client.may_i(&access).await.unwrap();
    assert!(!verdict.allowed && verdict.reason == "no");
    let wanted = json!({"verb": "create", "group": "authentication.k8s.io", "resource": "tokenreviews"});
    assert_eq!(last(&fake).1["spec"]["resourceAttributes"], wanted);
    assert_eq!(access.to_string(), "create tokenreviews.authentication.k8s.io");
}

#[tokio::test]
async fn objects_are_applied_merged_and_deleted() {
    let fake = Fake::start().await;
    let client = fake.client();
    let maps = Resource::from(Kind::ConfigMap);
    answer(&fake, "/api/v1/namespaces/linkerd/configmaps/c", 200, &json!({"metadata": {"name": "c"}}));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}});
    client.apply(&maps, "linkerd", "c", &map, "mesh", Conflicts::Force).await.unwrap();
    assert_eq!(last(&fake), ("PATCH /api/v1/namespaces/linkerd/configmaps/c?force=true&fieldManager=mesh".into(), map));
    assert!(client.delete(&maps, "linkerd", "c").await.unwrap());
    assert!(!client.delete(&maps, "linkerd", "absent").await.unwrap());
    let failure = client.create(&maps, "linkerd", &json!({}), "mesh").await.unwrap_err();
    assert!(failure.is_absent());
    // What was said is not said again.
    let server = Resource::from(Kind::Server);
    let said = Condition {
        kind: "Accepted".into(),
        status: "True".into(),
        last_transition_time: Some("2026-01-01T00:00:00Z".into()),
        ..Condition::default()
    };
    let wanted = Condition { last_transition_time: None, ..said.clone() };
    let before = fake.requests().len();
    let at = ("a", "s");
    client.say(&server, at, &[said], std::slice::from_ref(&wanted), SystemTime::UNIX_EPOCH, "m").await.unwrap();
    assert_eq!(fake.requests().len(), before);
    client.say(&server, at, &[], &[wanted], SystemTime::UNIX_EPOCH, "m").await.unwrap_err();
    assert_eq!(last(&fake).0, "PATCH /apis/policy.linkerd.io/v1beta3/namespaces/a/servers/s/status?fieldManager=m");
}

#[tokio::test]
async fn lists_are_read_page_by_page_as_types_or_as_they_are() {
    let fake = Fake::start().await;
    for name in ["a", "b", "c"] {
        fake.put(name);
    }
    let (pods, faults) = fake.client().list(&Selection::all(Kind::Pod)).await.unwrap();
    assert_eq!((pods.len(), faults.len()), (3, 0));
    let Object::Pod(pod) = &pods[0] else { panic!() };
    // No controller asks for an application's environment.
    assert!(pod.spec.containers[0].env.is_empty() && pod.status.pod_ip.is_some());
    let values = fake.client().list_values(&Resource::from(Kind::Pod), &Filter::all()).await.unwrap();
    assert_eq!(values[2]["spec"]["containers"][0]["env"][0]["name"], "A");
    assert!(fake.client().list(&Selection::all(Kind::Server)).await.unwrap().0.is_empty());
    assert_eq!(fake.client().get(Kind::Server, "a", "b").await.unwrap(), None);
}

#[tokio::test]
async fn the_server_is_asked_what_it_is_and_what_it_has() {
    let fake = Fake::start().await;
    let client = fake.client();
    answer(&fake, "/version", 200, &json!({"major": "1", "minor": "34", "gitVersion": "v1.34.4"}));
    assert_eq!(client.version().await.unwrap().git_version, "v1.34.4");
    let resources = json!({"resources": [
        {"name": "httproutes", "namespaced": true, "kind": "HTTPRoute"},
        {"name": "httproutes/status", "namespaced": true, "kind": "HTTPRoute"}]});
    answer(&fake, "/apis/gateway.networking.k8s.io/v1beta1", 200, &resources);
    let found = client.resource(Kind::HTTPRoute).await.unwrap().unwrap();
    assert_eq!((found.api_version(), found.plural()), ("gateway.networking.k8s.io/v1beta1", "httproutes"));
    assert_eq!(client.resource(Kind::GRPCRoute).await.unwrap(), None);
    fake.state().fixed.clear();
    fake.trouble(Trouble::Hang);
    let failure = client.clone().timeout(Duration::from_millis(50)).version().await.unwrap_err();
    assert_eq!(failure.to_string(), "the API server did not answer within 50ms");
    fake.trouble(Trouble::Garbage);
    assert_eq!(client.version().await.unwrap_err().to_string(), "the API server's answer is no version");
}

fn lease(fake: &Fake, identity: &str) -> (watch::Receiver<Held>, oneshot::Sender<()>) {
    let mut terms = Terms::default();
    (terms.duration, terms.grace, terms.renew, terms.retry) =
        (Duration::from_secs(2), Duration::from_secs(1), Duration::from_millis(300), Duration::from_millis(20));
    let (held, holds) = watch::channel(Held::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let lease = Lease::new("linkerd", "policy-controller-write", identity, "policy-controller").terms(terms).label("a", "b");
    let client: Client = fake.client();
    tokio::spawn(lease.hold(client, Arc::new(meshkit_core::SystemClock), held, async move { drop(stopped.await) }));
    (holds, stop)
}

#[tokio::test]
async fn one_holds_the_lease_and_the_next_has_it_at_once_when_it_is_given_back() {
    let fake = Fake::start().await;
    fake.trouble(Trouble::Status(500, 0));
    let (first, stop) = lease(&fake, "pod-1");
    eventually("the first holds it", || first.borrow().is_held(Instant::now())).await;
    let (second, _stop) = lease(&fake, "pod-2");
    let written = fake.state().lease.clone().unwrap();
    assert_eq!((&written["spec"]["holderIdentity"], &written["metadata"]["labels"]["a"]), (&json!("pod-1"), &json!("b")));
    eventually("it is renewed", || {
        fake.state().lease.as_ref().unwrap()["metadata"]["resourceVersion"] != written["metadata"]["resourceVersion"]
    })
    .await;
    assert!(first.borrow().is_held(Instant::now()) && !second.borrow().is_held(Instant::now()));
    drop(stop);
    eventually("the second holds it", || second.borrow().is_held(Instant::now())).await;
    assert!(!first.borrow().is_held(Instant::now()));
    assert_eq!(fake.state().lease.as_ref().unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test]
async fn what_happens_again_is_counted_in_one_event() {
    let fake = Fake::start().await;
    let events = "/api/v1/namespaces/linkerd/events";
    answer(&fake, events, 201, &json!({}));
    let (recorder, writer) = Recorder::new("linkerd-identity", "linkerd-identity-0");
    let about = About::new("apps/v1", "Deployment", "linkerd", "linkerd-identity").uid("7");
    for _ in 0..2 {
        recorder.tell(Happening::warning(about.clone(), "IssuerUpdateSkipped", "expired"));
    }
    drop(recorder);
    writer.run(fake.client(), Arc::new(meshkit_core::SystemClock)).await;
    let state = fake.state();
    let event: Value = serde_json::from_str(&state.bodies[0]).unwrap();
    assert_eq!((&event["reason"], &event["type"], &event["count"]), (&json!("IssuerUpdateSkipped"), &json!("Warning"), &json!(1)));
    assert_eq!(event["involvedObject"]["uid"], "7");
    let name = event["metadata"]["name"].as_str().unwrap();
    assert_eq!(state.requests[1], format!("PATCH {events}/{name}?fieldManager=linkerd-identity"));
    let again: Value = serde_json::from_str(&state.bodies[1]).unwrap();
    assert_eq!(again["count"], 2);
    // The server had forgotten it, so it was made again.
    assert!(state.requests[2].starts_with(&format!("POST {events}?")), "{}", state.requests[2]);
    let made: Value = serde_json::from_str(&state.bodies[2]).unwrap();
    assert_eq!((&made["count"], &made["metadata"]["name"]), (&json!(2), &json!(name)));
}
