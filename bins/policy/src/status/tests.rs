use serde_json::json;

use super::*;
use crate::fixture::{World, objects, unchecked};

const NOW: &str = "2026-01-02T03:04:05Z";
const BEFORE: &str = "2020-01-01T00:00:00Z";

const CLUSTER: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}}
---
{apiVersion: policy.linkerd.io/v1beta3, kind: Server, metadata: {name: web-http, namespace: ns}, spec: {podSelector: {}, port: 80}}
";

fn route(parents: Value, status: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "it", "namespace": "ns"},
        "spec": {"parentRefs": parents, "rules": [{"backendRefs": [{"name": "gone", "port": 80}]}]},
        "status": {"parents": status},
    })
}

fn changes(object: Value) -> Vec<Change> {
    let mut all = objects(CLUSTER);
    all.push(unchecked(object));
    World::of(all).model().status_changes(NOW)
}

fn condition(kind: &str, status: &str, reason: &str, at: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": at})
}

fn service() -> Value {
    json!({"group": "core", "kind": "Service", "name": "web", "port": 80})
}

fn server() -> Value {
    json!({"group": "policy.linkerd.io", "kind": "Server", "name": "web-http"})
}

fn told(parent: Value, conditions: Value) -> Value {
    json!({"parentRef": parent, "controllerName": "linkerd.io/policy-controller", "conditions": conditions})
}

fn at_service(at: &str) -> Value {
    told(service(), json!([condition("Accepted", "True", "Accepted", at), condition("ResolvedRefs", "False", "BackendNotFound", at)]))
}

fn at_server(at: &str) -> Value {
    told(server(), json!([condition("Accepted", "True", "Accepted", at)]))
}

/// The parents that are to be written for a route, unless they are there already.
fn written(parents: Value, status: Value) -> Option<Value> {
    let mut changes = changes(route(parents, status));
    assert!(changes.len() <= 1);
    changes.pop().map(|change| {
        assert_eq!(change.key.to_string(), "HTTPRoute ns/it");
        change.status["parents"].clone()
    })
}

#[test]
fn a_route_is_told_of_each_parent() {
    assert_eq!(written(json!([service(), server()]), json!([])), Some(json!([at_service(NOW), at_server(NOW)])));
    let gateway = json!({"name": "gateway"});
    assert_eq!(written(json!([gateway]), json!([])), None, "it is somebody else's");
    assert_eq!(written(json!([gateway, server()]), json!([])), Some(json!([at_server(NOW)])));
    assert_eq!(written(json!([server(), server()]), json!([])), Some(json!([at_server(NOW)])), "once is enough");
}

#[test]
fn what_was_said_before_keeps_its_time_and_is_not_said_again() {
    let both = json!([service(), server()]);
    assert_eq!(written(both.clone(), json!([at_service(BEFORE), at_server(BEFORE)])), None);
    assert_eq!(written(both.clone(), json!([at_server(BEFORE), at_service(BEFORE)])), None, "in whichever order");
    assert_eq!(written(both, json!([at_server(BEFORE)])), Some(json!([at_service(NOW), at_server(BEFORE)])));
    let refused = told(server(), json!([condition("Accepted", "False", "NoMatchingParent", BEFORE)]));
    assert_eq!(written(json!([server()]), json!([refused])), Some(json!([at_server(NOW)])));
    let partly = told(
        service(),
        json!([condition("Accepted", "True", "Accepted", BEFORE), condition("ResolvedRefs", "True", "ResolvedRefs", BEFORE)]),
    );
    let expected = told(
        service(),
        json!([condition("Accepted", "True", "Accepted", BEFORE), condition("ResolvedRefs", "False", "BackendNotFound", NOW)]),
    );
    assert_eq!(written(json!([service()]), json!([partly])), Some(json!([expected])));
}

#[test]
fn what_others_say_stays_and_what_is_no_parent_any_more_goes() {
    let mut told = condition("Accepted", "Unknown", "Pending", BEFORE);
    told["observedGeneration"] = 7.into();
    let foreign =
        json!({"parentRef": {"name": "gateway", "sectionName": "http"}, "controllerName": "example.com/gateway", "conditions": [told]});
    assert_eq!(written(json!([server()]), json!([foreign, at_service(BEFORE)])), Some(json!([foreign, at_server(NOW)])));
    assert_eq!(written(json!([server()]), json!([foreign, at_server(BEFORE)])), None);
    assert_eq!(written(json!([{"name": "gateway"}]), json!([foreign, at_server(BEFORE)])), Some(json!([foreign])));
}

#[test]
fn what_is_written_is_then_in_force() {
    let parents = json!([service(), server()]);
    let first = written(parents.clone(), json!([])).unwrap();
    let mut all = objects(CLUSTER);
    all.push(unchecked(route(parents, first)));
    let world = World::of(all).written();
    assert_eq!(world.model().status_changes(NOW), []);
    let route = &world.view.routes()[0];
    assert!(route.parents().iter().all(|parent| world.model().is_route_in_force(route, parent)));
}

#[test]
fn limits_and_networks_have_conditions_of_their_own() {
    let limit = |server: &str, status: Value| {
        json!({
            "apiVersion": "policy.linkerd.io/v1alpha1",
            "kind": "HTTPLocalRateLimitPolicy",
            "metadata": {"name": "it", "namespace": "ns"},
            "spec": {"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": server}, "total": {"requestsPerSecond": 5}},
            "status": status,
        })
    };
    let target = json!({"group": "policy.linkerd.io", "kind": "Server", "name": "web-http"});
    let accepted = |at: &str| json!({"conditions": [condition("Accepted", "True", "Accepted", at)], "targetRef": target});
    assert_eq!(changes(limit("web-http", json!({})))[0].status, accepted(NOW));
    assert_eq!(changes(limit("web-http", accepted(BEFORE))), []);
    let lost = changes(limit("gone", accepted(BEFORE)));
    assert_eq!(lost[0].status["conditions"], json!([condition("Accepted", "False", "NoMatchingTarget", NOW)]));
    assert_eq!(lost[0].status["targetRef"]["name"], "gone");

    let network = |cidr: &str, status: Value| {
        json!({
            "apiVersion": "policy.linkerd.io/v1alpha1",
            "kind": "EgressNetwork",
            "metadata": {"name": "it", "namespace": "ns"},
            "spec": {"trafficPolicy": "Allow", "networks": [{"cidr": cidr}]},
            "status": status,
        })
    };
    let accepted = json!({"conditions": [condition("Accepted", "True", "Accepted", BEFORE)]});
    assert_eq!(changes(network("192.0.2.0/24", accepted.clone())), []);
    let mut refused = condition("Accepted", "False", "EgressReasonNetworkOverlap", NOW);
    refused["message"] = "networks overlap with clusterNetworks".into();
    assert_eq!(changes(network("10.0.0.0/24", accepted))[0].status, json!({"conditions": [refused]}));
}
