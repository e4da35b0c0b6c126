//! The plugin as container runtimes call it: as a program, and by CNI's own `cnitool`.

#![allow(clippy::unwrap_used)] // A helper's unwrap is its test's.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    thread,
};

use common::{Net, missing, search_path};
use meshkit_init::cni::kubeconfig::Access;
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with the plugin, a kubeconfig, and the API server that it names.
struct Node {
    dir: TempDir,
}

/// The API server answers these paths, and 404 to others, as a real one does.
fn objects() -> BTreeMap<&'static str, Value> {
    let pod = |labels: Value, annotations: Value, containers: &[&str], init: &[&str]| {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name, "image": "x"})).collect::<Vec<_>>();
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "shop", "labels": labels, "annotations": annotations},
            "spec": {"containers": named(containers), "initContainers": named(init)}, "status": {"phase": "Pending"}})
    };
    let skip = json!({"config.linkerd.io/skip-outbound-ports": "8443", "config.linkerd.io/skip-inbound-ports": "9000-9005"});
    BTreeMap::from([
        ("/api/v1/namespaces/shop/pods/meshed", pod(json!({}), skip, &["app"], &["linkerd-network-validator", "linkerd-proxy"])),
        ("/api/v1/namespaces/shop/pods/plain", pod(json!({}), json!({}), &["app"], &[])),
        ("/api/v1/namespaces/shop/pods/init", pod(json!({}), json!({}), &["linkerd-proxy"], &["linkerd-init"])),
        ("/api/v1/namespaces/shop/pods/bad", pod(json!({}), json!({"config.linkerd.io/proxy-uid": "proxy"}), &["linkerd-proxy"], &[])),
        (
            "/api/v1/namespaces/shop/pods/controller",
            pod(json!({"linkerd.io/control-plane-component": "destination"}), json!({}), &["linkerd-proxy"], &[]),
        ),
        (
            "/api/v1/namespaces/shop",
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop", "annotations": {"config.linkerd.io/proxy-gid": "2103"}}}),
        ),
        (
            "/api/v1/namespaces/default/services/kubernetes",
            json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "kubernetes", "namespace": "default"},
                "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 7443}]}}),
        ),
    ])
}

impl Node {
    fn new() -> Self {
        let node = Self { dir: TempDir::new().unwrap() };
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let addr = serve(&certified);
        node.write_kubeconfig(addr, &certified.cert.pem(), "right");
        fs::create_dir(node.path("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_meshkit-init"), node.path("bin/linkerd-cni")).unwrap();
        node
    }

    fn write_kubeconfig(&self, addr: SocketAddr, authority: &str, token: &str) {
        let access = Access { server: format!("https://{addr}"), certificate_authority: authority.into(), token: token.to_owned() };
        fs::write(self.path("kubeconfig"), access.to_kubeconfig()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn conf(&self) -> Value {
        json!({"name": "linkerd-cni", "type": "linkerd-cni", "log_level": "debug", "kubernetes": {"kubeconfig": self.path("kubeconfig")},
            "linkerd": {"incoming-proxy-port": 4143, "outgoing-proxy-port": 4140, "proxy-uid": 2102, "ports-to-redirect": [],
                "inbound-ports-to-ignore": ["4191", "4190"], "outbound-ports-to-ignore": ["25"], "simulate": false, "use-wait-flag": true,
                "iptables-mode": "nft", "ipv6": false}})
    }

    /// As the specification says: variables and standard input in, standard output out.
    fn call(&self, command: &str, conf: &Value, netns: &Path, pod: Option<&str>) -> Output {
        let args = pod.map_or_else(String::new, |pod| {
            format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod};K8S_POD_INFRA_CONTAINER_ID=c")
        });
        let mut child = Command::new(self.path("bin/linkerd-cni"))
            .envs([("CNI_COMMAND", command), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_ARGS", &args), ("PATH", "/nothing")])
            .env("CNI_NETNS", netns)
            .env("CNI_PATH", self.path("bin"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn add(&self, netns: &Path, pod: &str) -> Output {
        let mut conf = self.conf();
        conf["cniVersion"] = "1.0.0".into();
        conf["prevResult"] = prev_result();
        self.call("ADD", &conf, netns, Some(pod))
    }
}

fn prev_result() -> Value {
    json!({"cniVersion": "1.0.0", "ips": [{"address": "10.77.0.1/24"}], "dns": {}})
}

/// One request per connection, for callers that have the token.
fn serve(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let objects = objects();
        for tcp in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp.unwrap());
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap().to_lowercase();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let status =
                |code: u16, message: &str| json!({"kind": "Status", "status": "Failure", "message": message, "code": code}).to_string();
            let (line, body) = match objects.get(path) {
                _ if !request.contains("authorization: bearer right\r\n") => ("401 Unauthorized", status(401, "Unauthorized")),
                Some(object) => ("200 OK", object.to_string()),
                None => ("404 Not Found", status(404, "not found")),
            };
            let head =
                format!("HTTP/1.1 {line}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    addr
}

fn printed(output: &Output) -> Value {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {:?}; {}", text(&output.stdout), text(&output.stderr)))
}

fn rules(net: &Net) -> String {
    net.pod_prints(&["iptables-nft-save", "-t", "nat"])
}

#[test]
fn a_meshed_pod_gets_rules_and_the_result_before_is_handed_on() {
    if let Some(reason) = missing(&["iptables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let (node, net) = (Node::new(), Net::new());
    let output = node.add(&net.pod_file(), "meshed");
    assert_eq!(printed(&output), prev_result());
    assert!(output.status.success());
    let rules = rules(&net);
    // The node's inbound ports and the pod's, the pod's outbound ports alone, the namespace's group.
    assert!(rules.contains("--dports 4191,4190,9000:9005"), "{rules}");
    assert!(rules.contains("--dports 8443 ") && !rules.contains("--dports 25"), "{rules}");
    assert!(rules.contains("--uid-owner 2102") && rules.contains("--gid-owner 2103"), "{rules}");
    assert!(!net.pod_prints(&["ip6tables-nft-save", "-t", "nat"]).contains("PROXY_INIT"));
    // Deleting and checking leave them alone.
    for command in ["CHECK", "DEL"] {
        let output = node.call(command, &node.conf(), &net.pod_file(), Some("meshed"));
        assert!(output.status.success() && output.stdout.is_empty(), "{command}: {output:?}");
    }
}

#[test]
fn a_pod_of_the_control_plane_reaches_the_api_server() {
    if let Some(reason) = missing(&["iptables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let (node, net) = (Node::new(), Net::new());
    assert!(node.add(&net.pod_file(), "controller").status.success());
    let rules = rules(&net);
    assert!(rules.contains("--dports 25,443,7443"), "{rules}");
}

#[test]
fn other_pods_get_no_rules() {
    if let Some(reason) = missing(&["iptables-nft"]) {
        println!("skipped: {reason}");
        return;
    }
    let (node, net) = (Node::new(), Net::new());
    for pod in ["plain", "init"] {
        let output = node.add(&net.pod_file(), pod);
        assert_eq!(printed(&output), prev_result(), "{pod}");
    }
    // No pod of Kubernetes, and no plugin before this one: an empty result.
    let mut conf = node.conf();
    conf["cniVersion"] = "0.4.0".into();
    let output = node.call("ADD", &conf, &net.pod_file(), None);
    assert_eq!(printed(&output), json!({"cniVersion": "0.4.0", "dns": {}}));
    assert!(!rules(&net).contains("PROXY_INIT"));
}

#[test]
fn what_goes_wrong_is_told_in_the_words_of_the_specification() {
    let node = Node::new();
    let netns = Path::new("/run/netns/none");
    let refused = |output: Output, code: u32, details: &str| {
        let error = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert_eq!(error["code"], code, "{error}");
        let text = format!("{}: {}", error["msg"].as_str().unwrap(), error["details"].as_str().unwrap());
        assert!(text.contains(details), "{text}");
    };
    let with = |key: &str, value: Value| {
        let mut conf = node.conf();
        conf[key] = value;
        conf
    };
    refused(node.call("ADD", &with("cniVersion", "9.0.0".into()), netns, Some("meshed")), 1, "9.0.0");
    refused(node.call("JUMP", &node.conf(), netns, None), 4, "JUMP");
    refused(node.call("ADD", &node.conf(), Path::new(""), Some("meshed")), 4, "CNI_NETNS");
    refused(node.call("ADD", &Value::from("text"), netns, Some("meshed")), 6, "invalid type");
    refused(node.add(netns, "gone"), 100, "shop/gone does not exist");
    refused(node.add(netns, "bad"), 7, "config.linkerd.io/proxy-uid is \"proxy\"");
    refused(node.call("ADD", &with("kubernetes", json!({"kubeconfig": "/none"})), netns, Some("meshed")), 100, "/none: No such file");

    // A token that is not let in, and a server that is another's.
    let kubeconfig = fs::read_to_string(node.path("kubeconfig")).unwrap();
    fs::write(node.path("kubeconfig"), kubeconfig.replace("\"right\"", "\"wrong\"")).unwrap();
    refused(node.add(netns, "meshed"), 100, "401 Unauthorized: Unauthorized");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let addr = Access::from_kubeconfig(&kubeconfig).unwrap().server.replace("https://", "").parse().unwrap();
    node.write_kubeconfig(addr, &other, "right");
    refused(node.add(netns, "meshed"), 100, "no TLS with the API server");
    assert!(!String::from_utf8_lossy(&node.add(netns, "meshed").stderr).contains("right"), "a token in the log");
}

#[test]
fn the_versions_are_told() {
    let node = Node::new();
    let versions = printed(&node.call("VERSION", &json!({"cniVersion": "1.0.0"}), Path::new(""), None));
    assert_eq!(versions["supportedVersions"], json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
}

/// The reference implementation of a runtime drives a list in which another plugin comes first.
#[test]
fn cnitool_adds_checks_and_deletes() {
    if let Some(reason) = missing(&["iptables-nft", "cnitool"]) {
        println!("skipped: {reason} (go install github.com/containernetworking/cni/cnitool@v1.3.0)");
        return;
    }
    let (node, net) = (Node::new(), Net::new());
    // It checks nothing and gives an address, as the last plugin before ours would.
    let first = format!("#!/bin/sh\ncat >/dev/null\nif [ \"$CNI_COMMAND\" = ADD ]; then echo '{}'; fi\n", prev_result());
    let path = node.path("bin/first");
    fs::write(&path, first).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(node.path("net.d")).unwrap();
    let list = json!({"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "first"}, node.conf()]});
    fs::write(node.path("net.d/10-net.conflist"), list.to_string()).unwrap();
    let cnitool = |command: &str| {
        let output = Command::new("cnitool")
            .args([command, "net"])
            .arg(net.pod_file())
            .env("PATH", search_path())
            .env("NETCONFPATH", node.path("net.d"))
            .env("CNI_PATH", node.path("bin"))
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=meshed")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        output
    };
    assert_eq!(printed(&cnitool("add"))["ips"][0]["address"], "10.77.0.1/24");
    assert!(rules(&net).contains("-A PROXY_INIT_REDIRECT -p tcp -m multiport --dports 4191,4190,9000:9005"));
    cnitool("check");
    cnitool("del");
}
