//! Any changes in any order, clients of any slowness: in the end each of them knows what is so.

use std::{collections::BTreeMap, net::SocketAddr};

use futures_util::{FutureExt as _, StreamExt as _};
use meshkit_core::{Endpoint, Update};
use meshkit_manifest::{Event, Key, Kind};
use meshkit_wire::destination::{Answers, Resolve as _};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;
use crate::{
    Service,
    fixture::{mesh, unchecked},
    model::View,
};

const PATHS: [&str; 3] = ["web.ns.svc.cluster.local:80", "web-1.web.ns.svc.cluster.local:80", "web.ns.svc.cluster.local:81"];
const PROFILES: [(&str, &str); 4] =
    [("web.ns.svc.cluster.local:80", "client"), ("10.96.0.7:80", ""), ("10.0.0.1:8080", ""), ("10.0.0.3:8080", "client")];
const NODES: [&str; 3] = ["node-0", "node-1", ""];

/// What happens to the cluster, and who listens afterwards.
#[derive(Clone, Debug)]
enum Step {
    Slice(Vec<(u8, bool, bool)>),
    Service { local: bool, other_port: bool },
    NoService,
    Pod(u8, bool),
    Profile { client: bool, route: Option<u8> },
    Zone(u8, u8),
    Read(usize),
}

/// A client that applies what it is told.
struct Client {
    path: &'static str,
    node: &'static str,
    updates: Answers<Update>,
    known: BTreeMap<SocketAddr, Endpoint>,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => vec((0u8..4, any::<bool>(), any::<bool>()), 0..6).prop_map(Step::Slice),
        2 => any::<(bool, bool)>().prop_map(|(local, other_port)| Step::Service { local, other_port }),
        1 => Just(Step::NoService),
        4 => (0u8..4, any::<bool>()).prop_map(|(pod, opaque)| Step::Pod(pod, opaque)),
        4 => (any::<bool>(), proptest::option::of(0u8..3)).prop_map(|(client, route)| Step::Profile { client, route }),
        1 => (0u8..2, 0u8..3).prop_map(|(node, zone)| Step::Zone(node, zone)),
        8 => (0usize..PATHS.len() * NODES.len()).prop_map(Step::Read),
    ]
}

/// Some Pods stand in another namespace than the Service.
fn home(pod: u8) -> &'static str {
    if pod >= 2 { "far" } else { "ns" }
}

fn event(step: &Step) -> Option<Event> {
    let deleted = |kind, namespace: &str, name: &str| Event::Deleted(Key { kind, namespace: namespace.to_owned(), name: name.to_owned() });
    let applied = |json| Event::Applied(unchecked(json));
    Some(match step {
        Step::Slice(endpoints) => {
            let endpoint = |(pod, ready, hinted): &(u8, bool, bool)| {
                json!({
                    "addresses": [format!("10.0.0.{pod}")],
                    "hostname": format!("web-{pod}"),
                    "zone": format!("zone-{}", pod % 3),
                    "conditions": {"ready": ready},
                    "hints": {"forZones": hinted.then(|| json!([{"name": format!("zone-{}", pod % 2)}])).unwrap_or(json!([]))},
                    "targetRef": {"kind": "Pod", "namespace": home(*pod), "name": format!("web-{pod}")},
                })
            };
            let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
            let metadata = json!({"name": "web-s", "namespace": "ns", "labels": {"kubernetes.io/service-name": "web"}});
            let ports = json!([{"name": "http", "port": 8080}]);
            applied(
                json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "ports": ports, "endpoints": endpoints}),
            )
        }
        Step::Service { local, other_port } => {
            let policy = if *local { "Local" } else { "Cluster" };
            let ports = json!([{"name": "http", "port": if *other_port { 81 } else { 80 }}]);
            let spec = json!({"clusterIP": "10.96.0.7", "internalTrafficPolicy": policy, "ports": ports});
            applied(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "ns"}, "spec": spec}))
        }
        Step::NoService => deleted(Kind::Service, "ns", "web"),
        Step::Pod(pod, opaque) => {
            let metadata = json!({
                "name": format!("web-{pod}"),
                "namespace": home(*pod),
                "labels": {"linkerd.io/control-plane-ns": "linkerd"},
                "annotations": {"config.linkerd.io/opaque-ports": if *opaque { "8080" } else { "" }},
            });
            let spec = json!({"nodeName": format!("node-{}", pod % 2), "containers": []});
            let status = json!({"podIP": format!("10.0.0.{pod}"), "phase": "Running"});
            applied(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}))
        }
        Step::Profile { client, route } => {
            let (namespace, name) = (if *client { "client" } else { "ns" }, "web.ns.svc.cluster.local");
            let Some(route) = route else { return Some(deleted(Kind::ServiceProfile, namespace, name)) };
            let spec = json!({"routes": [{"name": route.to_string(), "condition": {"method": "GET"}}]});
            let metadata = json!({"name": name, "namespace": namespace});
            applied(json!({"apiVersion": "linkerd.io/v1alpha2", "kind": "ServiceProfile", "metadata": metadata, "spec": spec}))
        }
        Step::Zone(node, zone) => {
            let metadata = json!({"name": format!("node-{node}"), "labels": {"topology.kubernetes.io/zone": format!("zone-{zone}")}});
            applied(json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata}))
        }
        Step::Read(_) => return None,
    })
}

impl Client {
    fn new(service: &Service, number: usize) -> Self {
        let (path, node) = (PATHS[number % PATHS.len()], NODES[number / PATHS.len()]);
        let (updates, _) = service.endpoints(path, &format!("{{\"nodeName\": \"{node}\"}}")).unwrap();
        Self { path, node, updates, known: BTreeMap::new() }
    }

    /// Applies what there is.
    async fn read(&mut self) {
        // The task that follows the cluster gets its turn.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        while let Some(update) = self.updates.next().now_or_never() {
            match update.unwrap() {
                Update::Add(added) => self.known.extend(added.into_iter().map(|e| (e.addr, e))),
                Update::Remove(gone) => gone.iter().for_each(|addr| assert!(self.known.remove(addr).is_some(), "{addr} was not known")),
                other => panic!("{other:?} has no message"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_client_ends_with_the_truth(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let cluster = watch::Sender::new(Arc::new(Cluster::default()));
            let apply = |event| cluster.send_modify(|c| Arc::make_mut(c).apply(event, |_| true));
            let web = Step::Service { local: false, other_port: false };
            (0..4).map(|pod| Step::Pod(pod, false)).chain([web]).filter_map(|s| event(&s)).for_each(apply);
            let service = Service::new(cluster.subscribe(), mesh());
            let mut clients: Vec<_> = (0..PATHS.len() * NODES.len()).map(|number| Client::new(&service, number)).collect();
            let question = |(path, ns): (&str, &str)| {
                let (target, client) = (Target::parse(path, "cluster.local").unwrap(), Context { ns: ns.to_owned(), ..Context::default() });
                (service.index().profile(&target, &client).unwrap(), target, client)
            };
            let profiles: Vec<_> = PROFILES.map(question).into();
            for step in &steps {
                event(step).into_iter().for_each(apply);
                let Step::Read(number) = step else { continue };
                clients[*number].read().await;
                let now = Arc::clone(&cluster.borrow());
                check(now, &clients[*number..=*number], &profiles);
            }
            for client in &mut clients {
                client.read().await;
            }
            let now = Arc::clone(&cluster.borrow());
            check(now, &clients, &profiles);
        });
    }
}

/// Clients that have read everything, and profiles, are as the cluster says.
fn check(cluster: Arc<Cluster>, clients: &[Client], profiles: &[(Receiver<Described>, Target, Context)]) {
    let (view, mesh, settings) = (View::new(&cluster), mesh(), Settings::default());
    let model = Model::new(&view, &mesh, &settings);
    for client in clients {
        let Ok(Target::Name(name)) = Target::parse(client.path, "cluster.local") else { panic!() };
        let scope = model.scope(&name, &Context { node_name: client.node.to_owned(), ..Context::default() });
        let truth = model.endpoints(&name, &scope).unwrap_or_default();
        let expected: BTreeMap<_, _> = truth.iter().map(|e| (e.addr, e)).collect();
        assert_eq!(client.known, expected, "{} from {:?}", client.path, client.node);
        assert_eq!(meshkit_balance::digest(client.known.values()), truth.digest());
    }
    for (profile, target, client) in profiles {
        // What is gone keeps what was known of it.
        let Ok(subject) = model.subject(target, client) else { continue };
        assert_eq!(**profile.borrow(), model.profile(&subject).unwrap().profile, "{target:?} from {:?}", client.ns);
    }
}
