//! The repair controller, before an API server that is bare hyper.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::{Method, Request, Response, body::Frame, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use meshkit_core::SystemClock;
use meshkit_init::cni::repair::{Controller, Metrics};
use meshkit_kube::Client;
use meshkit_runtime::metrics::Registry;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

/// Method and path of every request but the watch, and its body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

fn pod(name: &str, phase: &str, exit_code: i64) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "web", "uid": format!("uid-of-{name}"), "resourceVersion": "7"},
        "spec": {"initContainers": [{"name": "linkerd-network-validator", "image": "x"}], "containers": [{"name": "web", "image": "x"}]},
        "status": {"phase": phase, "initContainerStatuses": [
            {"name": "linkerd-network-validator", "lastState": {"terminated": {"exitCode": exit_code}}}]},
    })
}

/// What the server says: a status and an object, or nothing for the watch.
fn answer(method: &Method, path: &str) -> (u16, Value) {
    match (method, path.rsplit('/').next().unwrap()) {
        (&Method::GET, "pods") => {
            let items = [pod("broken", "Pending", 95), pod("slow", "Pending", 1), pod("well", "Running", 95)];
            (200, json!({"metadata": {"resourceVersion": "7"}, "items": items}))
        }
        (&Method::GET, "slow") => (200, pod("slow", "Pending", 1)),
        (&Method::GET, name) => (200, pod(name, "Pending", 95)),
        (&Method::DELETE, "stuck") => (500, json!({"kind": "Status", "code": 500})),
        (&Method::DELETE, "another") => (409, json!({"kind": "Status", "code": 409})),
        (&Method::POST, "events") => (201, json!({})),
        _ => (200, json!({})),
    }
}

async fn serve(listener: TcpListener, asked: Asked, lines: mpsc::UnboundedReceiver<Value>) {
    let lines = Arc::new(Mutex::new(Some(lines)));
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (asked, lines) = (Arc::clone(&asked), Arc::clone(&lines));
        let service = service_fn(move |request: Request<Incoming>| {
            let (asked, lines) = (Arc::clone(&asked), Arc::clone(&lines));
            async move {
                let (method, uri) = (request.method().clone(), request.uri().clone());
                if uri.query().is_some_and(|query| query.contains("watch=1")) {
                    let lines = lines.lock().unwrap().take().unwrap();
                    let chunks = futures_util::stream::unfold(lines, |mut lines| async move {
                        let line = Bytes::from(format!("{}\n", lines.recv().await?));
                        Some((Ok::<_, Infallible>(Frame::data(line)), lines))
                    });
                    return Ok::<_, Infallible>(Response::new(Either::Left(StreamBody::new(chunks))));
                }
                let body = request.into_body().collect().await.unwrap().to_bytes();
                asked.lock().unwrap().push((format!("{method} {uri}"), serde_json::from_slice(&body).unwrap_or_default()));
                let (status, value) = answer(&method, uri.path());
                let body = Either::Right(Full::new(Bytes::from(value.to_string())));
                Ok(Response::builder().status(status).body(body).unwrap())
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn pods_that_started_before_the_plugin_are_deleted_and_told_of() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, (lines, received)) = (Asked::default(), mpsc::unbounded_channel());
    tokio::spawn(serve(listener, Arc::clone(&asked), received));
    let registry = Registry::new(Duration::from_secs(60));
    let client = Client::at(url.parse().unwrap(), None).unwrap();
    let controller = Controller::new(client, "node 1", "linkerd-cni-x", Arc::new(SystemClock), Metrics::register(&registry));
    let (ready, is_ready) = oneshot::channel();
    tokio::spawn(controller.run(Arc::new(()), || ready.send(()).unwrap()));
    is_ready.await.unwrap();

    let before = std::mem::take(&mut *asked.lock().unwrap());
    let paths: Vec<_> = before.iter().map(|(path, _)| path.as_str()).collect();
    let wanted = [
        "GET /api/v1/pods?limit=500&labelSelector=linkerd.io%2Fcontrol-plane-ns&fieldSelector=spec.nodeName%3Dnode%201",
        "GET /api/v1/namespaces/web/pods/broken",
        "DELETE /api/v1/namespaces/web/pods/broken",
        "POST /api/v1/namespaces/web/events?fieldManager=linkerd-cni-repair-controller",
        "GET /api/v1/namespaces/web/pods/slow",
    ];
    assert_eq!(paths, wanted);
    assert_eq!((&before[2].1["gracePeriodSeconds"], &before[2].1["preconditions"]["uid"]), (&json!(0), &json!("uid-of-broken")));
    let event = &before[3].1;
    assert_eq!(
        (&event["reason"], &event["action"], &event["type"]),
        (&json!("LinkerdCNINotConfigured"), &json!("Deleting"), &json!("Warning"))
    );
    assert_eq!(event["involvedObject"]["uid"], "uid-of-broken");
    assert_eq!(event["reportingInstance"], "linkerd-cni-x");

    for name in ["stuck", "another", "late"] {
        lines.send(json!({"type": "MODIFIED", "object": pod(name, "Pending", 95)})).unwrap();
    }
    lines.send(json!({"type": "DELETED", "object": pod("late", "Pending", 95)})).unwrap();
    eventually("the last event", || asked.lock().unwrap().iter().filter(|(path, _)| path.starts_with("POST")).count() == 1).await;
    // Of one that could not be deleted, and of one that is another by now, nothing is told.
    let after: Vec<_> = asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    let deleted = |name: &str| format!("DELETE /api/v1/namespaces/web/pods/{name}");
    assert_eq!([&after[1], &after[3], &after[5]], [&deleted("stuck"), &deleted("another"), &deleted("late")]);
    eventually("the event is counted", || registry.encode().contains("events_publish_latency_seconds_count 2\n")).await;
    let metrics = registry.encode();
    for (name, value) in [("pods_deleted", 2), ("pods_delete_errors", 1), ("pods_delete_timeouts", 0), ("events_publish_errors", 0)] {
        let line = format!("linkerd_cni_repair_controller_{name}_total {value}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}
