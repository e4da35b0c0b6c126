use std::fs;

use clap::Parser;
use meshkit_injector::documents::read;

use super::*;

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    inject: Inject,
}

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: emojivoto}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: web:v1, ports: [{containerPort: 8080}], something: {unknown: [1, 2]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
";

fn options(words: &[&str]) -> Result<Options, Vec<String>> {
    let words = [&["inject", "-", "--ignore-cluster"], words].concat();
    Alone::try_parse_from(words).map_err(|error| vec![error.to_string()])?.inject.options(Tree::defaults())
}

fn injected(words: &[&str]) -> (Vec<Value>, String) {
    let (documents, report) = documents::inject(read(WEB).unwrap(), &options(words).unwrap()).unwrap();
    (documents, report.to_string())
}

#[test]
fn without_flags_there_is_one_annotation() {
    let (documents, report) = injected(&[]);
    assert_eq!(documents[0]["spec"]["template"]["metadata"]["annotations"], json!({"linkerd.io/inject": "enabled"}));
    assert_eq!(documents[1], read(WEB).unwrap()[1]);
    assert_eq!(report, "\ndeployment \"web\" injected\nservice \"web\" skipped\n\n");
}

/// Each flag, and the annotations that it makes.
#[test]
fn flags_become_annotations() {
    let config = "config.linkerd.io/";
    for (flag, key, value) in [
        ("--inbound-port=5143", "inbound-port", "5143"),
        ("--outbound-port=5140", "outbound-port", "5140"),
        ("--control-port=5190", "control-port", "5190"),
        ("--admin-port=5191", "admin-port", "5191"),
        ("--skip-inbound-ports=25,8000-8080", "skip-inbound-ports", "25,8000-8080"),
        ("--skip-outbound-ports=443", "skip-outbound-ports", "443"),
        ("--proxy-uid=3000", "proxy-uid", "3000"),
        ("--proxy-gid=3001", "proxy-gid", "3001"),
        ("--proxy-log-level=debug", "proxy-log-level", "debug"),
        ("--default-inbound-policy=deny", "default-inbound-policy", "deny"),
        ("--proxy-cpu-request=100m", "proxy-cpu-request", "100m"),
        ("--proxy-cpu-limit=1", "proxy-cpu-limit", "1"),
        ("--proxy-memory-request=20Mi", "proxy-memory-request", "20Mi"),
        ("--proxy-memory-limit=250Mi", "proxy-memory-limit", "250Mi"),
        ("--enable-external-profiles", "enable-external-profiles", "true"),
        ("--proxy-image=example.com/proxy", "proxy-image", "example.com/proxy"),
        ("--proxy-version=9.9.9", "proxy-version", "9.9.9"),
        ("--image-pull-policy=Always", "image-pull-policy", "Always"),
        ("--enable-debug-sidecar", "enable-debug-sidecar", "true"),
        ("--close-wait-timeout=2m", "close-wait-timeout", "120s"),
        ("--native-sidecar=false", "proxy-enable-native-sidecar", "false"),
        ("--require-identity-on-inbound-ports=8080", "proxy-require-identity-inbound-ports", "8080"),
    ] {
        let (documents, _) = injected(&[flag]);
        let annotations = &documents[0]["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(*annotations, json!({"linkerd.io/inject": "enabled", format!("{config}{key}"): value}), "{flag}");
    }
    let (documents, _) = injected(&["--ingress", "--wait-before-exit-seconds=9"]);
    assert_eq!(
        documents[0]["spec"]["template"]["metadata"]["annotations"],
        json!({"linkerd.io/inject": "ingress", "config.alpha.linkerd.io/proxy-wait-before-exit-seconds": "9"})
    );
}

#[test]
fn opaque_ports_go_to_services_too() {
    let (documents, report) = injected(&["--opaque-ports=3306,admin"]);
    for metadata in [&documents[0]["spec"]["template"]["metadata"], &documents[1]["metadata"]] {
        assert_eq!(metadata["annotations"]["config.linkerd.io/opaque-ports"], "3306,admin");
    }
    assert!(report.contains("service \"web\" annotated"), "{report}");
}

#[test]
fn all_of_the_proxy_is_written_if_that_is_asked_for() {
    let (documents, _) = injected(&["--manual", "--admin-port=5191"]);
    let spec = &documents[0]["spec"]["template"]["spec"];
    let names: Vec<_> = spec["initContainers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["linkerd-init", "linkerd-proxy"]);
    assert_eq!(spec["initContainers"][1]["ports"][1]["containerPort"], 5191);
    assert_eq!(spec["containers"][0]["something"]["unknown"], json!([1, 2]), "what nobody knows stays");
    assert_eq!(documents::uninject(documents, Settings::Removed).0, read(WEB).unwrap());
}

#[test]
fn flags_that_cannot_be_meant_are_refused() {
    for (flag, part) in [
        ("--opaque-ports=1-", "opaque-ports"),
        ("--require-identity-on-inbound-ports=admin", "proxy-require-identity-inbound-ports"),
        ("--skip-inbound-ports=x", "skip-inbound-ports"),
    ] {
        let faults = options(&[flag]).unwrap_err().join("\n");
        assert!(faults.contains(part), "{flag}: {faults}");
    }
}

#[test]
fn folders_are_walked_in_order_and_addresses_are_refused() {
    let dir = std::env::temp_dir().join(format!("mesh-inject-{}", std::process::id()));
    fs::create_dir_all(dir.join("b")).unwrap();
    for name in ["c.yml", "b/a.yaml", "a.json"] {
        fs::write(dir.join(name), "{}").unwrap();
    }
    let found = inputs::find(&[dir.clone(), PathBuf::from("-")]).unwrap();
    let wanted = [dir.join("a.json"), dir.join("b/a.yaml"), dir.join("c.yml"), PathBuf::from("-")];
    assert_eq!(found, wanted);
    fs::write(dir.join("bad"), "a: [").unwrap();
    assert!(inputs::read(&dir.join("bad")).unwrap_err().contains("bad: line "));
    fs::remove_dir_all(&dir).unwrap();
    let faults = inputs::find(&[dir, PathBuf::from("https://example.com/web.yml")]).unwrap_err();
    assert!(faults.len() == 2 && faults[1].contains("curl"), "{faults:?}");
}
