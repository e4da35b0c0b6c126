//! Any changes in any order, read at any moment: in the end each watcher knows what is so, and nothing depends on the order.

use std::sync::LazyLock;

use meshkit_manifest::{Event, Object};
use proptest::{collection::vec, prelude::*, sample::Index as Nth};

use super::*;
use crate::fixture::{cluster, mesh, objects, target};

/// Objects that have to do with each other, of which a case takes some.
static POOL: LazyLock<Vec<Object>> = LazyLock::new(pool);

fn pool() -> Vec<Object> {
    let ages = ["2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"];
    let mut text = String::new();
    let mut add = |version: &str, kind: &str, namespace: &str, name: &str, age: usize, rest: &str| {
        let made = ages.get(age).map(|at| format!(", creationTimestamp: '{at}'")).unwrap_or_default();
        text.push_str(&format!(
            "---\n{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}, labels: {{app: web}}{made}}}, {rest}}}\n"
        ));
    };
    const POLICY: &str = "policy.linkerd.io/v1alpha1";
    const SERVER: &str = "policy.linkerd.io/v1beta3";
    const GATEWAY: &str = "gateway.networking.k8s.io/v1";
    const CONNECTIONS: &str = "gateway.networking.k8s.io/v1alpha2";
    for age in 0..3 {
        for namespace in ["ns", "far"] {
            add(
                "v1",
                "Service",
                namespace,
                "web",
                age,
                if age == 0 {
                    "spec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}"
                } else {
                    "spec: {clusterIP: 10.96.0.8, ports: [{port: 80, appProtocol: http}, {port: 81}]}"
                },
            );
            add(
                SERVER,
                "Server",
                namespace,
                &format!("s{age}"),
                2 - age,
                "spec: {podSelector: {matchLabels: {app: web}}, port: 8080, accessPolicy: audit}",
            );
            let web = "{group: core, kind: Service, name: web, namespace: ns, port: 80}";
            let server = "{group: policy.linkerd.io, kind: Server, name: s1}";
            let rules = "rules: [{backendRefs: [{name: web, namespace: far, port: 80}]}]";
            add(GATEWAY, "HTTPRoute", namespace, &format!("h{age}"), age, &format!("spec: {{parentRefs: [{web}, {server}], {rules}}}"));
            add(SERVER, "HTTPRoute", namespace, &format!("h{age}"), age, &format!("spec: {{parentRefs: [{server}], rules: [{{}}]}}"));
            add(
                GATEWAY,
                "GRPCRoute",
                namespace,
                &format!("g{age}"),
                1,
                &format!("spec: {{parentRefs: [{{group: core, kind: Service, name: web}}], {rules}}}"),
            );
            add(CONNECTIONS, "TLSRoute", namespace, &format!("t{age}"), 1, &format!("spec: {{parentRefs: [{web}], {rules}}}"));
            add(CONNECTIONS, "TCPRoute", namespace, &format!("t{age}"), 1, &format!("spec: {{parentRefs: [{web}], {rules}}}"));
            add(POLICY, "MeshTLSAuthentication", namespace, "who", age, &format!("spec: {{identities: ['*.i{age}']}}"));
            let who = "{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: who, namespace: far}";
            let target = [
                "{kind: Namespace, name: ns}",
                "{group: policy.linkerd.io, kind: Server, name: s1}",
                "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: h1}",
            ][age];
            if namespace == "ns" {
                add(
                    POLICY,
                    "AuthorizationPolicy",
                    namespace,
                    &format!("a{age}"),
                    age,
                    &format!("spec: {{targetRef: {target}, requiredAuthenticationRefs: [{who}]}}"),
                );
            }
            add(
                POLICY,
                "HTTPLocalRateLimitPolicy",
                namespace,
                &format!("l{age}"),
                age,
                &format!(
                    "spec: {{targetRef: {{group: policy.linkerd.io, kind: Server, name: s1}}, total: {{requestsPerSecond: {}}}}}",
                    age + 1
                ),
            );
            add(POLICY, "EgressNetwork", namespace, &format!("e{age}"), 2 - age, "spec: {trafficPolicy: Deny}");
            add(
                "v1",
                "Pod",
                namespace,
                &format!("p{age}"),
                age,
                "spec: {containers: [{name: c, ports: [{containerPort: 8080}], livenessProbe: {httpGet: {port: 8080}}}]}",
            );
        }
    }
    objects(&text)
}

const TARGETS: [&str; 7] = [
    "web.ns.svc.cluster.local:80",
    "web.far.svc.cluster.local:80",
    "web.ns.svc.cluster.local:81",
    "10.96.0.7:80",
    "10.96.0.8:81",
    "192.0.2.1:443",
    "10.1.2.3:80",
];

/// Everything that may be asked of a cluster, answered.
fn everything(cluster: Arc<Cluster>) -> Vec<String> {
    let (view, mesh, settings) = (View::new(cluster), mesh(), Settings::default());
    let model = Model::new(&view, &mesh, &settings);
    let mut all = Vec::new();
    for namespace in ["ns", "far", "client"] {
        for text in TARGETS {
            let subject = model.subject(namespace, &target(text)).ok();
            all.push(format!("{:?}", subject.map(|subject| (model.outbound(&subject), model.outbound_faults(&subject)))));
        }
        for pod in ["p0", "p1", "p2"] {
            let port = model.port(&Workload::pod(namespace, pod), 8080).ok();
            all.push(format!("{:?}", port.map(|port| (model.inbound(&port), model.inbound_faults(&port)))));
        }
    }
    all.push(format!("{:?}", model.status_changes("2026-01-01T00:00:00Z")));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn answers_do_not_depend_on_the_order_of_objects(chosen in vec(any::<bool>(), 96), order in any::<u64>()) {
        let some: Vec<_> = POOL.iter().cloned().zip(chosen).filter_map(|(object, is_chosen)| is_chosen.then_some(object)).collect();
        // Of objects with one name, a cluster has one.
        let mut unique: Vec<Object> = Vec::new();
        for object in some {
            if unique.iter().all(|known| known.key() != object.key()) {
                unique.push(object);
            }
        }
        let mut shuffled = unique.clone();
        let mut seed = order | 1;
        for nth in (1..shuffled.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(nth, usize::try_from(seed >> 33).unwrap_or_default() % (nth + 1));
        }
        let mut one_by_one = Cluster::default();
        shuffled.into_iter().for_each(|object| one_by_one.apply(Event::Applied(object), |_| true));
        prop_assert_eq!(everything(cluster(unique)), everything(Arc::new(one_by_one)));
    }

    #[test]
    fn every_watcher_ends_with_the_truth(steps in vec((any::<Nth>(), any::<bool>(), any::<bool>()), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let source = watch::Sender::new(Arc::new(Cluster::default()));
            let index = Index::new(source.subscribe(), mesh(), Settings::default());
            let mut outbound: Vec<(usize, &str, &str, Watcher<outbound::Policy>)> = Vec::new();
            let mut inbound: Vec<(Workload, Watcher<inbound::Policy>)> = Vec::new();
            for (nth, is_there, is_read) in steps {
                let object = nth.get(&POOL).clone();
                let event = if is_there { Event::Applied(object) } else { Event::Deleted(object.key()) };
                source.send_modify(|cluster| Arc::make_mut(cluster).apply(event, |_| true));
                if is_read {
                    tokio::task::yield_now().await;
                }
                // Whoever can ask by now asks, and stays.
                for (question, text) in TARGETS.iter().enumerate() {
                    let namespace = ["ns", "far", "client"][question % 3];
                    let is_new = outbound.iter().all(|(known, ..)| *known != question);
                    if let Ok(watcher) = index.outbound(&Workload::pod(namespace, "c"), &target(text))
                        && is_new
                    {
                        outbound.push((question, namespace, text, watcher));
                    }
                }
                for name in ["p0", "p1"] {
                    let pod = Workload::pod("ns", name);
                    if let Ok(watcher) = index.inbound(&pod, 8080) && inbound.iter().all(|(known, _)| *known != pod) {
                        inbound.push((pod, watcher));
                    }
                }
            }
            assert_eq!(index.counts().watchers, outbound.len() + inbound.len());
            let view = View::new(Arc::clone(&source.borrow()));
            let (mesh, settings) = (mesh(), Settings::default());
            let model = Model::new(&view, &mesh, &settings);
            for (_, namespace, text, watcher) in &mut outbound {
                // What is gone keeps what it was.
                let Ok(subject) = model.subject(namespace, &target(text)) else { continue };
                assert_eq!(*watcher.seen(), model.outbound(&subject), "{text} from {namespace}");
            }
            for (pod, watcher) in &mut inbound {
                let Ok(port) = model.port(pod, 8080) else { continue };
                assert_eq!(*watcher.seen(), model.inbound(&port), "{pod:?}");
            }
        });
    }
}
