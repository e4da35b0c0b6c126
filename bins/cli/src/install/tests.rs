use clap::Parser;

use super::*;
use crate::cluster::fake::Fake;

#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    install: Install,
}

fn install(words: &[&str]) -> Install {
    Alone::try_parse_from([&["install"], words].concat()).unwrap().install
}

async fn objects_of(words: &[&str], cluster: Option<&Fake>) -> Result<Vec<Value>, Vec<String>> {
    install(words).objects(cluster.map(|cluster| cluster as &dyn Cluster)).await
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
}

/// A cluster with the mesh's kinds.
fn ready() -> Fake {
    let mut fake = Fake::default();
    fake.fix("/version", json!({"gitVersion": "v1.33.0"}));
    for crd in crds::crds("linkerd", "me").unwrap() {
        fake.add("customresourcedefinitions", crd);
    }
    fake.add("nodes", json!({"metadata": {"name": "one"}, "status": {"nodeInfo": {"containerRuntimeVersion": "containerd://2.0"}}}));
    fake.add(
        "services",
        json!({"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"ports": [{"port": 443, "targetPort": 16443}]}}),
    );
    fake
}

#[tokio::test]
async fn without_a_cluster_everything_is_made_here() {
    let objects =
        objects_of(&["--cluster-domain=example.org", "--set", "proxy.logLevel=debug,proxyInit.runAsRoot=true", "-L", "mesh"], None)
            .await
            .unwrap();
    let config = named(&objects, "ConfigMap", "linkerd-config");
    let values = Tree::read(config["data"]["values"].as_str().unwrap()).unwrap();
    assert_eq!((values.text("identityTrustDomain"), values.text("proxy.logLevel")), ("example.org".to_owned(), "debug".to_owned()));
    let trust = values.text("identityTrustAnchorsPEM");
    assert!(trust.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(objects.iter().all(|object| object["metadata"]["namespace"].as_str().is_none_or(|namespace| namespace == "mesh")));
    assert_eq!(named(&objects, "ClusterRole", "linkerd-mesh-identity")["metadata"]["labels"]["linkerd.io/control-plane-ns"], "mesh");
    let arguments = named(&objects, "Deployment", "linkerd-identity")["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(arguments.contains("--identity-trust-domain=example.org") && arguments.contains("--controller-namespace=mesh"), "{arguments}");
}

#[tokio::test]
async fn flags_go_below_values_and_files_below_set() {
    let file = std::env::temp_dir().join(format!("mesh-values-{}.yaml", std::process::id()));
    std::fs::write(&file, "controllerReplicas: 5\ncontrollerLogLevel: debug\n").unwrap();
    let words = [
        "--ha",
        "--controller-replicas=4",
        "-f",
        file.to_str().unwrap(),
        "--set=controllerLogLevel=warn",
        "--set-string=proxyInit.ignoreInboundPorts=25",
    ];
    let tree = install(&words).tree().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!((tree.get("controllerReplicas"), tree.text("controllerLogLevel")), (&json!(5), "warn".to_owned()));
    assert!(tree.is("highAvailability"));
    assert_eq!(tree.get("proxyInit.ignoreInboundPorts"), &json!("25"));
    assert_eq!(install(&words).tree().unwrap_err().len(), 1, "the file is gone");
}

#[tokio::test]
async fn the_cluster_tells_the_ports_of_its_api_server() {
    let objects = objects_of(&[], Some(&ready())).await.unwrap();
    let init = &named(&objects, "Deployment", "linkerd-identity")["spec"]["template"]["spec"]["initContainers"][0];
    assert!(init["args"].to_string().contains("443,16443"), "{}", init["args"]);
}

#[tokio::test]
async fn an_install_that_cannot_work_is_refused_with_what_to_do() {
    let refused = async |words: &[&str], cluster: &Fake| objects_of(words, Some(cluster)).await.unwrap_err().join("\n");
    assert!(refused(&[], &Fake::broken()).await.contains("--ignore-cluster"));
    assert!(refused(&["--crds"], &Fake::broken()).await.contains("--ignore-cluster"));

    let mut fake = ready();
    fake.remove("/servers.policy.linkerd.io");
    let told = refused(&[], &fake).await;
    assert!(told.contains("servers.policy.linkerd.io") && told.contains("mesh install --crds"), "{told}");

    let mut fake = ready();
    fake.add("configmaps", json!({"metadata": {"name": "linkerd-config", "namespace": "linkerd"}, "data": {}}));
    assert!(refused(&[], &fake).await.contains("mesh upgrade"));

    let mut fake = ready();
    fake.change("/nodes/one", |node| node["status"]["nodeInfo"]["containerRuntimeVersion"] = json!("docker://24.0"));
    assert!(refused(&[], &fake).await.contains("runAsRoot=true"));
    assert!(objects_of(&["--set=proxyInit.runAsRoot=true"], Some(&fake)).await.is_ok());
}

#[tokio::test]
async fn an_external_issuer_tells_the_trust_anchors() {
    let words = ["--identity-external-issuer"];
    let told = objects_of(&words, Some(&ready())).await.unwrap_err().join("\n");
    assert!(told.contains("no Secret linkerd-identity-issuer"), "{told}");
    let mut fake = ready();
    fake.add(
        "secrets",
        json!({"metadata": {"name": "linkerd-identity-issuer", "namespace": "linkerd"}, "data": {"ca.crt": "QU5DSE9SUwo="}}),
    );
    let objects = objects_of(&words, Some(&fake)).await.unwrap();
    assert_eq!(named(&objects, "ConfigMap", "linkerd-identity-trust-roots")["data"]["ca-bundle.crt"], "ANCHORS\n");
    assert!(objects.iter().all(|object| object["metadata"]["name"] != "linkerd-identity-issuer"), "somebody else makes it");
}

#[tokio::test]
async fn wrong_values_are_refused() {
    for (words, part) in [
        (&["--set=proxy.logLevel"][..], "is no assignment"),
        (&["--set=proxy.ports.admin=0"], "admin-port"),
        (&["--set=proxy.ports=x"], "values of the mesh cannot be read"),
        (&["-f", "/nonexistent/values.yaml"], "/nonexistent/values.yaml"),
        (&["--identity-issuer-key-file=/nonexistent"], "/nonexistent"),
        (&["--identity-external-issuer"], "--identity-trust-anchors-file"),
    ] {
        let told = objects_of(words, None).await.unwrap_err().join("\n");
        assert!(told.contains(part), "{words:?}: {told}");
    }
    assert!(Alone::try_parse_from(["install", "--cluster-domain=Not_A_Domain"]).is_err());
}

#[tokio::test]
async fn the_kinds_are_written_without_the_control_plane() {
    let objects = objects_of(&["--crds"], None).await.unwrap();
    assert_eq!(objects.len(), 10);
    assert!(
        objects.iter().all(|object| object["kind"] == "CustomResourceDefinition"
            && object["metadata"]["labels"]["linkerd.io/control-plane-ns"] == "linkerd")
    );
}
