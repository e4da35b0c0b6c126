use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use clap::Parser;
use runner::{Outcome, Passed, Row};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::{
    cluster::{fake::Fake, plural},
    install::{self, GATEWAY_CRDS},
    values::Tree,
};

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    check: Check,
}

fn check(words: &[&str]) -> Check {
    Alone::try_parse_from([&["check"], words].concat()).unwrap().check
}

async fn rows(words: &[&str], cluster: &Fake) -> (bool, Vec<Row>) {
    let check = check(words);
    let mut rows = Vec::new();
    let well = runner::run(&check.categories(), &check.scene(cluster), check.wait, |row| rows.push(row)).await;
    (well, rows)
}

fn pod(namespace: &str, name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": {"linkerd.io/proxy-version": version()}},
        "spec": {
            "containers": [{"name": "app", "ports": [{"containerPort": 8080, "name": "http"}]}],
            "initContainers": [
                {"name": "linkerd-init"},
                {"name": "linkerd-proxy", "restartPolicy": "Always", "env": [{"name": "LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "value": "x"}]},
            ],
        },
        "status": {
            "phase": "Running", "podIP": "10.1.2.3",
            "containerStatuses": [{"name": "app", "ready": true}],
            "initContainerStatuses": [{"name": "linkerd-init", "ready": true}, {"name": "linkerd-proxy", "ready": true}],
        },
    })
}

fn version() -> &'static str {
    crate::version::CLIENT
}

/// A cluster with nothing in it.
fn empty() -> Fake {
    let mut fake = Fake::default();
    fake.fix("/version", json!({"gitVersion": "v1.33.1+k3s1"}));
    let now = jiff::Timestamp::try_from(SystemClock.now()).unwrap().to_string();
    fake.add(
        "nodes",
        json!({"metadata": {"name": "one"}, "spec": {"podCIDR": "10.1.0.0/24"}, "status": {
            "nodeInfo": {"containerRuntimeVersion": "containerd://2.0"}, "conditions": [{"type": "Ready", "lastHeartbeatTime": now}]}}),
    );
    let map = json!({"metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"}, "data": {"requestheader-client-ca-file": "x"}});
    fake.add("configmaps", map);
    for name in GATEWAY_CRDS {
        let versions = json!([{"name": "v1", "served": true}]);
        fake.add(
            "customresourcedefinitions",
            json!({"apiVersion": "apiextensions.k8s.io/v1", "metadata": {"name": name}, "spec": {"versions": versions}}),
        );
    }
    fake
}

/// A cluster with a mesh in it, and one workload.
fn meshed(change: Value) -> Fake {
    let mut fake = empty();
    let mut tree = Tree::defaults();
    tree.merge(change);
    let objects = install::render(tree, "linkerd").unwrap();
    let kinds = install::crds("linkerd", "me").unwrap();
    for object in objects.into_iter().chain(kinds) {
        let kind = plural(object["kind"].as_str().unwrap());
        fake.add(&kind, object);
    }
    for part in ["identity", "destination", "proxy-injector"] {
        let labels = json!({"linkerd.io/control-plane-component": part, "linkerd.io/control-plane-ns": "linkerd"});
        fake.add("pods", pod("linkerd", &format!("linkerd-{part}-1"), labels));
        let set = json!({"apiVersion": "apps/v1", "metadata": {"name": format!("linkerd-{part}-1"), "namespace": "linkerd"},
            "spec": {"replicas": 1}, "status": {"readyReplicas": 1}});
        fake.add("replicasets", set);
    }
    fake.add("pods", pod("emojivoto", "web-1", json!({"linkerd.io/control-plane-ns": "linkerd", "app": "web"})));
    fake.add("namespaces", json!({"metadata": {"name": "emojivoto"}}));
    let service = json!({"metadata": {"name": "web", "namespace": "emojivoto"}, "spec": {"clusterIP": "10.2.0.1", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    fake.add("services", service);
    fake
}

fn wrong(rows: &[Row]) -> Vec<&Row> {
    rows.iter().filter(|row| row.result != Outcome::Success).collect()
}

#[tokio::test(start_paused = true)]
async fn a_sound_mesh_is_all_green() {
    let (well, found) = rows(&["--expected-version", version()], &meshed(json!({}))).await;
    assert_eq!((well, wrong(&found)), (true, vec![]));
    let mut categories: Vec<_> = found.iter().map(|row| row.category).collect();
    categories.dedup();
    assert_eq!(
        categories,
        [
            "kubernetes-api",
            "kubernetes-version",
            "gateway-api-crd",
            "linkerd-existence",
            "linkerd-config",
            "linkerd-identity",
            "linkerd-webhooks-and-apisvc-tls",
            "linkerd-version",
            "control-plane-version",
            "linkerd-control-plane-proxy",
            "linkerd-extension-checks",
        ]
    );
    let (well, found) = rows(&["--proxy", "-n", "emojivoto"], &meshed(json!({}))).await;
    assert_eq!((well, wrong(&found)), (true, vec![]));
    for category in ["linkerd-identity-data-plane", "linkerd-data-plane"] {
        assert!(found.iter().any(|row| row.category == category), "{category}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_cluster_is_ready_for_a_mesh() {
    let (well, found) = rows(&["--pre"], &empty()).await;
    assert_eq!((well, wrong(&found)), (true, vec![]));
    let setup: Vec<_> = found.iter().filter(|row| row.category == "pre-kubernetes-setup").map(|row| row.description.as_str()).collect();
    assert_eq!(
        setup,
        [
            "control plane namespace does not already exist",
            "can create non-namespaced resources",
            "can create ServiceAccounts",
            "can create Services",
            "can create Deployments",
            "can create CronJobs",
            "can create ConfigMaps",
            "can create Secrets",
            "can read Secrets",
            "can read extension-apiserver-authentication configmap",
            "no clock skew detected",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_checked_in_a_cluster_that_does_not_answer() {
    let (well, found) = rows(&[], &Fake::broken()).await;
    assert!(!well);
    let last = found.last().unwrap();
    assert_eq!((found.len(), last.description.as_str(), last.result), (2, "can query the Kubernetes API", Outcome::Error));
    assert!(last.error.as_ref().unwrap().contains("kubectl version"));
}

/// What is broken, the row that says so, and the words that say what to do.
#[tokio::test(start_paused = true)]
async fn every_red_row_says_what_to_do() {
    type Break = fn(&mut Fake);
    let table: [(&[&str], Break, &str, &str); 22] = [
        (&["--pre"], |fake| fake.fix("/version", json!({"gitVersion": "v1.29.0"})), "k8s-version", "upgrade the cluster"),
        (&["--pre"], |fake| fake.add("namespaces", json!({"metadata": {"name": "linkerd"}})), "pre-ns", "mesh upgrade"),
        (&["--pre"], |fake| fake.forbid("deployments"), "pre-k8s", "administrator"),
        (&["--pre"], |fake| fake.forbid("clusterroles"), "pre-k8s-cluster-k8s", "administrator"),
        (&["--pre"], |fake| fake.remove("/extension-apiserver-authentication"), "pre-k8s", "--requestheader-client-ca-file"),
        (&["--crds"], |_| {}, "l5d-existence-crd", "mesh install --crds"),
        (&[], |fake| fake.remove("/linkerd-config"), "l5d-existence-linkerd-config", "mesh install"),
        (
            &[],
            |fake| fake.change("/replicasets/linkerd-identity-1", |set| set["status"] = json!({})),
            "l5d-existence-replicasets",
            "describe pods",
        ),
        (&[], |fake| fake.remove("/pods/linkerd-identity-1"), "l5d-api-control-ready", "describe pods"),
        (
            &[],
            |fake| fake.change("/nodes/one", |node| node["spec"]["podCIDR"] = json!("11.0.0.0/16")),
            "l5d-cluster-networks-cidr",
            "clusterNetworks",
        ),
        (
            &[],
            |fake| fake.change("/services/web", |web| web["spec"]["clusterIP"] = json!("9.9.9.9")),
            "l5d-cluster-networks-pods",
            "clusterNetworks",
        ),
        (&[], |fake| fake.remove("/clusterroles/linkerd-linkerd-identity"), "l5d-existence-cr", "mesh upgrade"),
        (&[], |fake| fake.remove("/serviceaccounts/linkerd-destination"), "l5d-existence-sa", "mesh upgrade"),
        (&[], |fake| fake.remove("/linkerd-proxy-injector-webhook-config"), "l5d-existence-mwc", "mesh upgrade"),
        (&[], |fake| fake.remove("/servers.policy.linkerd.io"), "l5d-existence-crd", "mesh install --crds"),
        (&[], |fake| fake.remove("/linkerd-identity-trust-roots"), "l5d-identity-cert-config-valid", "mesh upgrade"),
        (
            &[],
            |fake| {
                let strange = meshkit_identity::authority::Authority::generate("linkerd", "other", SystemClock.now()).unwrap();
                let anchors = strange.anchors_pem().to_owned();
                fake.change("/linkerd-identity-trust-roots", |map| map["data"]["ca-bundle.crt"] = json!(anchors));
            },
            "l5d-identity-issuer-cert-issued-by-trust-anchor",
            "make another issuer",
        ),
        (&[], |fake| fake.remove("/linkerd-sp-validator-k8s-tls"), "l5d-sp-validator-webhook-cert-valid", "mesh upgrade"),
        (
            &[],
            |fake| fake.change("/pods/linkerd-destination-1", |pod| pod["status"]["initContainerStatuses"][1]["ready"] = json!(false)),
            "l5d-api-control-ready",
            "describe pods",
        ),
        (&["--proxy", "-n", "nobody"], |_| {}, "l5d-data-plane-exists", "-n"),
        (
            &["--proxy"],
            |fake| fake.change("/pods/web-1", |pod| pod["status"]["phase"] = json!("Pending")),
            "l5d-data-plane-ready",
            "kubectl describe pod",
        ),
        (&["--proxy", "-n", "emojivoto"], |fake| fake.remove("/pods/web-1"), "l5d-data-plane-ready", "mesh inject"),
    ];
    let installed = meshed(json!({}));
    for (words, breaks, anchor, todo) in table {
        let mut fake = if words.iter().any(|word| ["--pre", "--crds"].contains(word)) { empty() } else { installed.clone() };
        breaks(&mut fake);
        let (well, found) = rows(words, &fake).await;
        assert!(!well, "{anchor}");
        let red = found.iter().find(|row| row.result == Outcome::Error).unwrap();
        assert_eq!(red.anchor, anchor, "{red:?}");
        assert!(red.error.as_ref().unwrap().contains(todo), "{red:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_should_be_done_is_a_warning_and_no_failure() {
    type Break = fn(&mut Fake);
    let table: [(&[&str], Break, &str); 8] = [
        (&[], |fake| fake.remove(GATEWAY_CRDS[0]), "gateway-api-crd"),
        (&["--expected-version=9.9.9"], |_| {}, "l5d-version-cli"),
        (
            &["--proxy"],
            |fake| fake.change("/pods/web-1", |pod| pod["metadata"]["labels"]["config.linkerd.io/admin-port"] = json!("1")),
            "l5d-data-plane-pod-labels",
        ),
        (
            &["--proxy"],
            |fake| fake.change("/services/web", |web| web["metadata"]["labels"] = json!({"linkerd.io/inject": "enabled"})),
            "l5d-data-plane-services-labels",
        ),
        (
            &["--proxy"],
            |fake| fake.change("/services/web", |web| web["metadata"]["annotations"] = json!({"mirror.linkerd.io/exported": "true"})),
            "l5d-data-plane-services-annotations",
        ),
        (
            &["--proxy"],
            |fake| fake.change("/services/web", |web| web["metadata"]["annotations"] = json!({"config.linkerd.io/opaque-ports": "70-90"})),
            "linkerd-opaque-ports-definition",
        ),
        (
            &["--proxy"],
            |fake| fake.change("/pods/web-1", |pod| pod["metadata"]["annotations"]["linkerd.io/proxy-version"] = json!("0.0.1")),
            "l5d-data-plane-cli-version",
        ),
        (
            &["--proxy"],
            |fake| {
                let variable = json!({"name": "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", "value": "others"});
                fake.change("/pods/web-1", |pod| pod["spec"]["initContainers"][1]["env"].as_array_mut().unwrap().push(variable));
            },
            "l5d-identity-data-plane-proxies-certs-match-ca",
        ),
    ];
    let installed = meshed(json!({}));
    for (words, breaks, anchor) in table {
        let mut fake = installed.clone();
        breaks(&mut fake);
        let (well, found) = rows(words, &fake).await;
        assert!(well, "{anchor}: {:?}", wrong(&found));
        let yellow = found.iter().find(|row| row.result == Outcome::Warning).unwrap();
        assert_eq!(yellow.anchor, anchor, "{yellow:?}");
        assert!(yellow.error.as_ref().unwrap().lines().count() >= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn high_availability_and_the_plugin_are_checked_where_they_are_used() {
    let ha: Value = Tree::high_availability().into();
    let (well, found) = rows(&["--wait=0s"], &meshed(ha)).await;
    assert!(well);
    assert_eq!(wrong(&found).iter().map(|row| row.anchor.as_str()).collect::<Vec<_>>(), ["l5d-control-plane-replicas"]);
    let (well, found) = rows(&["--wait=0s"], &meshed(json!({"cniEnabled": true}))).await;
    assert!(!well && found.last().unwrap().anchor == "cni-plugin-cm-exists", "{:?}", found.last());
}

fn one(check: runner::Check) -> Vec<Category> {
    let after = runner::Check::new("after", "after", |_| Box::pin(async { Ok(Passed::Well) }));
    vec![Category { name: "first", checks: vec![check] }, Category { name: "second", checks: vec![after] }]
}

async fn run_one(check: runner::Check, wait: Duration) -> (bool, Vec<(String, Outcome)>, Duration) {
    let (fake, command) = (Fake::default(), self::check(&[]));
    let (mut found, begun) = (Vec::new(), Instant::now());
    let well = runner::run(&one(check), &command.scene(&fake), wait, |row| found.push((row.description, row.result))).await;
    (well, found, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn what_takes_its_time_is_tried_again_until_it_passes() {
    let tries = Arc::new(AtomicUsize::new(0));
    let slow = |tries: Arc<AtomicUsize>| {
        runner::Check::new("slow", "slow", move |_| {
            let n = tries.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { if n < 3 { Err("not yet".to_owned()) } else { Ok(Passed::Well) } })
        })
    };
    let (well, found, took) = run_one(slow(Arc::clone(&tries)).retried().fatal(), Duration::from_secs(300)).await;
    assert!(well && found.len() == 2);
    assert_eq!((tries.load(Ordering::Relaxed), took), (4, Duration::from_secs(15)));

    tries.store(0, Ordering::Relaxed);
    let (well, found, took) = run_one(slow(Arc::clone(&tries)).retried().fatal(), Duration::from_secs(12)).await;
    assert!(!well && took <= Duration::from_secs(12));
    assert_eq!(found, [("slow".to_owned(), Outcome::Error)], "nothing follows what is fatal");

    tries.store(0, Ordering::Relaxed);
    let (well, found, took) = run_one(slow(tries), Duration::from_secs(300)).await;
    assert!(!well && took.is_zero() && found.len() == 2, "it is tried once, and is not the end");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_given_up() {
    let hangs = runner::Check::new("hangs", "hangs", |_| Box::pin(std::future::pending()));
    let (well, found, took) = run_one(hangs.warning(), Duration::from_secs(300)).await;
    assert!(well && took == Duration::from_secs(30));
    assert_eq!(found[0], ("hangs".to_owned(), Outcome::Warning));
    let nothing = runner::Check::new("nothing", "nothing", |_| Box::pin(async { Ok(Passed::Skipped) }));
    let (well, found, _) = run_one(nothing, Duration::ZERO).await;
    assert!(well && found.len() == 1, "nobody hears of what was not checked");
}

fn row(category: &'static str, result: Outcome) -> Row {
    let error = (result != Outcome::Success).then(|| "bad\nfix it".to_owned());
    Row { category, description: "a row".to_owned(), anchor: "an-anchor".to_owned(), result, error }
}

fn told(output: Output) -> String {
    let mut page = Page::new(output, false);
    let rows = [row("one", Outcome::Success), row("one", Outcome::Warning), row("second", Outcome::Success), row("third", Outcome::Error)];
    let text: String = rows.iter().map(|row| page.row(row)).collect();
    text + &page.end(false)
}

#[test]
fn rows_look_as_scripts_know_them() {
    let hint = "    see https://github.com/meshkit/meshkit/blob/main/docs/checks.md#an-anchor for hints\n";
    assert_eq!(
        told(Output::Table),
        format!(
            "one\n---\n√ a row\n‼ a row\n    bad\n    fix it\n{hint}\nsecond\n------\n√ a row\n\nthird\n-----\n× a row\n    bad\n    fix it\n{hint}\nStatus check results are ×\n"
        )
    );
    assert_eq!(
        told(Output::Short),
        format!(
            "one\n---\n‼ a row\n    bad\n    fix it\n{hint}\nthird\n-----\n× a row\n    bad\n    fix it\n{hint}\nStatus check results are ×\n"
        )
    );
    assert_eq!(Page::new(Output::Short, false).end(true), "Status check results are √\n");
    let document: Value = serde_json::from_str(&told(Output::Json)).unwrap();
    assert_eq!(document["success"], false);
    assert_eq!(document["categories"][0]["categoryName"], "one");
    assert_eq!(document["categories"][0]["checks"][0], json!({"description": "a row", "result": "success"}));
    assert_eq!(document["categories"][2]["checks"][0]["result"], "error");
    assert_eq!(document["categories"][2]["checks"][0]["error"], "bad\nfix it");
    assert!(document["categories"][2]["checks"][0]["hint"].as_str().unwrap().ends_with("#an-anchor"));
}

#[test]
fn what_excludes_each_other_is_refused() {
    for words in [&["--pre", "--proxy"][..], &["--pre", "--crds"], &["--linkerd-cni-enabled"], &["-o", "xml"], &["--wait=soon"]] {
        assert!(Alone::try_parse_from([&["check"], words].concat()).is_err(), "{words:?}");
    }
}
