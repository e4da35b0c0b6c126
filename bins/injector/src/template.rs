//! A pod's template, as it is written: nothing in it is lost, and nothing in it is trusted.

use serde_json::Value;

use crate::{annotation::Annotations, ports};

/// The name of the proxy's container.
pub const PROXY: &str = "linkerd-proxy";
/// The name of the container that redirects connections to it.
pub const INIT: &str = "linkerd-init";
/// The name of the container that proves that connections are redirected.
pub const VALIDATOR: &str = "linkerd-network-validator";
/// The name of the container with tools.
pub const DEBUG: &str = "linkerd-debug";
/// Where containers find the token of their service account.
pub(crate) const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const SIDECAR_NAMES: &[&str] = &[PROXY, "istio-proxy"];
const SIDECAR_IMAGES: &[&str] = &["cr.l5d.io/linkerd/proxy:", "gcr.io/istio-release/proxyv2:", "docker.io/istio/proxyv2:"];
const INIT_NAMES: &[&str] = &[INIT, "istio-init"];
const INIT_IMAGES: &[&str] = &["cr.l5d.io/linkerd/proxy-init:", "gcr.io/istio-release/proxy_init:", "docker.io/istio/proxy_init:"];

/// Metadata and specification of pods: a Pod, or what a workload makes pods from.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a>(&'a Value);

impl<'a> Template<'a> {
    /// Looks at a Pod or a template.
    #[must_use]
    pub const fn new(template: &'a Value) -> Self {
        Self(template)
    }

    /// Its annotations.
    #[must_use]
    pub fn annotations(self) -> Annotations {
        strings(self.0, "/metadata/annotations")
    }

    /// One of its labels.
    #[must_use]
    pub fn label(self, key: &str) -> Option<&'a str> {
        self.0.pointer("/metadata/labels")?.get(key)?.as_str()
    }

    pub(crate) fn spec(self) -> &'a Value {
        &self.0["spec"]
    }

    /// Its containers that are no init containers.
    pub fn containers(self) -> impl Iterator<Item = &'a Value> {
        list(self.spec(), "containers")
    }

    /// Its init containers.
    pub fn init_containers(self) -> impl Iterator<Item = &'a Value> {
        list(self.spec(), "initContainers")
    }

    /// The first container: its rights are the proxy's.
    pub(crate) fn first(self) -> Option<&'a Value> {
        self.containers().next()
    }

    /// Its pods have the network of their node.
    #[must_use]
    pub fn has_host_network(self) -> bool {
        self.spec()["hostNetwork"].as_bool() == Some(true)
    }

    /// A proxy, of this mesh or of another, is there already.
    #[must_use]
    pub fn has_sidecar(self) -> bool {
        let is = |container: &Value, names: &[&str], images: &[&str]| {
            let name = container["name"].as_str().unwrap_or_default();
            let image = container["image"].as_str().unwrap_or_default();
            names.contains(&name) || images.iter().any(|prefix| image.starts_with(prefix))
        };
        let proxy = |container| is(container, SIDECAR_NAMES, SIDECAR_IMAGES);
        self.containers().any(proxy) || self.init_containers().any(|c| proxy(c) || is(c, INIT_NAMES, INIT_IMAGES))
    }

    /// One of its ports is UDP: it goes past the proxy.
    #[must_use]
    pub fn has_udp_ports(self) -> bool {
        self.containers().flat_map(|container| list(container, "ports")).any(|port| port["protocol"].as_str() == Some("UDP"))
    }

    /// Does it get a token of its service account, as far as the template says?
    #[must_use]
    pub fn mounts_token(self) -> bool {
        self.spec()["automountServiceAccountToken"].as_bool() != Some(false)
    }

    /// The mount of the first container that holds the service account's token.
    pub(crate) fn token_mount(self) -> Option<&'a Value> {
        list(self.first()?, "volumeMounts").find(|mount| mount["mountPath"].as_str() == Some(SERVICE_ACCOUNT_DIR))
    }

    /// The numbers of its containers' ports, in their order.
    #[must_use]
    pub fn container_ports(self) -> Vec<u16> {
        self.containers().flat_map(|container| list(container, "ports")).filter_map(|port| number(&port["containerPort"])).collect()
    }

    /// Its ports that have names.
    #[must_use]
    pub fn named_ports(self) -> Vec<(String, u16)> {
        let all = self.containers().chain(self.init_containers()).flat_map(|container| list(container, "ports"));
        all.filter_map(|port| Some((port["name"].as_str()?.to_owned(), number(&port["containerPort"])?))).collect()
    }

    /// Where connections may come to: ports of all containers, and those that the kubelet asks by number over HTTP.
    ///
    /// Sorted as text, as the mesh has always done.
    #[must_use]
    pub fn inbound_ports(self) -> String {
        let mut all = Vec::new();
        for container in self.containers().chain(self.init_containers()) {
            all.extend(list(container, "ports").filter_map(|port| number(&port["containerPort"])));
            let probes = ["livenessProbe", "readinessProbe"].iter().map(|probe| &container[*probe]["httpGet"]["port"]);
            all.extend(probes.filter_map(number));
        }
        let mut all: Vec<_> = all.iter().map(ToString::to_string).collect();
        all.sort();
        all.dedup();
        all.join(",")
    }

    /// Those of its ports whose protocol is not looked at in this mesh.
    #[must_use]
    pub fn opaque_ports(self, default: &str) -> String {
        ports::join(&ports::within(self.container_ports(), default))
    }
}

/// The members of a map that are text.
pub(crate) fn strings(document: &Value, pointer: &str) -> Annotations {
    let members = document.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

pub(crate) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A port's number; zero is none.
pub(crate) fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn inbound_ports_are_those_of_containers_and_numeric_probes_sorted_as_text() {
        let pod = json!({"spec": {
            "initContainers": [{"name": "i", "ports": [{"containerPort": 9}]}],
            "containers": [
                {"ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 10000}},
                 "livenessProbe": {"httpGet": {"port": "http"}}, "startupProbe": {"httpGet": {"port": 7777}}},
                {"ports": [{"containerPort": 80}, {"containerPort": 0}, {"containerPort": "x"}, 5]},
            ],
        }});
        let pod = Template::new(&pod);
        assert_eq!(pod.inbound_ports(), "10000,80,8080,9");
        assert_eq!(pod.named_ports(), [("http".to_owned(), 8080)]);
        assert_eq!(pod.opaque_ports("80-90,9"), "80");
    }

    #[test]
    fn proxies_of_both_meshes_are_known_by_name_and_image() {
        for (spec, there) in [
            (json!({"containers": [{"name": "linkerd-proxy"}]}), true),
            (json!({"containers": [{"name": "x", "image": "cr.l5d.io/linkerd/proxy:edge-25.1.1"}]}), true),
            (json!({"initContainers": [{"name": "linkerd-proxy"}]}), true),
            (json!({"initContainers": [{"name": "istio-init"}]}), true),
            (json!({"containers": [{"name": "linkerd-init", "image": "example.com/proxy"}]}), false),
            (json!({"containers": "nonsense"}), false),
            (json!(null), false),
        ] {
            assert_eq!(Template::new(&json!({"spec": spec})).has_sidecar(), there, "{spec}");
        }
    }
}
