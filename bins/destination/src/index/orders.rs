//! Objects of every kind that counts, changed in any order by any source: the answers are those of an index that has known nothing else.

use std::{collections::BTreeMap, net::SocketAddr};

use meshkit_manifest::{Cluster, Event, Key, Object};
use meshkit_wire::profile::Profile;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::{
    fixture::{mesh, unchecked},
    model::{EndpointSet, View},
};

const NAMES: [&str; 8] = [
    "web.ns.svc.cluster.local:80",
    "web.ns.svc.cluster.local:81",
    "web-0.web.ns.svc.cluster.local:80",
    "union.ns.svc.cluster.local:80",
    "vm.ns.svc.cluster.local:80",
    "twin.ns.svc.cluster.local:80",
    "none.ns.svc.cluster.local:80",
    "web.far.svc.cluster.local:80",
];
const ADDRS: [&str; 7] =
    ["10.96.0.1:80", "10.96.0.2:80", "10.0.0.0:8080", "10.0.0.1:8080", "172.18.0.0:9080", "192.0.2.1:8080", "[fd00::1]:8080"];

fn metadata(name: &str, namespace: &str, more: Value) -> Value {
    let mut metadata = json!({"name": name, "namespace": namespace});
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    metadata
}

fn service() -> impl Strategy<Value = Value> {
    let opaque = select(vec![json!({}), json!({"config.linkerd.io/opaque-ports": "80"})]);
    let members = select(vec![
        json!({"multicluster.linkerd.io/local-discovery": "web"}),
        json!({"multicluster.linkerd.io/local-discovery": "web", "multicluster.linkerd.io/remote-discovery": "web@moon"}),
        json!({"multicluster.linkerd.io/local-discovery": "vm"}),
    ]);
    let labels = select(vec![json!({}), json!({"mirror.linkerd.io/cluster-name": "moon"})]);
    let spec = (
        select(vec!["10.96.0.1", "10.96.0.2", "None"]),
        select(vec![80, 81]),
        any::<bool>(),
        select(vec![json!(null), json!(null), json!(null), json!("ExternalName")]),
    );
    (select(vec!["web", "web", "union", "vm", "twin"]), select(vec!["ns", "ns", "far"]), opaque, members, labels, spec).prop_map(
        |(name, ns, opaque, members, labels, (ip, port, local, kind))| {
            let annotations = if name == "union" { members } else { opaque };
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata(name, ns, json!({"annotations": annotations, "labels": labels})),
                "spec": {
                    "clusterIP": ip, "type": kind, "selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": 8080}],
                    "internalTrafficPolicy": if local { "Local" } else { "Cluster" },
                },
            })
        },
    )
}

fn slice() -> impl Strategy<Value = Value> {
    let target = prop_oneof![
        4 => (0..3u8, select(vec!["ns", "far"])).prop_map(|(pod, ns)| json!({"kind": "Pod", "name": format!("web-{pod}"), "namespace": ns})),
        1 => Just(json!({"kind": "ExternalWorkload", "name": "vm", "namespace": "ns"})),
        1 => Just(Value::Null),
    ];
    let endpoint = (target, select(vec!["10.0.0.0", "10.0.0.1", "10.0.0.2", "fd00::1"]), any::<Option<bool>>(), any::<(bool, bool)>())
        .prop_map(|(target, ip, ready, (named, hinted))| {
            json!({
                "addresses": [ip], "conditions": {"ready": ready}, "targetRef": target, "zone": "east",
                "hostname": named.then_some("web-0"), "hints": hinted.then(|| json!({"forZones": [{"name": "east"}]})),
            })
        });
    (select(vec!["a", "b"]), select(vec!["web", "web", "vm", "twin"]), vec(endpoint, 0..4), select(vec![8080, 8081])).prop_map(
        |(name, of, endpoints, port)| {
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": metadata(name, "ns", json!({"labels": {"kubernetes.io/service-name": of}})),
                "ports": [{"name": "http", "port": port}], "endpoints": endpoints,
            })
        },
    )
}

fn pod() -> impl Strategy<Value = Value> {
    let spec = (any::<bool>(), select(vec!["node-0", "node-1"]), select(vec![json!(null), json!(9080)]));
    let status = (select(vec!["10.0.0.0", "10.0.0.1", "fd00::1"]), select(vec!["Pending", "Running", "Succeeded"]), any::<bool>());
    (0..3u8, select(vec!["ns", "far"]), select(vec!["8080", "", "http"]), spec, status).prop_map(
        |(pod, ns, opaque, (host, node, host_port), (ip, phase, leaving))| {
            let name = format!("web-{pod}");
            let labels = json!({"app": "web", "pod-name": name, "linkerd.io/control-plane-ns": "linkerd"});
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": metadata(&name, ns, json!({
                    "labels": labels, "annotations": {"config.linkerd.io/opaque-ports": opaque},
                    "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z"),
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d"}],
                })),
                "spec": {"hostNetwork": host, "nodeName": node, "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080, "hostPort": host_port}]}]},
                "status": {"podIP": ip, "hostIP": "172.18.0.0", "phase": phase},
            })
        },
    )
}

fn other() -> impl Strategy<Value = Value> {
    let server = (
        select(vec![json!({"app": "web"}), json!({"pod-name": "web-1"}), json!({"app": "vm"})]),
        select(vec![json!(8080), json!("http")]),
        any::<bool>(),
    );
    prop_oneof![
        server.prop_map(|(labels, port, opaque)| json!({
            "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "metadata": metadata("s", "ns", json!({})),
            "spec": {if labels["app"] == "vm" { "externalWorkloadSelector" } else { "podSelector" }: {"matchLabels": labels}, "port": port, "proxyProtocol": if opaque { "opaque" } else { "HTTP/1" }},
        })),
        any::<bool>().prop_map(|ready| json!({
            "apiVersion": "workload.linkerd.io/v1beta1", "kind": "ExternalWorkload", "metadata": metadata("vm", "ns", json!({"labels": {"app": "vm"}})),
            "spec": {"meshTLS": {"identity": "vm.td", "serverName": "vm.td"}, "ports": [{"port": 8080}], "workloadIPs": [{"ip": "192.0.2.1"}]},
            "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        })),
        select(vec!["web", "other"]).prop_map(|owner| json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": metadata("web-5d", "ns", json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": owner}]})),
        })),
        (select(vec!["node-0", "node-1"]), select(vec!["east", "west", ""])).prop_map(|(node, zone)| json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": {"topology.kubernetes.io/zone": zone}},
        })),
        (select(vec!["ns", "client"]), select(vec!["one", "two"])).prop_map(|(ns, route)| json!({
            "apiVersion": "linkerd.io/v1alpha2", "kind": "ServiceProfile", "metadata": metadata("web.ns.svc.cluster.local", ns, json!({})),
            "spec": {"routes": [{"name": route, "condition": {"method": "GET"}}]},
        })),
    ]
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![2 => service(), 3 => slice(), 4 => pod(), 3 => other()].prop_map(|mut json| {
        prune(&mut json);
        unchecked(json)
    })
}

/// A field that is null is not there.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(prune);
        }
        Value::Array(all) => all.iter_mut().for_each(prune),
        _ => {}
    }
}

/// A change, and the number of the client that reads afterwards.
fn event() -> impl Strategy<Value = (Event, usize)> {
    let change = prop_oneof![
        8 => object().prop_map(Event::Applied),
        3 => object().prop_map(|object| Event::Deleted(object.key())),
        1 => vec(object(), 0..6).prop_map(Event::Reset),
    ];
    (change, 0..100usize)
}

/// What somebody is told.
#[derive(Debug, PartialEq)]
enum Told {
    Endpoints(EndpointSet, BTreeMap<String, String>),
    Profile(Box<Profile>),
}

/// What is so. `None` is a refusal.
fn truth(view: &View, target: &Target, client: &Context) -> Option<Told> {
    let (mesh, settings) = (mesh(), Settings::default());
    let model = Model::new(view, &mesh, &settings);
    match target {
        Target::Name(name) if client.ns.is_empty() => {
            let set = model.endpoints(name, &model.scope(name, client)).ok()?;
            Some(Told::Endpoints(set, model.set_labels(name)))
        }
        target => Some(Told::Profile(Box::new(model.profile(&model.subject(target, client).ok()?).ok()?.profile))),
    }
}

fn endpoints_told(now: &Endpoints) -> Told {
    Told::Endpoints(now.set.clone(), BTreeMap::clone(&now.labels))
}

fn profile_told(now: &Described) -> Told {
    Told::Profile(Box::new(Profile::clone(now)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn answers_do_not_depend_on_what_was_before(events in vec(event(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let index = Index::fed(mesh(), Settings::default());
            let mut cluster = Cluster::default();
            let (mut endpoints, mut profiles) = (Vec::new(), Vec::new());
            for (event, reader) in events {
                // One source tells of Pods, another of the rest.
                let is_mine = move |key: &Key| (key.kind == meshkit_manifest::Kind::Pod) == (reader % 2 == 0);
                cluster.apply(event.clone(), is_mine);
                index.apply(event, is_mine);
                let view = View::new(&cluster);

                // Whoever asks now is told what is so now.
                let target = Target::parse(NAMES[reader % NAMES.len()], "cluster.local").unwrap();
                let Target::Name(name) = &target else { unreachable!("it is a name") };
                let client = Context { node_name: ["node-0", "node-1", ""][reader % 3].to_owned(), ..Context::default() };
                let answers = index.endpoints(name, &client).ok();
                let told = answers.as_ref().map(|answers| endpoints_told(&answers.borrow()));
                assert_eq!(told, truth(&view, &target, &client), "{target:?}");
                endpoints.extend(answers.map(|answers| (target.clone(), client, answers)));

                let client = Context { ns: ["client", "ns"][reader % 2].to_owned(), ..Context::default() };
                let about = if reader % 3 == 0 { target } else { Target::Addr(ADDRS[reader % ADDRS.len()].parse::<SocketAddr>().unwrap()) };
                let answers = index.profile(&about, &client).ok();
                let told = answers.as_ref().map(|answers| profile_told(&answers.borrow()));
                assert_eq!(told, truth(&view, &about, &client), "{about:?}");
                profiles.extend(answers.map(|answers| (about, client, answers)));
            }
            // Whoever has waited knows it in a moment.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let view = View::new(&cluster);
            for (target, client, answers) in &endpoints {
                let now = answers.borrow();
                match truth(&view, target, client) {
                    Some(expected) => assert_eq!(endpoints_told(&now), expected, "{target:?}"),
                    None => assert!(now.set.is_empty(), "{target:?} is gone"),
                }
            }
            for (target, client, answers) in &profiles {
                // What is gone keeps its last profile.
                if let Some(expected) = truth(&view, target, client) {
                    assert_eq!(profile_told(&answers.borrow()), expected, "{target:?}");
                }
            }
        });
    }
}
