//! A Pod, as far as answers need it. What the Pods of one workload have in common is held once.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use meshkit_manifest::{
    core::{Container, Pod as Manifest},
    meta::Metadata,
};

use super::{
    Pools,
    pool::{Pool, Text},
};
use crate::{
    model::{OPAQUE_PORTS, SKIP_INBOUND_PORTS},
    ports::Ports,
};

/// Where a proxy takes transport headers, unless its environment says otherwise.
const INBOUND_PORT: u16 = 4143;
/// Where a proxy takes calls about itself, unless its environment says otherwise.
const CONTROL_PORT: u16 = 4190;
/// Where a proxy is looked after, unless its environment says otherwise.
const ADMIN_PORT: u16 = 4191;
/// The number of a StatefulSet's Pod, as a label; it is also the end of the Pod's name.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// A Pod. Another Pod that is equal to it has the same answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pod {
    pub(crate) template: Arc<Template>,
    pub(crate) place: Arc<Place>,
    addrs: Addrs,
    pub(crate) state: State,
}

/// How far a Pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Running,
    /// It is deleted, and still runs.
    Leaving,
    /// It has run to its end.
    Over,
}

/// What the Pods of one workload have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Template {
    pub(crate) account: Text,
    labels: Box<[(Text, Value)]>,
    /// Kind and name of who made the Pods.
    pub(crate) owner: Option<(Text, Text)>,
    /// What the annotation says, if there is one.
    pub(crate) opaque: Option<Ports>,
    /// Where the proxy stands aside.
    pub(crate) skipped: Ports,
    /// TCP ports of the containers.
    pub(crate) ports: Box<[Port]>,
    pub(crate) host_network: bool,
    /// The ports of the proxy's own listeners.
    pub(crate) inbound: u16,
    pub(crate) control: u16,
    pub(crate) admin: u16,
}

/// A port of a container.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Port {
    pub(crate) name: Text,
    pub(crate) number: u16,
    /// Its number on the node; zero if it has none.
    pub(crate) host: u16,
}

/// Where Pods run.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) node: Option<Text>,
    /// The address of the node.
    pub(crate) host: Option<IpAddr>,
}

/// The value of a label. Those that differ from Pod to Pod of one workload follow from its name.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Value {
    Text(Text),
    /// The name of the Pod.
    Name,
    /// What follows the last dash in it.
    Ordinal,
}

/// Addresses: one of each family at most, as Kubernetes has it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Addrs {
    v4: Option<Ipv4Addr>,
    v6: Option<Box<Ipv6Addr>>,
}

impl Pod {
    pub(super) fn read(pod: &Manifest, pools: &mut Pools) -> Self {
        let status = &pod.status;
        let mut addrs = Addrs::default();
        for ip in status.pod_ip.into_iter().chain(status.pod_ips.iter().map(|p| p.ip)) {
            match ip {
                IpAddr::V4(ip) => addrs.v4 = addrs.v4.or(Some(ip)),
                IpAddr::V6(ip) => addrs.v6 = addrs.v6.take().or_else(|| Some(Box::new(ip))),
            }
        }
        let node = pod.spec.node_name.as_deref().map(|node| pools.texts.text(node));
        let is_deleted = pod.metadata.deletion_timestamp.is_some();
        let state = match status.phase.as_deref() {
            Some("Succeeded" | "Failed") => State::Over,
            Some("Running") if is_deleted => State::Leaving,
            Some("Running") => State::Running,
            _ if is_deleted => State::Over,
            _ => State::Waiting,
        };
        let template = Template::read(pod, &mut pools.texts);
        Self { template: pools.templates.share(template), place: pools.places.share(Place { node, host: status.host_ip }), addrs, state }
    }

    /// Its addresses, the first of which is its own beyond doubt.
    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.addrs.v6.as_deref().copied();
        self.addrs.v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6))
    }

    /// Addresses of the node at which it has ports there, and these ports.
    pub(super) fn host_ports(&self) -> impl Iterator<Item = (IpAddr, u16)> {
        let is_there = self.state != State::Over;
        let host = self.place.host.or_else(|| self.ips().next().filter(|_| self.template.host_network)).filter(|_| is_there);
        // Ports of a Pod that shares the network of its node are ports of the node.
        let port = |p: &Port| if p.host == 0 && self.template.host_network { p.number } else { p.host };
        host.into_iter().flat_map(move |ip| self.template.ports.iter().map(move |p| (ip, port(p)))).filter(|(_, port)| *port != 0)
    }

    /// Addresses that it has for itself.
    pub(super) fn own_ips(&self) -> impl Iterator<Item = IpAddr> {
        let is_there = self.state != State::Over;
        self.ips().filter(move |_| is_there && !self.template.host_network)
    }
}

impl Template {
    fn read(pod: &Manifest, texts: &mut Pool<str>) -> Self {
        let (metadata, spec) = (&pod.metadata, &pod.spec);
        let containers = || spec.init_containers.iter().chain(&spec.containers);
        let proxy = containers().find(|c| c.name == "linkerd-proxy");
        let declared = || containers().flat_map(|c| &c.ports).filter(|p| p.protocol.as_deref().is_none_or(|p| p == "TCP"));
        let named = spec.ports().filter(|(name, _)| !name.is_empty()).collect::<Vec<_>>();
        let list = |annotation: &str| metadata.annotations.get(annotation).map(|list| Ports::parse(list, named.iter().copied()));
        let mut label = |(key, value): (&String, &String)| {
            let value = match value {
                value if *value == metadata.name => Value::Name,
                value if key == POD_INDEX && ordinal(&metadata.name) == value => Value::Ordinal,
                value => Value::Text(texts.text(value)),
            };
            (texts.text(key), value)
        };
        let labels = metadata.labels.iter().map(&mut label).collect();
        Self {
            labels,
            account: texts.text(spec.service_account()),
            owner: owner(metadata).map(|(kind, name)| (texts.text(kind), texts.text(name))),
            opaque: list(OPAQUE_PORTS),
            skipped: list(SKIP_INBOUND_PORTS).unwrap_or_default(),
            ports: declared()
                .filter(|p| p.container_port != 0)
                .map(|p| Port { name: texts.text(&p.name), number: p.container_port, host: p.host_port.unwrap_or_default() })
                .collect(),
            host_network: spec.host_network,
            inbound: listens(proxy, "INBOUND", INBOUND_PORT),
            control: listens(proxy, "CONTROL", CONTROL_PORT),
            admin: listens(proxy, "ADMIN", ADMIN_PORT),
        }
    }

    /// The value of a label of the Pod that has this name.
    pub(crate) fn label<'a>(&'a self, key: &str, pod: &'a str) -> Option<&'a str> {
        let found = self.labels.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(self.labels[found].1.of(pod))
    }

    /// All labels of the Pod that has this name.
    pub(crate) fn labels(&self, pod: &str) -> BTreeMap<String, String> {
        self.labels.iter().map(|(key, value)| (key.to_string(), value.of(pod).to_owned())).collect()
    }

    /// Do Pods of one workload differ in their labels?
    pub(crate) fn differs(&self) -> bool {
        self.labels.iter().any(|(_, value)| !matches!(value, Value::Text(_)))
    }

    /// Ports that have names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&str, u16)> + Clone {
        self.ports.iter().filter(|p| !p.name.is_empty()).map(|p| (&*p.name, p.number))
    }
}

impl Value {
    fn of<'a>(&'a self, pod: &'a str) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Name => pod,
            Self::Ordinal => ordinal(pod),
        }
    }
}

fn ordinal(name: &str) -> &str {
    name.rsplit_once('-').map_or("", |(_, ordinal)| ordinal)
}

/// Kind and name of who made an object; `None` if nobody did.
pub(super) fn owner(metadata: &Metadata) -> Option<(&str, &str)> {
    let owner = match metadata.owner_references.as_slice() {
        [only] => Some(only),
        several => several.iter().find(|o| o.controller == Some(true)),
    };
    owner.map(|o| (o.kind.as_str(), o.name.as_str()))
}

/// The port of one of the proxy's own listeners, as its environment says.
fn listens(proxy: Option<&Container>, listener: &str, default: u16) -> u16 {
    let name = format!("LINKERD2_PROXY_{listener}_LISTEN_ADDR");
    let listen = proxy.and_then(|c| c.env.iter().find(|e| e.name == name));
    let port = listen.and_then(|e| e.value.as_deref()).and_then(|value| value.rsplit_once(':')?.1.parse().ok());
    port.unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::objects;

    fn read(text: &str, pools: &mut Pools) -> (Pod, Manifest) {
        let meshkit_manifest::Object::Pod(pod) = objects(text).remove(0) else { panic!("not a Pod: {text}") };
        (Pod::read(&pod, pools), Manifest::clone(&pod))
    }

    fn member(number: u8) -> String {
        format!(
            "
apiVersion: v1
kind: Pod
metadata:
  name: db-{number}
  namespace: ns
  labels: {{app: db, statefulset.kubernetes.io/pod-name: db-{number}, apps.kubernetes.io/pod-index: '{number}'}}
  ownerReferences: [{{apiVersion: apps/v1, kind: StatefulSet, name: db}}]
spec: {{nodeName: n, containers: [{{name: db, ports: [{{name: pg, containerPort: 5432, hostPort: 15432}}]}}]}}
status: {{podIP: 10.0.0.{number}, hostIP: 172.18.0.2, phase: Running}}
"
        )
    }

    #[test]
    fn pods_of_one_workload_share_what_they_have_in_common_and_nothing_else() {
        let mut pools = Pools::default();
        let ((one, _), (two, manifest)) = (read(&member(1), &mut pools), read(&member(2), &mut pools));
        assert!(Arc::ptr_eq(&one.template, &two.template) && Arc::ptr_eq(&one.place, &two.place));
        assert_ne!(one, two, "their addresses differ");
        assert_eq!(two.template.labels("db-2"), manifest.metadata.labels);
        assert_eq!(two.template.label("statefulset.kubernetes.io/pod-name", "db-2"), Some("db-2"));
        assert_eq!((two.template.label("app", "db-2"), two.template.label("none", "db-2")), (Some("db"), None));
        assert_eq!(two.host_ports().collect::<Vec<_>>(), [("172.18.0.2".parse().unwrap(), 15432)]);
    }

    #[test]
    fn a_pod_has_its_addresses_until_it_has_stopped() {
        let mut pools = Pools::default();
        let leaving = member(1).replace("namespace: ns", "namespace: ns\n  deletionTimestamp: '2026-01-01T00:00:00Z'");
        let table = [
            (leaving.clone(), State::Leaving, 1),
            (leaving.replace("Running", "Pending"), State::Over, 0),
            (member(1), State::Running, 1),
            (member(1).replace("Running", "Pending"), State::Waiting, 1),
            (member(1).replace("Running", "Failed"), State::Over, 0),
        ];
        for (text, state, count) in table {
            let (pod, _) = read(&text, &mut pools);
            assert_eq!((pod.state, pod.own_ips().count(), pod.host_ports().count()), (state, count, count));
            assert_eq!(pod.ips().count(), 1);
        }
    }
}
