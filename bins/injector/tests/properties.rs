//! What holds for every document.

#![allow(clippy::unwrap_used)] // Helpers of tests are no tests to clippy.

use meshkit_injector::{
    annotation::Annotations,
    documents::{self, Mode, Options, Settings},
    inject::{Owner, Target, inject},
    values::Values,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn container() -> impl Strategy<Value = Value> {
    let ports = prop::collection::vec((1..=65535_u16, prop::option::of("[a-z]{1,8}")), 0..4);
    ("[a-z]{1,8}", ports, any::<bool>(), any::<bool>()).prop_map(|(name, ports, probed, mounted)| {
        let mut container = json!({"name": format!("app-{name}"), "image": "example.com/app:1", "unknownField": {"kept": [1, null]}});
        if !ports.is_empty() {
            container["ports"] = ports
                .into_iter()
                .map(|(number, name)| match name {
                    Some(name) => json!({"containerPort": number, "name": name}),
                    None => json!({"containerPort": number}),
                })
                .collect();
        }
        if probed {
            container["livenessProbe"] = json!({"httpGet": {"port": 8081}});
        }
        if mounted {
            container["volumeMounts"] = json!([{"name": "t", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
        }
        container
    })
}

fn strings() -> impl Strategy<Value = Option<Map<String, Value>>> {
    let map = prop::collection::btree_map("[a-z~/]{1,8}", "[ -~]{0,8}", 1..4);
    prop::option::of(map.prop_map(|map| map.into_iter().map(|(key, value)| (format!("example.com/{key}"), Value::from(value))).collect()))
}

prop_compose! {
    /// A template, without lists and maps that are there and empty: those go when something is taken from them.
    fn template()(
        containers in prop::collection::vec(container(), 1..4),
        init in prop::option::of(prop::collection::vec(container(), 1..3)),
        volumes in any::<bool>(),
        labels in strings(),
        annotations in strings(),
        skip in any::<bool>(),
    ) -> Value {
        let mut template = json!({"spec": {"containers": containers}});
        if let Some(init) = init {
            template["spec"]["initContainers"] = Value::from(init);
        }
        if volumes {
            template["spec"]["volumes"] = json!([{"name": "cache", "emptyDir": {}}]);
        }
        if let Some(labels) = labels {
            template["metadata"]["labels"] = Value::from(labels);
        }
        if let Some(annotations) = annotations {
            template["metadata"]["annotations"] = Value::from(annotations);
        }
        if skip {
            template["metadata"]["annotations"]["config.linkerd.io/skip-inbound-ports"] = json!("22");
        }
        template
    }
}

/// The template in a document of each kind.
fn document(kind: usize, template: &Value) -> Value {
    let around = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "ns"}, "spec": spec});
    match kind {
        0 => around("apps/v1", "Deployment", json!({"template": template})),
        1 => around("apps/v1", "StatefulSet", json!({"template": template})),
        2 => around("batch/v1", "Job", json!({"template": template})),
        3 => around("batch/v1", "CronJob", json!({"jobTemplate": {"spec": {"template": template}}})),
        4 => json!({"apiVersion": "v1", "kind": "List", "items": [document(0, template), document(5, template)]}),
        _ => {
            let mut pod = template.clone();
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod["metadata"]["name"] = json!("x");
            pod
        }
    }
}

prop_compose! {
    fn options()(manual in any::<bool>(), native in any::<bool>(), wait in any::<bool>(), cni in any::<bool>(), debug in any::<bool>(), tracing in any::<bool>()) -> Options {
        let mut values = Values { cni_enabled: cni, identity_trust_anchors_pem: "PEM".to_owned(), ..Values::default() };
        values.proxy.native_sidecar = native;
        values.proxy.r#await = wait;
        values.debug_container.enabled = debug;
        values.proxy.tracing.enabled = tracing;
        Options::new(values).mode(if manual { Mode::Manual } else { Mode::Annotate })
    }
}

proptest! {
    #[test]
    fn uninjection_undoes_injection(template in template(), kind in 0..6_usize, options in options()) {
        let document = document(kind, &template);
        let (injected, _) = documents::inject(vec![document.clone()], &options).unwrap();
        prop_assert_ne!(&injected[0], &document);
        let (uninjected, _) = documents::uninject(injected, Settings::Kept);
        prop_assert_eq!(&uninjected[0], &document);
        let (again, report) = documents::uninject(uninjected, Settings::Kept);
        prop_assert_eq!(&again[0], &document);
        prop_assert!(report.rows.iter().all(|row| row.outcome == documents::Outcome::Skipped));
    }

    #[test]
    fn injection_is_done_once(template in template(), kind in 0..6_usize, options in options(), before in options()) {
        let document = document(kind, &template);
        let (injected, report) = documents::inject(vec![document.clone()], &options).unwrap();
        let (again, same) = documents::inject(injected.clone(), &options).unwrap();
        prop_assert_eq!(&again, &injected);
        prop_assert_eq!(same, report);
        // Whatever was injected before leaves no trace.
        let (before, _) = documents::inject(vec![document], &before).unwrap();
        prop_assert_eq!(documents::inject(before, &options).unwrap().0, injected);
    }

    #[test]
    fn the_patch_of_the_webhook_makes_what_the_command_makes(template in template(), options in options()) {
        let options = options.mode(Mode::Manual);
        let deployment = document(0, &template);
        let (injected, _) = documents::inject(vec![deployment.clone()], &options).unwrap();
        let owner = Owner { kind: "Deployment".to_owned(), name: "x".to_owned() };
        let by = format!("linkerd/cli {}", options.values.linkerd_version);
        let none = Annotations::new();
        let target = Target { document: &template, prefix: "", namespace: "ns", namespace_annotations: &none, owner: Some(&owner), created_by: &by };
        let patch = inject(&options.values, &target).unwrap().patch;
        let mut ours = template.clone();
        patch.apply(&mut ours).unwrap();
        // Somebody else's patching, which knows the RFC and not us.
        let mut theirs = template;
        json_patch::patch(&mut theirs, &serde_json::from_value::<json_patch::Patch>(patch.to_json()).unwrap()).unwrap();
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(&injected[0]["spec"]["template"], &ours);
    }

    #[test]
    fn nothing_that_is_read_panics(text in "[a-zA-Z:{}\\[\\]\"',/.* 0-9-]{0,80}", kind in 0..6_usize) {
        let kinds = ["Deployment", "Job", "CronJob", "Pod", "Namespace", "Service"];
        for version in ["v1", "apps/v1", "batch/v1"] {
            for field in ["metadata", "spec"] {
                let text = format!("{{apiVersion: {version}, kind: {}, {field}: {{{text}}}}}", kinds[kind]);
                let Ok(read) = documents::read(&text) else { continue };
                for mode in [Mode::Annotate, Mode::Manual] {
                    let _ = documents::inject(read.clone(), &Options::default().mode(mode));
                }
                let _ = documents::uninject(read, Settings::Removed);
            }
        }
    }
}
