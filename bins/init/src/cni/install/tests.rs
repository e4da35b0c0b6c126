//! A node's folders, in a temporary one.

use serde_json::json;
use tempfile::TempDir;

use super::*;

const TEMPLATE: &str = r#"{"name":"linkerd-cni","type":"linkerd-cni","kubernetes":{"kubeconfig":"__KUBECONFIG_FILEPATH__"},"linkerd":{}}"#;

struct Node {
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for folder in ["host/etc/cni/net.d", "host/opt/cni/bin", "account"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let node = Self { dir };
        node.put("account/ca.crt", "CA");
        node.put("account/token", "first\n");
        node.put("mesh", "program");
        node
    }

    fn put(&self, path: &str, text: &str) {
        // As programs do that care: other inode, same name.
        let path = self.dir.path().join(path);
        fs::write(beside(&path), text).unwrap();
        fs::rename(beside(&path), path).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.dir.path().join(folder)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn settings(&self) -> Settings {
        let host = format!("{}/host", self.dir.path().display());
        let vars = [
            ("CONTAINER_MOUNT_PREFIX", host.as_str()),
            ("CNI_NETWORK_CONFIG", TEMPLATE),
            ("KUBERNETES_SERVICE_HOST", "fd00::1"),
            ("KUBERNETES_SERVICE_PORT", "6443"),
            ("KUBE_CA_FILE", &format!("{}/account/ca.crt", self.dir.path().display())),
        ];
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let mut settings = Settings::from_env(vars, self.dir.path().join("mesh")).unwrap();
        settings.token_file = self.dir.path().join("account/token");
        settings
    }
}

const NET: &str = "host/etc/cni/net.d";

fn plugin() -> Value {
    json!({"name": "linkerd-cni", "type": "linkerd-cni", "kubernetes": {"kubeconfig": "/etc/cni/net.d/ZZZ-linkerd-cni-kubeconfig"}, "linkerd": {}})
}

fn list_of(first: &str) -> Value {
    json!({"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": first}, plugin()]})
}

#[tokio::test]
async fn a_node_is_equipped_and_left_as_it_was() {
    let node = Node::new();
    let bridge = json!({"name": "b", "cniVersion": "1.0.0", "type": "bridge"});
    node.put(&format!("{NET}/10-bridge.conf"), &bridge.to_string());
    node.put(&format!("{NET}/20-list.conflist"), &json!({"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "ptp"}]}).to_string());
    node.put(&format!("{NET}/README"), "not a configuration");
    node.put(&format!("{NET}/30-half.conflist"), "{\"name\":");

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(Installer::new(node.settings()).unwrap().run(async { drop(stopped.await) }));
    while !node.list(NET).contains(&"10-bridge.conflist".to_owned()) || node.json(&format!("{NET}/20-list.conflist")) != list_of("ptp") {
        assert!(!running.is_finished(), "{:?}", running.await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.json(&format!("{NET}/10-bridge.conflist"))["plugins"], json!([bridge, plugin()]));
    assert_eq!(node.text("host/opt/cni/bin/linkerd-cni"), "program");
    let mode = |path: &str| fs::metadata(node.dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("host/opt/cni/bin/linkerd-cni"), 0o755);
    assert_eq!(mode(&format!("{NET}/10-bridge.conflist")), 0o644);
    assert_eq!(mode(&format!("{NET}/ZZZ-linkerd-cni-kubeconfig")), 0o600);
    let kubeconfig = || Access::from_kubeconfig(&node.text(&format!("{NET}/ZZZ-linkerd-cni-kubeconfig"))).unwrap();
    assert_eq!((kubeconfig().server.as_str(), kubeconfig().token.as_str()), ("https://[fd00::1]:6443", "first"));

    // Another plugin writes its file anew, a third one arrives, the half file is completed, and the token changes.
    node.put(
        &format!("{NET}/20-list.conflist"),
        &json!({"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "calico"}]}).to_string(),
    );
    node.put(
        &format!("{NET}/05-new.conflist"),
        &json!({"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "cilium-cni"}]}).to_string(),
    );
    node.put(
        &format!("{NET}/30-half.conflist"),
        &json!({"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "whole"}]}).to_string(),
    );
    node.put("account/token", "second");
    let expected = [("20-list", "calico"), ("05-new", "cilium-cni"), ("30-half", "whole")];
    while expected.iter().any(|(file, kind)| node.json(&format!("{NET}/{file}.conflist")) != list_of(kind))
        || kubeconfig().token != "second"
    {
        assert!(!running.is_finished(), "{:?}", running.await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(node.list(NET), ["05-new.conflist", "10-bridge.conf", "20-list.conflist", "30-half.conflist", "README"]);
    assert_eq!(node.json(&format!("{NET}/10-bridge.conf")), bridge);
    assert_eq!(node.json(&format!("{NET}/20-list.conflist"))["plugins"], json!([{"type": "calico"}]));
    assert!(node.list("host/opt/cni/bin").is_empty());
}

#[test]
fn a_round_without_news_writes_nothing() {
    let node = Node::new();
    node.put(&format!("{NET}/10.conflist"), r#"{"name": "net", "plugins": [{"type": "ptp"}]}"#);
    let mut installer = Installer::new(node.settings()).unwrap();
    installer.refresh().unwrap();
    let before = installer.stamps().unwrap();
    installer.refresh().unwrap();
    assert_eq!(installer.stamps().unwrap(), before);
    assert_eq!(installer.seen, before);
}

#[tokio::test]
async fn without_sleep_it_installs_and_ends() {
    let node = Node::new();
    node.put(&format!("{NET}/10.conflist"), r#"{"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "ptp"}]}"#);
    let settings = Settings { stays: false, ..node.settings() };
    Installer::new(settings).unwrap().run(std::future::pending()).await.unwrap();
    assert_eq!(node.json(&format!("{NET}/10.conflist")), list_of("ptp"));
}

#[test]
fn every_missing_variable_is_told() {
    let faults = Settings::from_env([], PathBuf::from("/mesh")).unwrap_err();
    let names: Vec<_> = faults.iter().map(|fault| fault.name).collect();
    assert_eq!(names, ["CNI_NETWORK_CONFIG", "KUBERNETES_SERVICE_HOST"]);
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let node = Node::new();
    fs::remove_dir_all(node.dir.path().join("host/opt")).unwrap();
    let error = Installer::new(node.settings()).unwrap().place_program().unwrap_err();
    assert!(error.to_string().ends_with("host/opt/cni/bin/linkerd-cni"), "{error}");
}
