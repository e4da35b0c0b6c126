//! What injection makes of whole documents, beside what it made of them when somebody last looked.
//!
//! `MESH_BLESS=1 cargo test -p meshkit-injector --test golden` writes the files anew.

#![allow(clippy::unwrap_used)] // Helpers of tests are no tests to clippy.

use std::{
    fs,
    path::{Path, PathBuf},
};

use meshkit_injector::{
    annotation::{Annotations, CONFIG, CONFIG_ALPHA, CONFIG_BETA},
    documents::{self, Format, Mode, Options, Settings, Style},
    image::Layout,
    inject::{Owner, Target, inject},
    values::Values,
};
use serde_json::{Value, json};

const INPUTS: &[&str] = &["deployment", "statefulset", "daemonset", "job", "cronjob", "pod", "list", "unsupported"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn input(name: &str) -> Vec<Value> {
    documents::read(&fs::read_to_string(golden(&format!("input/{name}.yaml"))).unwrap()).unwrap()
}

/// Compares, or writes if that was asked for.
fn compare(name: &str, found: &str) {
    let path = golden(name);
    if std::env::var_os("MESH_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(wanted == found, "{} is not what is made now:\n{found}", path.display());
}

fn values() -> Values {
    let mut values = Values { linkerd_version: "1.0.0".to_owned(), identity_trust_anchors_pem: "PEM\n".to_owned(), ..Values::default() };
    values.proxy.resources.memory.limit = "250Mi".to_owned();
    values
}

fn stock() -> Values {
    let mut values = values();
    values.proxy.image.name = "cr.l5d.io/linkerd/proxy".to_owned();
    values.proxy.image.version = "edge-26.1.1".to_owned();
    values.proxy.native_sidecar = false;
    values
}

#[test]
fn annotations_ask_the_webhook() {
    for name in INPUTS {
        let (injected, report) = documents::inject(input(name), &Options::new(values())).unwrap();
        compare(&format!("annotate/{name}.yaml"), &documents::write(&injected, Format::Yaml).unwrap());
        compare(&format!("annotate/{name}.report"), &report.to_string());
    }
    let verbose = documents::inject(input("deployment"), &Options::new(values())).unwrap().1.render(Style::default().verbose(true));
    compare("annotate/verbose.report", &verbose);
}

#[test]
fn everything_is_written_into_the_documents() {
    for name in INPUTS {
        let (injected, report) = documents::inject(input(name), &Options::new(values()).mode(Mode::Manual)).unwrap();
        compare(&format!("manual/{name}.yaml"), &documents::write(&injected, Format::Yaml).unwrap());
        compare(&format!("manual/{name}.report"), &report.to_string());
    }
}

#[test]
fn a_stock_proxy_has_its_own_paths() {
    let values = stock();
    assert_eq!(Layout::of(&values), Layout::Linkerd);
    let (injected, _) = documents::inject(input("deployment"), &Options::new(values).mode(Mode::Manual)).unwrap();
    compare("manual/stock.yaml", &documents::write(&injected, Format::Yaml).unwrap());
}

#[test]
fn with_the_plugin_nothing_is_privileged() {
    let values = Values { cni_enabled: true, disable_ipv6: false, ..values() };
    let (injected, _) = documents::inject(input("deployment"), &Options::new(values).mode(Mode::Manual)).unwrap();
    let text = documents::write(&injected, Format::Yaml).unwrap();
    assert!(!text.contains("NET_ADMIN") && !text.contains("xtables"));
    compare("manual/cni.yaml", &text);
}

#[test]
fn parts_of_the_control_plane_talk_to_themselves() {
    let mut text = String::new();
    for component in ["identity", "destination", "proxy-injector"] {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": format!("linkerd-{component}"), "namespace": "linkerd"},
            "spec": {"template": {
                "metadata": {"labels": {"linkerd.io/control-plane-component": component}},
                "spec": {"containers": [{"name": component, "ports": [{"containerPort": 8080}]}]},
            }},
        });
        let refused = documents::inject(vec![deployment.clone()], &Options::new(values())).unwrap_err();
        assert!(refused[0].to_string().starts_with(&format!("failed to inject deployment/linkerd-{component}: ")), "{}", refused[0]);
        let (injected, _) = documents::inject(vec![deployment], &Options::new(values()).mode(Mode::Manual)).unwrap();
        text.push_str(&documents::write(&injected, Format::Yaml).unwrap());
    }
    compare("manual/control-plane.yaml", &text);
}

/// Each annotation of the reference, with what it changes: lines that go, and lines that come.
#[test]
fn every_override_changes_what_it_should() {
    let cases = [
        (CONFIG, "proxy-image", "example.com/other/proxy"),
        (CONFIG, "proxy-version", "9.9.9"),
        (CONFIG, "image-pull-policy", "Always"),
        (CONFIG, "control-port", "5190"),
        (CONFIG, "admin-port", "5191"),
        (CONFIG, "inbound-port", "5143"),
        (CONFIG, "outbound-port", "5140"),
        (CONFIG, "pod-inbound-ports", "1,2"),
        (CONFIG, "proxy-cpu-request", "1500m"),
        (CONFIG, "proxy-cpu-limit", "3"),
        (CONFIG, "proxy-cpu-ratio-limit", "0.5"),
        (CONFIG, "proxy-memory-request", "20Mi"),
        (CONFIG, "proxy-memory-limit", "1Gi"),
        (CONFIG, "proxy-ephemeral-storage-request", "10Mi"),
        (CONFIG, "proxy-ephemeral-storage-limit", "20Mi"),
        (CONFIG, "proxy-uid", "3000"),
        (CONFIG, "proxy-gid", "3001"),
        (CONFIG, "proxy-log-level", "debug"),
        (CONFIG, "proxy-log-http-headers", "insecure"),
        (CONFIG, "proxy-log-format", "json"),
        (CONFIG, "access-log", "apache"),
        (CONFIG, "proxy-require-identity-inbound-ports", "8080"),
        (CONFIG, "default-inbound-policy", "deny"),
        (CONFIG, "opaque-ports", "admin,7000-7010"),
        (CONFIG, "opaque-ports", ""),
        (CONFIG, "skip-inbound-ports", "22"),
        (CONFIG, "skip-outbound-ports", "25,443"),
        (CONFIG, "skip-subnets", "10.1.0.0/16"),
        (CONFIG, "proxy-outbound-connect-timeout", "2s"),
        (CONFIG, "proxy-inbound-connect-timeout", "200ms"),
        (CONFIG, "proxy-outbound-discovery-cache-unused-timeout", "50s"),
        (CONFIG, "proxy-inbound-discovery-cache-unused-timeout", "2m"),
        (CONFIG, "proxy-disable-outbound-protocol-detect-timeout", "true"),
        (CONFIG, "proxy-disable-inbound-protocol-detect-timeout", "true"),
        (CONFIG, "shutdown-grace-period", "60s"),
        (CONFIG, "proxy-enable-native-sidecar", "false"),
        (CONFIG_BETA, "proxy-enable-native-sidecar", "false"),
        (CONFIG_ALPHA, "proxy-enable-native-sidecar", "false"),
        (CONFIG, "proxy-await", "disabled"),
        (CONFIG, "proxy-admin-shutdown", "enabled"),
        (CONFIG, "proxy-metrics-hostname-labels", "true"),
        (CONFIG, "enable-external-profiles", "true"),
        (CONFIG, "enable-gateway", "true"),
        (CONFIG, "enable-debug-sidecar", "true"),
        (CONFIG, "debug-image", "example.com/debug"),
        (CONFIG, "debug-image-version", "9.9.9"),
        (CONFIG, "close-wait-timeout", "2m"),
        (CONFIG, "proxy-additional-env", r#"[{"name":"LINKERD2_PROXY_LOG","value":"trace"}]"#),
        (CONFIG_ALPHA, "proxy-wait-before-exit-seconds", "5"),
        ("resource.opentelemetry.io/", "service.version", "2"),
        ("linkerd.io/", "inject", "ingress"),
    ];
    let of = |annotations: &Annotations| {
        let mut document = input("deployment").remove(0);
        document["spec"]["template"]["metadata"]["annotations"] = json!(annotations);
        let owner = Owner { kind: "Deployment".to_owned(), name: "web".to_owned() };
        let target = Target {
            document: &document,
            prefix: "/spec/template",
            namespace: "emojivoto",
            namespace_annotations: &Annotations::new(),
            owner: Some(&owner),
            created_by: "test",
        };
        let mut values = values();
        values.proxy.tracing.enabled = annotations.keys().any(|key| key.starts_with("resource."));
        let injection = inject(&values, &target).unwrap();
        assert_eq!((injection.faults.len(), injection.unknown.len()), (0, 0), "{annotations:?}");
        let lines = injection
            .patch
            .iter()
            .map(|(path, value)| format!("add {path}\n{}", documents::write(std::slice::from_ref(value), Format::Yaml).unwrap()));
        lines.collect::<String>()
    };
    let plain = of(&Annotations::new());
    let mut text = String::new();
    for (prefix, key, value) in cases {
        let key = format!("{prefix}{key}");
        // Some have an effect only together with another.
        let other = match key.as_str() {
            "config.alpha.linkerd.io/proxy-wait-before-exit-seconds" => Some(("config.linkerd.io/proxy-enable-native-sidecar", "false")),
            "config.linkerd.io/debug-image" | "config.linkerd.io/debug-image-version" => {
                Some(("config.linkerd.io/enable-debug-sidecar", "true"))
            }
            _ => None,
        };
        let mut annotations: Annotations = other.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let before = if other.is_some() { of(&annotations) } else { plain.clone() };
        annotations.insert(key.clone(), value.to_owned());
        let told = difference(&before, &of(&annotations));
        // Accepted, and replaced by what the injector finds out itself.
        assert_eq!(told.is_empty(), key.ends_with("pod-inbound-ports"), "{key}");
        text.push_str(&format!("### {key}: {value}\n{told}\n"));
    }
    compare("overrides.txt", &text);
}

/// The longest common subsequence of lines, told by what is not in it.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let mut lengths = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            lengths[i][j] = if old[i] == new[j] { lengths[i + 1][j + 1] + 1 } else { lengths[i + 1][j].max(lengths[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && lengths[i + 1][j] >= lengths[i][j + 1]) {
            text.push_str(&format!("- {}\n", old[i].trim_start()));
            i += 1;
        } else {
            text.push_str(&format!("+ {}\n", new[j].trim_start()));
            j += 1;
        }
    }
    text
}

#[test]
fn what_was_injected_is_taken_away_again() {
    for name in INPUTS {
        for mode in [Mode::Annotate, Mode::Manual] {
            for values in [values(), stock()] {
                let options = Options::new(values).mode(mode);
                let (injected, _) = documents::inject(input(name), &options).unwrap();
                let (again, _) = documents::inject(injected.clone(), &options).unwrap();
                assert_eq!(again, injected, "{name} {mode:?} twice");
                assert_eq!(documents::uninject(injected, Settings::Kept).0, input(name), "{name} {mode:?}");
            }
        }
    }
    let (injected, _) = documents::inject(input("list"), &Options::new(values())).unwrap();
    compare("uninject/list.report", &documents::uninject(injected, Settings::Kept).1.to_string());
}
