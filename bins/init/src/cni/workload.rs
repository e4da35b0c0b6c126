//! Which pods get which rules.

use std::{collections::BTreeMap, fmt};

use meshkit_manifest::{
    core::{Pod, Service},
    meta::IntOrString,
};

use super::conf::{InvalidConf, Settings};

/// Names of the containers that tell a meshed pod.
const PROXY_CONTAINER: &str = "linkerd-proxy";
const INIT_CONTAINER: &str = "linkerd-init";
/// Label of pods of the control plane.
const COMPONENT_LABEL: &str = "linkerd.io/control-plane-component";
/// Ports of the API server, where its Service cannot be read.
const API_PORTS: [u16; 2] = [443, 6443];

/// What is done for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It gets rules.
    Redirect,
    /// It has no proxy.
    NotMeshed,
    /// Its init container makes the rules.
    HasInitContainer,
}

/// An annotation cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAnnotation {
    name: &'static str,
    value: String,
}

/// Annotations of a pod and, behind them, of its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Annotations<'a> {
    /// Of the pod.
    pub pod: &'a BTreeMap<String, String>,
    /// Of its namespace.
    pub namespace: &'a BTreeMap<String, String>,
}

/// Does the pod get rules from its node?
#[must_use]
pub fn verdict(pod: &Pod) -> Verdict {
    let spec = &pod.spec;
    let is_proxied = spec.containers.iter().chain(&spec.init_containers).any(|container| container.name == PROXY_CONTAINER);
    if spec.init_containers.iter().any(|container| container.name == INIT_CONTAINER) {
        Verdict::HasInitContainer
    } else if is_proxied {
        Verdict::Redirect
    } else {
        Verdict::NotMeshed
    }
}

/// Is the pod one of the control plane? Then it must reach the API server before any proxy runs.
#[must_use]
pub fn is_control_plane(pod: &Pod) -> bool {
    pod.metadata.labels.contains_key(COMPONENT_LABEL)
}

/// The ports of the API server: those of its Service and, where they are numbers, those behind it.
#[must_use]
pub fn api_ports(service: Option<&Service>) -> Vec<u16> {
    let Some(service) = service.filter(|service| !service.spec.ports.is_empty()) else { return API_PORTS.to_vec() };
    let mut ports = Vec::new();
    for port in &service.spec.ports {
        ports.push(port.port);
        if let Some(IntOrString::Int(number)) = port.target_port {
            ports.extend(u16::try_from(number).ok().filter(|&number| number != port.port && number != 0));
        }
    }
    ports
}

/// The settings of a pod: outbound ports and networks replace the node's, inbound ports are added to them.
///
/// # Errors
/// A user or group is no number.
pub fn settings(node: &Settings, annotations: Annotations<'_>, api_ports: &[u16]) -> Result<Settings, InvalidAnnotation> {
    let mut settings = node.clone();
    if let Some(ports) = annotations.find("config.linkerd.io/skip-outbound-ports") {
        settings.outbound_ports_to_ignore = vec![ports.to_owned()];
    }
    if let Some(ports) = annotations.find("config.linkerd.io/skip-inbound-ports") {
        settings.inbound_ports_to_ignore.push(ports.to_owned());
    }
    if let Some(subnets) = annotations.find("config.linkerd.io/skip-subnets") {
        settings.subnets_to_ignore = subnets.split(',').map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect();
    }
    if let Some(uid) = annotations.number("config.linkerd.io/proxy-uid")? {
        settings.proxy_uid = uid;
    }
    if let Some(gid) = annotations.number("config.linkerd.io/proxy-gid")? {
        settings.proxy_gid = gid;
    }
    settings.outbound_ports_to_ignore.extend(api_ports.iter().map(ToString::to_string));
    Ok(settings)
}

impl<'a> Annotations<'a> {
    fn find(&self, name: &str) -> Option<&'a str> {
        self.pod.get(name).or_else(|| self.namespace.get(name)).map(String::as_str)
    }

    fn number(&self, name: &'static str) -> Result<Option<i64>, InvalidAnnotation> {
        let parse = |value: &str| value.trim().parse().map_err(|_| InvalidAnnotation { name, value: value.to_owned() });
        self.find(name).map(parse).transpose()
    }
}

impl fmt::Display for InvalidAnnotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {} is {:?}; wanted: a number", self.name, self.value)
    }
}

impl std::error::Error for InvalidAnnotation {}

impl From<InvalidAnnotation> for InvalidConf {
    fn from(fault: InvalidAnnotation) -> Self {
        Self::new(fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &[&str], init: &[&str]) -> Pod {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": named(containers), "initContainers": named(init)}}))
            .unwrap()
    }

    #[test]
    fn a_proxy_without_an_init_container_gets_rules() {
        assert_eq!(verdict(&pod(&["app", "linkerd-proxy"], &["linkerd-network-validator"])), Verdict::Redirect);
        assert_eq!(verdict(&pod(&["app"], &["linkerd-network-validator", "linkerd-proxy"])), Verdict::Redirect);
        assert_eq!(verdict(&pod(&["app"], &[])), Verdict::NotMeshed);
        assert_eq!(verdict(&pod(&["app", "linkerd-proxy"], &["linkerd-init"])), Verdict::HasInitContainer);
    }

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (format!("config.linkerd.io/{name}"), (*value).to_owned())).collect()
    }

    #[test]
    fn outbound_replaces_inbound_appends_and_the_pod_wins_over_its_namespace() {
        let node = Settings {
            inbound_ports_to_ignore: vec!["4191".into()],
            outbound_ports_to_ignore: vec!["25".into()],
            subnets_to_ignore: vec!["10.0.0.0/8".into()],
            proxy_uid: 2102,
            ..Settings::default()
        };
        let of_pod = annotations(&[("skip-outbound-ports", "443,3306"), ("proxy-gid", "7")]);
        let of_namespace =
            annotations(&[("skip-outbound-ports", "1"), ("skip-inbound-ports", "80-90"), ("skip-subnets", "fd00::/8, 1.2.3.4/32")]);
        let settings = settings(&node, Annotations { pod: &of_pod, namespace: &of_namespace }, &[6443]).unwrap();
        assert_eq!(settings.outbound_ports_to_ignore, ["443,3306", "6443"]);
        assert_eq!(settings.inbound_ports_to_ignore, ["4191", "80-90"]);
        assert_eq!(settings.subnets_to_ignore, ["fd00::/8", "1.2.3.4/32"]);
        assert_eq!((settings.proxy_uid, settings.proxy_gid), (2102, 7));
    }

    #[test]
    fn a_user_that_is_no_number_is_refused() {
        let (pod, namespace) = (annotations(&[("proxy-uid", "root")]), BTreeMap::new());
        let error = settings(&Settings::default(), Annotations { pod: &pod, namespace: &namespace }, &[]).unwrap_err();
        assert_eq!(error.to_string(), "annotation config.linkerd.io/proxy-uid is \"root\"; wanted: a number");
    }

    #[test]
    fn ports_of_the_api_server_come_from_its_service() {
        let service =
            |ports| serde_json::from_value::<Service>(json!({"metadata": {"name": "kubernetes"}, "spec": {"ports": ports}})).unwrap();
        let of = |ports| api_ports(Some(&service(ports)));
        assert_eq!(of(json!([{"port": 443, "targetPort": 8443}, {"port": 444, "targetPort": "https"}])), [443, 8443, 444]);
        assert_eq!(of(json!([])), [443, 6443]);
        assert_eq!(api_ports(None), [443, 6443]);
    }
}
