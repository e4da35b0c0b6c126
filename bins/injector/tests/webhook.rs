//! The webhook over a socket, asked by curl; and its patches, applied by somebody else's code.

#![allow(clippy::unwrap_used)] // Helpers of tests are no tests to clippy.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use meshkit_core::drain;
use meshkit_injector::{
    annotation::Annotations,
    inject::Owner,
    webhook::{BODY_MAX, Certificates, Cluster, Event, EventKind, Files, Metrics, Unavailable, Webhook, serve},
};
use meshkit_runtime::metrics::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

const HOST: &str = "linkerd-proxy-injector.linkerd.svc";

/// One namespace in which everything is injected, one in which nothing is, and nothing else.
struct Fake;

impl Cluster for Fake {
    async fn namespace(&self, name: &str) -> Result<Annotations, Unavailable> {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        match name {
            "meshed" => Ok([pair("linkerd.io/inject", "enabled"), pair("config.linkerd.io/proxy-log-level", "debug")].into()),
            "plain" => Ok([pair("config.linkerd.io/opaque-ports", "9999")].into()),
            "" => Ok(Annotations::new()),
            other => Err(Unavailable::new(format_args!("namespace {other} is not known"))),
        }
    }

    async fn controller(&self, _: &str, owner: &Owner) -> Option<Owner> {
        let name = owner.name.rsplit_once('-')?.0.to_owned();
        Some(Owner { kind: "Deployment".to_owned(), name })
    }
}

struct Running {
    dir: TempDir,
    address: SocketAddr,
    certificates: Certificates,
    registry: Registry,
    events: mpsc::Receiver<Event>,
    stop: drain::Signal,
    task: JoinHandle<()>,
}

/// A certificate that is its own root.
fn certify(dir: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
}

async fn start() -> Running {
    let dir = TempDir::new().unwrap();
    certify(dir.path());
    fs::write(dir.path().join("values"), "linkerdVersion: 1.0.0\nproxy: {resources: {memory: {limit: 250Mi}}}\n").unwrap();
    fs::write(dir.path().join("ca-bundle.crt"), "PEM\n").unwrap();
    let certificates = Certificates::load(dir.path()).await.unwrap();
    let registry = Registry::new(Duration::from_secs(600));
    let (sender, events) = mpsc::channel(16);
    let files = Files::new(dir.path().join("values"), dir.path().join("ca-bundle.crt"), "linkerd");
    let webhook = Arc::new(Webhook::new(Fake, files, Metrics::register(&registry), sender));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, watch) = drain::channel();
    let task = tokio::spawn(serve(listener, certificates.clone(), webhook, watch));
    Running { dir, address, certificates, registry, events, stop, task }
}

impl Running {
    /// Posts a body with curl, which trusts the certificate in `ca`.
    async fn curl(&self, ca: &Path, body: &[u8], arguments: &[&str]) -> Output {
        let file = self.dir.path().join("body");
        fs::write(&file, body).unwrap();
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code} %{http_version}"])
            .args(["--header", "content-type: application/json", "--header", "expect:"])
            .args(["--resolve", &format!("{HOST}:{}:127.0.0.1", self.address.port())])
            .arg("--cacert")
            .arg(ca)
            .arg("--data-binary")
            .arg(format!("@{}", file.display()))
            .args(arguments)
            .arg(format!("https://{HOST}:{}/", self.address.port()));
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn review(&self, kind: &str, namespace: &str, object: &Value, dry_run: bool) -> Value {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "7c0f", "kind": {"group": "", "version": "v1", "kind": kind}, "resource": {"group": "", "version": "v1", "resource": "x"},
                "operation": "CREATE", "namespace": namespace, "object": object, "oldObject": null, "dryRun": dry_run,
            },
        });
        let output = self.curl(&self.dir.path().join("tls.crt"), review.to_string().as_bytes(), &[]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        assert_eq!(status, "200 2", "{text} {}", String::from_utf8_lossy(&output.stderr));
        let mut answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&answer["kind"], &answer["response"]["uid"]), (&json!("AdmissionReview"), &json!("7c0f")));
        answer["response"].take()
    }
}

fn patched(object: &Value, response: &Value) -> Value {
    let mut object = object.clone();
    if let Some(patch) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    object
}

fn pod(annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "web-7d-", "labels": {"app": "web"}, "annotations": annotations,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d", "controller": true}],
        },
        "spec": {"containers": [{"name": "web", "ports": [{"containerPort": 3306}]}]},
    })
}

#[tokio::test]
async fn a_new_pod_gets_its_proxy() {
    let mut running = start().await;
    let pod = pod(&json!({"config.linkerd.io/proxy-loglevel": "x"}));
    let response = running.review("Pod", "meshed", &pod, false).await;
    assert_eq!(response["allowed"], true);
    let warning =
        "annotation config.linkerd.io/proxy-loglevel is not known and has no effect; did you mean config.linkerd.io/proxy-log-level?";
    assert_eq!(response["warnings"], json!([warning]));

    let injected = patched(&pod, &response);
    let names: Vec<_> = injected["spec"]["initContainers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["linkerd-init", "linkerd-proxy"]);
    let metadata = &injected["metadata"];
    assert_eq!(metadata["labels"]["linkerd.io/proxy-deployment"], "web", "of the Deployment, not of its ReplicaSet");
    assert_eq!(metadata["labels"]["linkerd.io/workload-ns"], "meshed");
    assert_eq!(metadata["annotations"]["linkerd.io/created-by"], "linkerd/proxy-injector 1.0.0");
    assert_eq!(metadata["annotations"]["linkerd.io/inject"], "enabled", "what the namespace says is to be seen");
    assert_eq!(metadata["annotations"]["config.linkerd.io/proxy-log-level"], "debug");
    assert_eq!(metadata["annotations"]["config.linkerd.io/opaque-ports"], "3306");

    let owner = Owner { kind: "Deployment".to_owned(), name: "web".to_owned() };
    let event = running.events.recv().await.unwrap();
    assert_eq!((event.kind, event.reason, event.message.as_str()), (EventKind::Normal, "Injected", "Linkerd sidecar proxy injected"));
    assert_eq!((event.subject.namespace.as_str(), event.subject.owner), ("meshed", owner));
    let event = running.events.recv().await.unwrap();
    assert_eq!((event.kind, event.reason, event.message.as_str()), (EventKind::Warning, "AnnotationIgnored", warning));

    let scrape = running.registry.encode();
    let line = |name: &str| scrape.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{scrape}")).to_owned();
    let request = line("proxy_inject_admission_requests_total{");
    assert!(
        request.contains(r#"{owner_kind="deployment",namespace="meshed",annotation_at="namespace","#) && request.ends_with(" 1"),
        "{request}"
    );
    assert!(request.contains(r#"proxy_log_level="debug""#) && request.contains(r#"skip_inbound_ports="""#), "{request}");
    assert!(line("proxy_inject_admission_responses_total{").contains(r#"skip="false",skip_reason="""#));
}

#[tokio::test]
async fn a_pod_that_may_not_have_a_proxy_is_told_why() {
    let mut running = start().await;
    let mut pod = pod(&json!({}));
    pod["spec"]["hostNetwork"] = json!(true);
    let response = running.review("Pod", "meshed", &pod, false).await;
    let why = "Linkerd sidecar proxy injection skipped: hostNetwork is enabled";
    assert_eq!((&response["allowed"], &response["warnings"]), (&json!(true), &json!([why])));
    let annotated = patched(&pod, &response);
    assert_eq!(annotated["spec"], pod["spec"]);
    assert_eq!(annotated["metadata"]["annotations"], json!({"config.linkerd.io/opaque-ports": "3306"}));
    let event = running.events.recv().await.unwrap();
    assert_eq!((event.reason, event.message.as_str()), ("InjectionSkipped", why));
    let scrape = running.registry.encode();
    assert!(scrape.contains(r#"skip="true",skip_reason="host_network_enabled"} 1"#), "{scrape}");

    running.review("Pod", "meshed", &pod, true).await;
    assert!(running.events.try_recv().is_err(), "nothing is written for a dry run");
}

#[tokio::test]
async fn services_and_pods_outside_get_their_opaque_ports() {
    let running = start().await;
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": {"ports": ports}});
    let ports = json!([
        {"port": 3306}, {"port": 25, "targetPort": 8025}, {"port": 80, "targetPort": 5432}, {"port": 6379, "targetPort": "redis"}, {"port": 9300, "targetPort": 9300},
    ]);
    let annotations = |object: &Value| object["metadata"]["annotations"].clone();
    let found = patched(&service(ports.clone()), &running.review("Service", "", &service(ports.clone()), false).await);
    assert_eq!(annotations(&found), json!({"config.linkerd.io/opaque-ports": "3306,80,9300"}));
    let found = patched(&service(ports.clone()), &running.review("Service", "plain", &service(ports.clone()), false).await);
    assert_eq!(annotations(&found), json!({"config.linkerd.io/opaque-ports": "9999"}));
    let mut own = service(ports);
    own["metadata"]["annotations"] = json!({"config.linkerd.io/opaque-ports": ""});
    assert!(running.review("Service", "plain", &own, false).await.get("patch").is_none(), "an empty list is an answer");
    let plain = pod(&json!(null));
    let found = patched(&plain, &running.review("Pod", "plain", &plain, false).await);
    assert_eq!(annotations(&found), json!({"config.linkerd.io/opaque-ports": "9999"}));
    let none = service(json!([{"port": 8080}]));
    assert!(running.review("Service", "", &none, false).await.get("patch").is_none());
}

#[tokio::test]
async fn what_cannot_be_judged_is_not_let_in() {
    let running = start().await;
    let refused = running.review("Pod", "elsewhere", &pod(&json!({})), false).await;
    assert_eq!((&refused["allowed"], &refused["status"]["message"]), (&json!(false), &json!("namespace elsewhere is not known")));
    let bad = pod(&json!({"config.linkerd.io/proxy-log-http-headers": "secret"}));
    let refused = running.review("Pod", "meshed", &bad, false).await;
    assert_eq!(refused["allowed"], false);
    assert!(refused["status"]["message"].as_str().unwrap().contains("proxy-log-http-headers"), "{refused}");
    fs::write(running.dir.path().join("values"), "proxy: 5\n").unwrap();
    let refused = running.review("Pod", "meshed", &pod(&json!({})), false).await;
    assert!(refused["status"]["message"].as_str().unwrap().contains("values"), "{refused}");
    fs::write(running.dir.path().join("values"), "linkerdVersion: 2.0.0\n").unwrap();
    let injected = patched(&pod(&json!({})), &running.review("Pod", "meshed", &pod(&json!({})), false).await);
    assert_eq!(injected["metadata"]["annotations"]["linkerd.io/proxy-version"], "2.0.0", "an edit takes effect at once");
}

#[tokio::test]
async fn long_and_senseless_bodies_are_refused() {
    let running = start().await;
    let ca = running.dir.path().join("tls.crt");
    let status = |output: Output| String::from_utf8(output.stdout).unwrap().rsplit_once('\n').unwrap().1.to_owned();
    assert_eq!(status(running.curl(&ca, b"{}", &[]).await), "400 2");
    let long = vec![b' '; BODY_MAX + 1];
    assert_eq!(status(running.curl(&ca, &long, &[]).await), "413 2");
    assert_eq!(status(running.curl(&ca, &long, &["--http1.1"]).await), "413 1.1");
    assert_eq!(status(running.curl(&ca, &long, &["--http1.1", "--header", "transfer-encoding: chunked"]).await), "413 1.1");
    assert_eq!(status(running.curl(&ca, b"{}", &["--request", "GET", "--http1.1"]).await), "405 1.1");
    let old = running.curl(&ca, b"{}", &["--tls-max", "1.2"]).await;
    assert!(!old.status.success(), "TLS 1.2 is too old");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_connection() {
    let running = start().await;
    let old = running.dir.path().join("old.crt");
    fs::copy(running.dir.path().join("tls.crt"), &old).unwrap();
    assert!(running.curl(&old, b"{}", &[]).await.status.success());
    assert!(!running.certificates.reload().await.unwrap(), "nothing has changed");

    let (crt, key) = (running.dir.path().join("tls.crt"), running.dir.path().join("tls.key"));
    let old_key = fs::read(&key).unwrap();
    certify(running.dir.path());
    let new_key = fs::read(&key).unwrap();
    fs::write(&key, old_key).unwrap();
    assert!(running.certificates.reload().await.is_err(), "the key is not the certificate's");
    assert!(running.curl(&old, b"{}", &[]).await.status.success(), "the old one is still shown");

    fs::write(&key, new_key).unwrap();
    assert!(running.certificates.reload().await.unwrap());
    assert!(running.curl(&crt, b"{}", &[]).await.status.success());
    assert!(!running.curl(&old, b"{}", &[]).await.status.success());
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let Running { stop, task, address, dir: _dir, .. } = start().await;
    stop.drain().await;
    task.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
