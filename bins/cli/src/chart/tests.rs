use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use meshkit_core::{Clock as _, SystemClock};
use meshkit_injector::documents;
use serde_json::{Value, json};

use super::*;
use crate::{install, values::Tree, version::CLIENT};

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/charts")
}

/// `MESH_BLESS=1 cargo test -p meshkit-cli chart` writes them anew.
#[test]
fn the_charts_are_those_of_this_version() {
    if std::env::var_os("MESH_BLESS").is_some() {
        Chart { dir: charts() }.run().unwrap();
    }
    for (name, text) in files().unwrap() {
        assert!(!text.contains("zz"), "{name}: something was not replaced");
        let path = charts().join(&name);
        let kept = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(kept == text, "{} is not what is made now: say MESH_BLESS=1", path.display());
    }
}

/// Complete values: what a chart makes of its own would be another each time.
fn complete(change: Value) -> Tree {
    let mut tree = Tree::defaults();
    tree.merge(change);
    tree.set("identityTrustDomain", json!("example.org"));
    install::complete(&mut tree, "mesh", SystemClock.now()).unwrap();
    tree
}

/// Empty things and nothing at all mean the same.
fn normal(mut value: Value) -> Value {
    fn prune(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.values_mut().for_each(prune);
                map.retain(|_, value| !(value.is_null() || *value == json!({}) || *value == json!([])));
            }
            Value::Array(list) => list.iter_mut().for_each(prune),
            _ => {}
        }
    }
    if value["metadata"]["name"] == "linkerd-config" {
        let values = documents::read(value["data"]["values"].as_str().unwrap()).unwrap();
        value["data"]["values"] = values[0].clone();
    }
    if let Some(text) = value["data"]["cni_network_config"].as_str() {
        value["data"]["cni_network_config"] = serde_json::from_str(text).unwrap();
    }
    prune(&mut value);
    value
}

fn helm() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("helm")).find(|helm| helm.is_file());
    if found.is_none() {
        eprintln!("there is no helm on the PATH: the charts were not compared");
    }
    found
}

/// The chart of the CNI plugin makes what `mesh install-cni` makes.
#[test]
fn helm_makes_what_install_cni_makes() {
    let Some(helm) = helm() else { return };
    let charts = std::env::temp_dir().join(format!("mesh-cni-chart-{}", std::process::id()));
    Chart { dir: charts.clone() }.run().unwrap();
    let other = json!({
        "inboundProxyPort": 5143, "proxyControlPort": 5190, "ignoreInboundPorts": "25,100-200", "ignoreOutboundPorts": "443", "portsToRedirect": "80,81",
        "proxyGID": 7, "destCNIBinDir": "/x/bin", "useWaitFlag": true, "iptablesMode": "plain", "disableIPv6": false, "logLevel": "debug",
        "privileged": true, "priorityClassName": "high", "imagePullSecrets": [{"name": "s"}], "tolerations": [],
        "updateStrategy": {"type": "OnDelete"}, "image": {"name": "example.com/x", "version": "7", "pullPolicy": "Always"},
    });
    for change in [json!({}), other] {
        let mut tree = install::cni::default_values().unwrap();
        let file = charts.join("values.yaml");
        fs::write(&file, change.to_string()).unwrap();
        tree.merge(change);
        // A map of values goes into the one of the chart key by key, as Helm has it.
        let found = sorted(template(&helm, &charts.join("meshkit-cni"), &file));
        let wanted = sorted(install::cni::objects(&tree, "mesh", &format!("linkerd/helm {CLIENT}")));
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(found == wanted, "{}\n{}", wanted["metadata"]["name"], difference(found, wanted, String::new()));
        }
    }
    fs::remove_dir_all(&charts).unwrap();
}

fn template(helm: &Path, chart: &Path, values: &Path) -> Vec<Value> {
    let words = ["template", "x", "--namespace=mesh", "--kube-version=1.33.0", "-f"];
    let output = Command::new(helm).args(words).arg(values).arg(chart).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    documents::read(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.retain(|object| object["kind"] != "Namespace" && object["metadata"]["name"] != "linkerd-config-overrides");
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects.into_iter().map(normal).collect()
}

/// Where there is a Helm, its answer is compared with that of `mesh install`.
#[test]
fn helm_makes_what_install_makes() {
    let Some(helm) = helm() else { return };
    let charts = std::env::temp_dir().join(format!("mesh-charts-{}", std::process::id()));
    Chart { dir: charts.clone() }.run().unwrap();
    let ha: Value = Tree::high_availability().into();
    let other = json!({
        "clusterDomain": "example.org", "commonLabels": {"team": "a"}, "podLabels": {"pod": "b"}, "podAnnotations": {"note": "c"},
        "disableIPv6": false, "controllerReplicas": 2, "controllerImageVersion": "9", "priorityClassName": "system-cluster-critical",
        "tolerations": [{"key": "x", "operator": "Exists"}], "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}},
        "proxy": {"ports": {"admin": 5191}, "logLevel": "debug,%v=info", "resources": {"cpu": {"limit": "1"}}, "image": {"name": "example.com/meshkit-proxy", "version": "7"}},
        "proxyInit": {"kubeAPIServerPorts": "443,16443", "runAsRoot": true}, "proxyInjector": {"injectCaFrom": "mesh/x"},
        "policyController": {"probeNetworks": ["10.0.0.0/8"]},
    });
    for (name, change) in [("default", json!({})), ("ha", ha), ("cni", json!({"cniEnabled": true})), ("other", other)] {
        let mut tree = complete(change);
        if name == "other" {
            // The chart shows the API server an authority in any case; whoever injects it writes over that.
            tree.merge(json!({"proxyInjector": {"crtPEM": "C\n", "keyPEM": "K\n", "caBundle": "A\n"}}));
        }
        let file = std::env::temp_dir().join(format!("mesh-chart-{}-{name}.yaml", std::process::id()));
        fs::write(&file, tree.to_yaml().unwrap()).unwrap();
        let found = sorted(template(&helm, &charts.join("meshkit-control-plane"), &file));
        let wanted = sorted(install::objects(&tree, "mesh", &format!("linkerd/helm {CLIENT}")).unwrap());
        fs::remove_file(&file).unwrap();
        let names = |objects: &[Value]| {
            objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect::<Vec<_>>()
        };
        assert_eq!(names(&found), names(&wanted), "{name}");
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(found == wanted, "{name}: {}\n{}", wanted["metadata"]["name"], difference(found, wanted, String::new()));
        }
    }
    let none = std::env::temp_dir().join(format!("mesh-chart-{}-none.yaml", std::process::id()));
    fs::write(&none, "{}").unwrap();
    let found = sorted(template(&helm, &charts.join("meshkit-crds"), &none));
    fs::remove_file(&none).unwrap();
    fs::remove_dir_all(&charts).unwrap();
    assert_eq!(found, sorted(install::crds("mesh", &format!("linkerd/helm {CLIENT}")).unwrap()));
}

/// The first place where two values differ.
fn difference(found: &Value, wanted: &Value, at: String) -> String {
    match (found, wanted) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys());
            let null = Value::Null;
            let mut differing = keys.filter(|key| a.get(*key) != b.get(*key));
            differing
                .next()
                .map_or_else(String::new, |key| difference(a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null), format!("{at}/{key}")))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let n = (0..a.len()).find(|n| a[*n] != b[*n]).unwrap_or(0);
            difference(&a[n], &b[n], format!("{at}/{n}"))
        }
        _ => format!("{at}: found {found}, wanted {wanted}"),
    }
}
