use std::time::Duration;

use http::Method;
use meshkit_core::Outcome;
use meshkit_policy::{Meta, route::Regex};
use meshkit_retry::budget;
use meshkit_wire::profile::{Profile, RequestMatch, ResponseClass, ResponseMatch, Retryable};
use serde_json::{Value, json};

use super::{WEB, with};
use crate::{
    fixture::{World, objects, unchecked},
    model::{Fault, Reading},
};

const PATH: &str = "web-svc.ns.svc.cluster.local:80";

fn profile(namespace: &str, spec: &str) -> String {
    format!(
        "
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {{name: web-svc.ns.svc.cluster.local, namespace: {namespace}}}
spec: {spec}
"
    )
}

fn read(spec: &str) -> Profile {
    let reading = World::new(&with(&profile("ns", spec))).reading(PATH, "").unwrap().unwrap();
    assert_eq!(reading.faults, []);
    reading.profile
}

/// What a spec becomes that a folder would refuse.
fn unchecked_spec(spec: Value) -> Result<Reading, Fault> {
    let mut all = objects(WEB);
    let metadata = json!({"name": "web-svc.ns.svc.cluster.local", "namespace": "ns"});
    all.push(unchecked(json!({"apiVersion": "linkerd.io/v1alpha2", "kind": "ServiceProfile", "metadata": metadata, "spec": spec})));
    World::of(all).reading(PATH, "").unwrap()
}

#[test]
fn the_client_comes_before_the_owner_and_both_before_the_default() {
    let named = |name: &str| format!("{{routes: [{{name: {name}, condition: {{method: GET}}}}]}}");
    let world = World::new(&format!("{WEB}---{}---{}", profile("ns", &named("owner")), profile("client", &named("client"))));
    let seen = |path: &str, ns: &str| {
        let profile = world.profile(path, ns);
        let Some(Meta::Resource(object)) = profile.object else { panic!() };
        assert_eq!((object.group.as_str(), object.kind.as_str()), ("linkerd.io", "ServiceProfile"));
        (profile.routes[0].labels["route"].clone(), object.namespace.clone())
    };
    let expected = |name: &str, ns: &str| (name.to_owned(), ns.to_owned());
    assert_eq!(seen(PATH, ""), expected("owner", "ns"));
    assert_eq!(seen(PATH, "stranger"), expected("owner", "ns"));
    assert_eq!(seen(PATH, "client"), expected("client", "client"));
    assert_eq!(seen("10.96.0.7:80", "client"), expected("client", "client"), "by address, too");
    let without = World::new(&with(&profile("client", "{}")));
    assert_eq!(without.profile(PATH, "").object, None);
    assert_eq!(without.profile(PATH, "client").routes, [], "the client's profile counts as a whole");
}

#[test]
fn several_fields_of_a_condition_must_all_hold_and_one_stands_alone() {
    let profile = read(
        "
  routes:
  - {name: list, condition: {method: GET, pathRegex: /books}, isRetryable: true, timeout: 250ms}
  - {name: page, condition: {pathRegex: '/books/\\d+'}}
  - name: rest
    condition: {any: [{method: PUT}, {not: {all: [{method: POST}, {pathRegex: /x}]}}]}
    timeout: 0s
",
    );
    let path = |text| RequestMatch::Path(Regex::new(text).unwrap());
    let [list, page, rest] = profile.routes.as_slice() else { panic!("{profile:?}") };
    assert_eq!(list.condition, RequestMatch::All(vec![RequestMatch::Method(Method::GET), path("/books")]));
    assert_eq!(
        (list.retry, list.timeout, list.labels["route"].as_str()),
        (Retryable::WithinBudget, Some(Duration::from_millis(250)), "list")
    );
    assert_eq!((&page.condition, page.retry, page.timeout), (&path("/books/\\d+"), Retryable::Never, None));
    let inner = RequestMatch::All(vec![RequestMatch::Method(Method::POST), path("/x")]);
    assert_eq!(rest.condition, RequestMatch::Any(vec![RequestMatch::Method(Method::PUT), RequestMatch::Not(Box::new(inner))]));
    assert_eq!(rest.timeout, None, "no time is no limit");
}

#[test]
fn response_classes_are_ranges_and_what_is_made_of_them() {
    let profile = read(
        "
  routes:
  - name: all
    condition: {pathRegex: .*}
    responseClasses:
    - {condition: {status: {min: 500, max: 599}}, isFailure: true}
    - {condition: {status: {min: 404}, not: {status: {max: 410}}}}
",
    );
    let expected = [
        ResponseClass { condition: ResponseMatch::Status(500, 599), outcome: Outcome::Failure },
        ResponseClass {
            condition: ResponseMatch::All(vec![
                ResponseMatch::Not(Box::new(ResponseMatch::Status(410, 410))),
                ResponseMatch::Status(404, 404),
            ]),
            outcome: Outcome::Success,
        },
    ];
    assert_eq!(profile.routes[0].classes, expected);
}

#[test]
fn budgets_have_a_default() {
    let default = budget::Params::new(Duration::from_secs(10), 0.2, 10).unwrap();
    assert_eq!(World::new(WEB).profile(PATH, "").budget, Some(default));
    assert_eq!(read("{}").budget, Some(default));
    let said = read("{retryBudget: {retryRatio: 0.5, minRetriesPerSecond: 3, ttl: 30s}}").budget;
    assert_eq!(said, budget::Params::new(Duration::from_secs(30), 0.5, 3).ok());
}

#[test]
fn overrides_take_the_port_that_was_asked_for_and_weigh_in_ten_thousandths() {
    let profile = read(
        "{dstOverrides: [{authority: a.ns.svc.cluster.local, weight: 1}, {authority: 'b.ns.svc.cluster.local:8080', weight: 500m}, {authority: c, weight: '0'}]}",
    );
    let targets: Vec<_> = profile.targets.iter().map(|t| (t.authority.to_string(), t.weight)).collect();
    let expected = [("a.ns.svc.cluster.local:80", 10_000), ("b.ns.svc.cluster.local:8080", 5_000), ("c:80", 0)];
    assert!(targets.iter().map(|(a, w)| (a.as_str(), *w)).eq(expected), "{targets:?}");
    assert!(profile.targets.iter().all(|t| t.backend.is_none()));
}

#[test]
fn the_service_and_not_its_profile_says_what_is_opaque() {
    let reading = World::new(&with(&profile("ns", "{opaquePorts: ['80']}"))).reading(PATH, "").unwrap().unwrap();
    assert!(!reading.profile.opaque);
    assert_eq!(reading.faults.iter().map(Fault::path).collect::<Vec<_>>(), ["spec.opaquePorts"], "and it is told");
}

#[test]
fn parts_that_cannot_be_read_are_left_out_and_told() {
    let reading = unchecked_spec(json!({
        "routes": [
            {"name": "a", "condition": {"method": "GET"}, "timeout": "soon"},
            {"name": "b", "condition": {"method": "GET"}, "timeout": "-1s"},
        ],
        "retryBudget": {"retryRatio": 0.5, "minRetriesPerSecond": 1, "ttl": "1h"},
        "dstOverrides": [{"authority": "no good", "weight": "1"}, {"authority": "a", "weight": "heavy"}, {"authority": "b", "weight": "1"}],
    }));
    let Reading { profile, faults } = reading.unwrap();
    assert_eq!(profile.routes.iter().map(|r| r.timeout).collect::<Vec<_>>(), [None, None]);
    assert_eq!((profile.budget, profile.targets.len()), (None, 1));
    let told: Vec<_> = faults.iter().map(Fault::path).collect();
    let expected = [
        "spec.routes[0].timeout",
        "spec.routes[1].timeout",
        "spec.retryBudget.ttl",
        "spec.dstOverrides[0].authority",
        "spec.dstOverrides[1].weight",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_profile_whose_conditions_cannot_be_read_is_refused_as_a_whole() {
    let route = |condition: Value| json!({"routes": [{"name": "a", "condition": condition}]});
    let class = |condition: Value| json!({"routes": [{"name": "a", "condition": {"method": "GET"}, "responseClasses": [{"condition": condition}]}]});
    let table = [
        (route(json!({})), "spec.routes[0].condition"),
        (route(json!({"pathRegex": ""})), "spec.routes[0].condition"),
        (route(json!({"pathRegex": "("})), "spec.routes[0].condition.pathRegex"),
        (route(json!({"method": "G T"})), "spec.routes[0].condition.method"),
        (route(json!({"any": [{"method": "GET"}, {"not": {}}]})), "spec.routes[0].condition.any[1].not"),
        (class(json!({})), "spec.routes[0].responseClasses[0].condition"),
        (class(json!({"status": {}})), "spec.routes[0].responseClasses[0].condition.status"),
        (class(json!({"status": {"min": 99}})), "spec.routes[0].responseClasses[0].condition.status"),
        (class(json!({"all": [{"status": {"min": 500, "max": 400}}]})), "spec.routes[0].responseClasses[0].condition.all[0].status"),
    ];
    for (spec, path) in table {
        assert_eq!(unchecked_spec(spec.clone()).unwrap_err().path(), path, "{spec}");
    }
}

#[test]
fn conditions_are_as_deep_as_readers_take_them_and_no_deeper() {
    let nested = |levels: usize, innermost: Value| (0..levels).fold(innermost, |inner, _| json!({"not": inner}));
    let spec = |condition| unchecked_spec(json!({"routes": [{"name": "a", "condition": condition}]}));
    let survives_the_wire = |reading: Reading| {
        let proto = meshkit_wire::destination::profile_to(&reading.profile);
        meshkit_wire::destination::profile(proto).map(|read| read.routes == reading.profile.routes)
    };
    let (one, two) = (json!({"method": "GET"}), json!({"method": "GET", "pathRegex": "/"}));
    assert_eq!(survives_the_wire(spec(nested(15, one.clone())).unwrap()), Ok(true));
    assert_eq!(survives_the_wire(spec(nested(14, two.clone())).unwrap()), Ok(true));
    assert!(spec(nested(16, one)).unwrap_err().to_string().contains("deep"));
    assert!(spec(nested(15, two)).unwrap_err().to_string().contains("deep"));
}
