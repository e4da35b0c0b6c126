//! Manifests as people write them: each kind is read, and written as it was read.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::path::Path;

use meshkit_manifest::{Kind, Manifest, Object};

fn read(name: &str, text: &str) -> Manifest {
    Manifest::parse(Path::new(name), text)
        .unwrap_or_else(|faults| panic!("{}", faults.iter().map(|f| format!("{f}\n")).collect::<String>()))
}

fn only(manifest: &Manifest, kind: Kind) -> &Object {
    manifest.objects.iter().find(|object| object.kind() == kind).unwrap_or_else(|| panic!("no {}", kind.as_str()))
}

fn all() -> Vec<Manifest> {
    let files = [
        ("workloads.yaml", include_str!("manifests/workloads.yaml")),
        ("policy.yaml", include_str!("manifests/policy.yaml")),
        ("routes.yaml", include_str!("manifests/routes.yaml")),
        ("cluster.json", include_str!("manifests/cluster.json")),
    ];
    files.map(|(name, text)| read(name, text)).into()
}

#[test]
fn every_kind_is_read_and_written_as_it_was_read() {
    let mut kinds = Vec::new();
    for object in all().iter().flat_map(|manifest| &manifest.objects) {
        let json = object.to_json().unwrap();
        let again = read("again.json", &json.to_string());
        assert_eq!(again.objects, std::slice::from_ref(object), "{json:#}");
        assert_eq!(Object::from_json(json).unwrap().as_ref(), Some(object));
        kinds.push(object.kind());
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, Kind::ALL, "each kind is in one of the files");
}

#[test]
fn workloads_are_read_with_what_runs_in_them() {
    let manifest = &all()[0];
    let Object::Deployment(web) = only(manifest, Kind::Deployment) else { panic!() };
    let pod = &web.spec.template.spec;
    assert_eq!((web.spec.replicas, pod.service_account()), (Some(2), "web"));
    assert_eq!(pod.ports().collect::<Vec<_>>(), [("http", 8080), ("grpc", 8081)]);
    assert_eq!(pod.probes().collect::<Vec<_>>(), [(8080, "/live?deep=1"), (9990, "/")]);
    let env = &pod.containers[0].env;
    assert_eq!(env[0].value.as_deref(), Some("emoji-svc.emojivoto:8080"));
    assert_eq!(env[1].value_from.as_ref().unwrap().field_ref.as_ref().unwrap().field_path, "status.podIP");
    assert!(web.spec.selector.as_ref().unwrap().matches(&web.spec.template.metadata.labels));
    let Object::Secret(secret) = only(manifest, Kind::Secret) else { panic!() };
    assert!(!format!("{secret:?}").contains("aHVudGVyMg"), "a secret is not shown");
}

#[test]
fn routes_are_read_with_their_parents_and_backends() {
    let manifest = &all()[2];
    let Object::HTTPRoute(route) = only(manifest, Kind::HTTPRoute) else { panic!() };
    assert!(route.spec.parent_refs[0].is("", "Service"));
    let rule = &route.spec.rules[0];
    assert_eq!(rule.timeouts.as_ref().unwrap().request.unwrap().to_string(), "1m30s");
    assert_eq!(
        rule.backend_refs.iter().map(|b| (b.name.as_str(), b.weight)).collect::<Vec<_>>(),
        [("web-v1", Some(90)), ("web-v2", Some(10))]
    );
    let Object::ServiceProfile(profile) = only(manifest, Kind::ServiceProfile) else { panic!() };
    assert_eq!(profile.spec.dst_overrides[1].milli(), Some(100));
}

#[test]
fn a_later_version_may_have_fields_that_are_not_known() {
    let json = serde_json::json!({
        "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": {"name": "a", "namespace": "b", "managedFields": []},
        "spec": {"podSelector": {}, "port": 80, "later": true}, "status": null,
    });
    assert!(matches!(Object::from_json(json.clone()), Ok(Some(Object::Server(_)))), "from the API server");
    let faults = Manifest::parse(Path::new("a.json"), &json.to_string()).unwrap_err();
    assert_eq!(faults[0].field.as_deref(), Some("spec.later"), "but not from a file");
    assert_eq!(Object::from_json(serde_json::json!({"apiVersion": "v1", "kind": "Event"})), Ok(None));
    let bad = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a.b/c": 1}}});
    assert!(Object::from_json(bad).unwrap_err().to_string().starts_with("metadata.labels[\"a.b/c\"]: "));
}
