//! The writer of statuses against an API server.

#![allow(clippy::unwrap_used)] // Everything in here is a test.

use std::{sync::Arc, time::Duration};

use meshkit_kube::lease::Terms;
use meshkit_manifest::{Cluster, Event, Object};
use meshkit_policy::DefaultPolicy;
use meshkit_policy_controller::{
    Index, Mesh, Settings,
    settings::Acceptance,
    status::{Candidate, Metrics, Writer},
};
use meshkit_runtime::metrics::Registry;
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use api::{Api, change, eventually};

mod api;

/// A writer, and what it sees.
struct Running {
    api: Api,
    cluster: watch::Sender<Arc<Cluster>>,
    registry: Registry,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "it", "namespace": "ns", "resourceVersion": "7"},
        "spec": {"parentRefs": [{"group": "policy.linkerd.io", "kind": "Server", "name": "web"}]},
    })
}

fn server() -> Value {
    json!({
        "apiVersion": "policy.linkerd.io/v1beta3",
        "kind": "Server",
        "metadata": {"name": "web", "namespace": "ns", "resourceVersion": "1"},
        "spec": {"podSelector": {}, "port": 80},
    })
}

fn snapshot(objects: &[Value]) -> Arc<Cluster> {
    let mut cluster = Cluster::default();
    let objects = objects.iter().map(|object| Object::from_json(object.clone()).unwrap().unwrap()).collect();
    cluster.apply(Event::Reset(objects), |_| true);
    Arc::new(cluster)
}

fn run(api: &Api, identity: &str) -> Running {
    let mesh = Mesh {
        namespace: "linkerd".to_owned(),
        domain: "cluster.local".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        networks: Vec::new(),
        probe_networks: Vec::new(),
        default_policy: DefaultPolicy::AllUnauthenticated,
    };
    let (cluster, changes) = watch::channel(snapshot(&[server(), api.state().route.clone()]));
    let index = Index::new(changes, mesh, Settings::default().acceptance(Acceptance::Written));
    let mut terms = Terms::default();
    (terms.duration, terms.grace, terms.renew, terms.retry) =
        (Duration::from_secs(3), Duration::from_secs(1), Duration::from_millis(200), Duration::from_millis(20));
    let registry = Registry::new(Duration::from_secs(600));
    let candidate = Candidate::new("linkerd", "linkerd-destination", identity).unwrap().terms(terms);
    let writer = Writer::new(api.client(), candidate, Metrics::register(&registry)).reconcile(Duration::from_millis(50));
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(writer.run(index, async move { drop(stopped.await) }));
    Running { api: api.clone(), cluster, registry, stop, task }
}

impl Running {
    /// It sees what the server has.
    fn see(&self) {
        let route = self.api.state().route.clone();
        self.cluster.send_replace(snapshot(&[server(), route]));
    }

    fn count(&self, name: &str) -> u64 {
        let text = self.registry.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_else(|| panic!("no {name}: {text}"));
        line.parse().unwrap()
    }

    fn patches(&self) -> usize {
        self.api.state().patches.len()
    }
}

fn own(route: &Value) -> Option<&Value> {
    route["status"]["parents"].as_array()?.iter().find(|parent| parent["controllerName"] == "linkerd.io/policy-controller")
}

fn is_accepted(route: &Value) -> bool {
    own(route).is_some_and(|parent| parent["conditions"][0]["type"] == "Accepted" && parent["conditions"][0]["status"] == "True")
}

#[tokio::test]
async fn a_status_is_written_once_by_the_holder_of_the_lease() {
    let api = Api::start(route()).await;
    let writer = run(&api, "pod-1");
    eventually("the status is written", || is_accepted(&api.state().route)).await;
    let lease = api.state().lease.clone().unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "pod-1");
    assert_eq!(
        (&lease["metadata"]["ownerReferences"][0]["uid"], &lease["metadata"]["ownerReferences"][0]["name"]),
        (&json!("42"), &json!("linkerd-destination"))
    );
    assert_eq!(
        lease["metadata"]["labels"],
        json!({"linkerd.io/control-plane-component": "destination", "linkerd.io/control-plane-ns": "linkerd"})
    );
    // Many looks later, at the state from before the write and then at the one from after it.
    for _ in 0..2 {
        let before = api.state().renewals;
        eventually("time passes", || api.state().renewals > before + 2).await;
        assert_eq!(writer.patches(), 1);
        writer.see();
    }
    assert_eq!((writer.count("resource_status_patches_total"), writer.count("resource_status_patch_enqueues_total")), (1, 1));
    assert_eq!(writer.count("resource_status_patch_duration_seconds_count"), 1);
    // The parent goes away, and the snapshot says so.
    let route = api.state().route.clone();
    writer.cluster.send_replace(snapshot(&[route]));
    eventually("it is taken back", || {
        own(&api.state().route).is_some_and(|parent| parent["conditions"][0]["reason"] == "NoMatchingParent")
    })
    .await;
}

#[tokio::test]
async fn what_others_wrote_in_the_meantime_is_not_lost() {
    let api = Api::start(route()).await;
    let foreign = json!({"parentRef": {"name": "gateway"}, "controllerName": "example.com/gateway", "conditions": []});
    let writer = run(&api, "pod-1");
    // The writer saw the route before somebody else wrote.
    change(&mut api.state().route, |route| route["status"] = json!({"parents": [foreign]}));
    eventually("it was refused", || writer.patches() > 0).await;
    assert_eq!(own(&api.state().route), None);
    writer.see();
    eventually("the status is written", || is_accepted(&api.state().route)).await;
    assert_eq!(api.state().route["status"]["parents"][0], foreign);
}

#[tokio::test]
async fn a_server_in_trouble_is_asked_again() {
    let api = Api::start(route()).await;
    api.state().troubles.extend([503, 500]);
    let writer = run(&api, "pod-1");
    eventually("the status is written", || is_accepted(&api.state().route)).await;
    eventually("it is counted", || writer.count("resource_status_patches_total") == 1).await;
    assert_eq!((writer.patches(), writer.count("resource_status_patch_api_errors_total")), (3, 2));
}

#[tokio::test]
async fn nothing_is_written_without_the_lease() {
    let api = Api::start(route()).await;
    let first = run(&api, "pod-1");
    eventually("the status is written", || is_accepted(&api.state().route)).await;
    let second = run(&api, "pod-2");
    // The lease cannot be renewed, and ends. Nobody has it then.
    api.state().is_lease_refused = true;
    tokio::time::sleep(Duration::from_secs(3)).await;
    change(&mut api.state().route, |route| route["status"] = json!({}));
    first.see();
    second.see();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(own(&api.state().route), None);
    assert_eq!(second.count("resource_status_patches_total"), 0);
    api.state().is_lease_refused = false;
    eventually("whoever has it now writes", || is_accepted(&api.state().route)).await;
}

#[tokio::test]
async fn whoever_stops_gives_the_lease_back() {
    let api = Api::start(route()).await;
    let first = run(&api, "pod-1");
    eventually("the status is written", || is_accepted(&api.state().route)).await;
    let second = run(&api, "pod-2");
    first.stop.send(()).unwrap();
    first.task.await.unwrap();
    assert_eq!(api.state().lease.as_ref().unwrap()["spec"]["holderIdentity"], "");
    change(&mut api.state().route, |route| route["status"] = json!({}));
    second.see();
    eventually("the next one writes", || is_accepted(&api.state().route)).await;
    assert_eq!(api.state().lease.as_ref().unwrap()["spec"]["holderIdentity"], "pod-2");
    drop(second.cluster);
    second.task.await.unwrap();
}

#[test]
fn who_has_no_name_is_no_candidate() {
    assert!(Candidate::new("linkerd", "linkerd-destination", "").is_none());
}
