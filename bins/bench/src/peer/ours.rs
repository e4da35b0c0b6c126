//! The mesh: `mesh run` of a generated folder, with its control plane, its policy and its metrics.

use std::{collections::BTreeMap, fs, io, net::SocketAddr, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Lab, Setup, Topology, lab::text};
use crate::{process::Process, usage};

/// How long it may take until every proxy runs.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn start(setup: Setup, lab: &Lab) -> io::Result<Topology> {
    let program = lab.tools.mesh.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "mesh is not built"))?;
    // The run's addresses follow from its folder. Where another run has them, another folder has others.
    let mut last = io::Error::other("no attempt");
    for attempt in 0..4 {
        let dir = lab.dir.join(format!("mesh-{attempt}"));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("bench.yaml"), manifests(setup, &text(&lab.program)))?;
        let process = Process::start(program, ["run", &text(&dir)], &lab.log(&format!("mesh-{attempt}")))?;
        match topology(setup, &dir, process).await {
            Ok(topology) => return Ok(topology),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn topology(setup: Setup, dir: &Path, mut process: Process) -> io::Result<Topology> {
    let start = Instant::now();
    let proxies = loop {
        process.lives()?;
        let proxies = proxies(process.id(), dir);
        if proxies.len() == setup.servers() + 1 && proxies.contains_key(CLIENT) {
            break proxies;
        }
        if start.elapsed() > LIMIT {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "not every proxy of the mesh runs"));
        }
        sleep(Duration::from_millis(100)).await;
    };
    let listeners = fs::read_to_string(dir.join(".mesh/replicas").join(CLIENT).join("listeners"))?;
    let listener = |port: u16| -> Option<SocketAddr> {
        let line = listeners.lines().find(|line| line.ends_with(&format!(" server.bench.svc.cluster.local:{port}")))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let (outbound, inbound) = proxies.iter().partition(|(pod, _)| *pod == CLIENT);
    let ids = |of: BTreeMap<&String, &u32>| of.into_values().copied().collect();
    let topology = Topology {
        http1: listener(8080),
        http2: listener(8081),
        tcp: listener(8082),
        authority: "server.bench.svc.cluster.local:8080".to_owned(),
        outbound: ids(outbound),
        inbound: ids(inbound),
        children: vec![process],
    };
    Ok(topology)
}

/// The replica that the load comes from.
const CLIENT: &str = "bench.client-0";

/// Proxies of a run, by replica.
fn proxies(run: u32, dir: &Path) -> BTreeMap<String, u32> {
    let named = usage::children(run).into_iter().filter_map(|(id, environment)| {
        let listeners = Path::new(environment.get("MESH_PROXY_LISTENERS_FILE")?);
        let replica = listeners.strip_prefix(dir).ok()?.parent()?.file_name()?;
        Some((replica.to_str()?.to_owned(), id))
    });
    named.collect()
}

/// A client that does nothing, servers, and what the setup wants.
fn manifests(setup: Setup, program: &str) -> String {
    let annotations = if setup == Setup::Retries { ", retry.linkerd.io/http: 5xx, retry.linkerd.io/limit: '3'" } else { "" };
    let mut text = format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: bench, annotations: {{linkerd.io/inject: enabled}}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: default, namespace: bench}}
---
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: bench, annotations: {{config.linkerd.io/opaque-ports: '8082'{annotations}}}}}
spec:
  selector: {{app: server}}
  ports:
  - {{name: http, port: 8080, targetPort: 8080, appProtocol: http}}
  - {{name: http2, port: 8081, targetPort: 8080, appProtocol: kubernetes.io/h2c}}
  - {{name: tcp, port: 8082, targetPort: 8082}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: client, namespace: bench}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: client}}}}
  template:
    metadata: {{labels: {{app: client}}}}
    spec:
      containers:
      - {{name: client, image: none, command: [sleep, infinity]}}
"
    );
    text += &match setup {
        Setup::Slow => deployment("slow", 1, program, &setup.options(0)) + &deployment("server", 9, program, &setup.options(1)),
        _ => deployment("server", setup.servers(), program, &setup.options(0)),
    };
    if setup == Setup::Routes {
        text += &routes();
    }
    text
}

fn deployment(name: &str, replicas: usize, program: &str, options: &[String]) -> String {
    let options: String = options.iter().map(|option| format!(", '{option}'")).collect();
    format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: bench}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: server, group: {name}}}}}
  template:
    metadata:
      labels: {{app: server, group: {name}}}
      annotations: {{config.linkerd.io/opaque-ports: '8082'}}
    spec:
      containers:
      - name: server
        image: none
        command: ['{program}', server, '--http=$(POD_IP):8080', '--tcp=$(POD_IP):8082'{options}]
        env: [{{name: POD_IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}]
        ports: [{{name: http, containerPort: 8080}}, {{name: tcp, containerPort: 8082}}]
"
    )
}

/// A hundred routes of the Service, and one that takes what they leave.
fn routes() -> String {
    let route = |name: &str, path: &str| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: bench}}
spec:
  parentRefs: [{{group: '', kind: Service, name: server, port: 8080}}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]
    backendRefs: [{{name: server, port: 8080}}]
"
        )
    };
    let hundred: String = (0..100).map(|n| route(&format!("route-{n}"), &format!("/route-{n}/"))).collect();
    hundred + &route("rest", "/")
}
