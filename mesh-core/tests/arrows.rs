//! What the published crates depend on: whoever adds one must not pay for a gRPC client, nor for another of them.

use std::{collections::BTreeSet, process::Command};

const FEATURE_CRATES: [&str; 5] = ["meshkit-balance", "meshkit-tls", "meshkit-policy", "meshkit-retry", "meshkit-fault"];
/// At home in programs and kits.
const FOREIGN: [&str; 14] = [
    "tonic",
    "prost",
    "linkerd2-proxy-api",
    "kube",
    "k8s-openapi",
    "axum",
    "hyper",
    "hyper-util",
    "h2",
    "clap",
    "serde",
    "tracing",
    "tracing-subscriber",
    "ring",
];

/// Everything that a package is built of, with all of its features.
fn dependencies(package: &str) -> BTreeSet<String> {
    let args =
        ["tree", "--offline", "--locked", "--all-features", "--edges", "normal,build", "--prefix", "none", "--format", "{p}", "--package"];
    let output = Command::new(env!("CARGO")).args(args).arg(package).output().expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_words_depend_on_nothing_of_ours() {
    let all = dependencies("meshkit-core");
    let ours: Vec<_> = all.iter().filter(|name| name.starts_with("meshkit-")).collect();
    assert_eq!(ours, ["meshkit-core"]);
}

#[test]
fn no_feature_crate_depends_on_another_or_on_what_belongs_into_programs() {
    for package in FEATURE_CRATES {
        let all = dependencies(package);
        let ours: BTreeSet<_> = all.iter().map(String::as_str).filter(|name| name.starts_with("meshkit-")).collect();
        assert_eq!(ours, BTreeSet::from(["meshkit-core", package]));
        let foreign: Vec<_> = FOREIGN.into_iter().filter(|name| all.contains(*name)).collect();
        assert!(foreign.is_empty(), "{package} depends on {foreign:?}");
        assert_eq!(all.contains("rustls"), package == "meshkit-tls", "TLS has one home: {package}");
    }
}
