//! The harness's own test: what it calls a cluster is one, and nothing of it stays.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use meshkit_e2e::cluster::Cluster;

const LIMIT: Duration = Duration::from_secs(60);

const HELLO: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 1
      # One on each node, so that a connection to the Service crosses the wire.
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: hello}}}
      containers:
      - name: hello
        image: localhost/hello:1
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}
";

#[test]
fn pods_run_services_answer_nodes_come_back_and_nothing_stays() {
    let Some(cluster) = Cluster::start("smoke", 2) else { return };
    deploy(&cluster);
    let nodes = cluster.kubectl(&["get", "nodes", "--output", r#"jsonpath={.items[*].metadata.labels.topology\.kubernetes\.io/zone}"#]);
    assert_eq!(nodes, "zone-a zone-b");

    // Every pod is reached through the Service, from the host as from any node.
    let address = cluster.kubectl(&["get", "service", "hello", "--output", "jsonpath={.spec.clusterIP}"]);
    let pods = cluster.kubectl(&["get", "pods", "--selector=app=hello", "--output", "jsonpath={.items[*].metadata.name}"]);
    for pod in pods.split_whitespace() {
        cluster.wait(LIMIT, "each pod answers at the address of the Service", || (get(&address) == format!("{pod}\n")).then_some(()));
        assert_eq!(cluster.kubectl(&["logs", pod]), format!("hello from {pod}\n"));
        assert_eq!(cluster.kubectl(&["exec", pod, "--", "/hello", "say", "word"]), "word\n");
    }

    // A node that lost its power comes back with its pods, an API server with its objects.
    cluster.end(1, None);
    cluster.end(0, Some("kube-apiserver"));
    assert!(cluster.try_kubectl(&["get", "nodes", "--request-timeout=2s"], "").is_err());
    cluster.restart(0, Some("kube-apiserver"));
    cluster.restart(1, None);
    cluster.rolled_out("default", "deployment/hello");
    for pod in pods.split_whitespace() {
        cluster.wait(LIMIT, "each pod answers again", || (get(&address) == format!("{pod}\n")).then_some(()));
    }

    let logs = cluster.logs().to_path_buf();
    let link = link_to(&address);
    assert!(remains(&link).len() > 3, "the test does not know what to look for: {:?}", remains(&link));
    drop(cluster);
    assert_eq!(remains(&link), Vec::<String>::new());
    assert!(!logs.exists());
}

#[test]
fn two_clusters_at_once_are_strangers_until_they_are_linked() {
    let Some(left) = Cluster::start("left", 1) else { return };
    let Some(right) = Cluster::start("right", 1) else { return };
    deploy(&right);
    let pod = right.kubectl(&["get", "pods", "--selector=app=hello", "--output", "jsonpath={.items[0].metadata.name}"]);
    let address = right.kubectl(&["get", "pod", &pod, "--output", "jsonpath={.status.podIP}"]);
    let names = left.kubectl(&["get", "nodes", "--output", "jsonpath={.items[*].metadata.name}"]);
    assert_eq!(names, "left-0");
    assert_eq!(from_node(&left, &address), "");
    left.link(&right);
    left.wait(LIMIT, "a node reaches a pod of the other cluster", || (from_node(&left, &address) == format!("{pod}\n")).then_some(()));
}

fn deploy(cluster: &Cluster) {
    cluster.load_image(hello(cluster.name()), "localhost/hello:1", &[]);
    cluster.apply(HELLO);
    cluster.rolled_out("default", "deployment/hello");
}

/// The program of the pods.
fn hello(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder of the build");
    let program = folder.join("hello");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/hello.c");
    let compiled = Command::new("cc").args(["-static", "-Os", "-o"]).arg(&program).arg(source).status().expect("a compiler is installed");
    assert!(compiled.success(), "{source} cannot be compiled");
    program
}

fn get(address: &str) -> String {
    let out =
        Command::new("curl").args(["--silent", "--max-time", "2", &format!("http://{address}/")]).output().expect("curl is installed");
    String::from_utf8(out.stdout).expect("a response is text")
}

/// What the first node of a cluster gets from a pod.
fn from_node(cluster: &Cluster, address: &str) -> String {
    let url = format!("http://{address}:8080/");
    let out = cluster.on_node(0, "curl").args(["--silent", "--max-time", "2", &url]).output().expect("nsenter is installed");
    String::from_utf8(out.stdout).expect("a response is text")
}

/// The interface of the host that leads to an address.
fn link_to(address: &str) -> String {
    let out = Command::new("ip").args(["route", "get", address]).output().expect("ip is installed");
    let route = String::from_utf8(out.stdout).expect("a route is text");
    route.split_whitespace().skip_while(|word| *word != "dev").nth(1).expect("a route has an interface").to_owned()
}

/// Whatever of the cluster `smoke` can be found on the host.
fn remains(link: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let names = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    for process in names("/proc") {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // The process that waits in each set of namespaces, and what each node runs.
        if line.contains("cluster smoke ")
            || line.contains("cluster smoke-0")
            || line.contains("cluster smoke-1")
            || line.contains("hostname-override=smoke-0")
        {
            found.push(line);
        }
    }
    for hierarchy in names("/sys/fs/cgroup") {
        found.extend(
            names(&hierarchy.display().to_string())
                .iter()
                .map(|group| group.display().to_string())
                .filter(|group| group.contains("/meshkit-") && group.contains("-smoke-")),
        );
    }
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts are listed");
    found.extend(mounts.lines().filter(|line| line.contains("/run/smoke/")).map(str::to_owned));
    if PathBuf::from(format!("/sys/class/net/{link}")).exists() {
        found.push(format!("interface {link}"));
    }
    found
}
