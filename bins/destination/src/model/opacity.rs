//! Whose bytes are not looked at.

use std::collections::BTreeMap;

use meshkit_manifest::{
    core::{Pod, Service},
    external::ExternalWorkload,
    meta::IntOrString,
    policy::Server,
};

use super::Model;
use crate::ports::Ports;

/// Ports whose bytes are not looked at.
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// Ports of a Pod whose proxy stands aside.
const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";

impl Model<'_> {
    /// Is a port of a Service opaque? Its annotation says so, else the defaults; a ServiceProfile has no say.
    pub(super) fn is_service_opaque(&self, service: &Service, port: u16) -> bool {
        let named = service.spec.ports.iter().map(|p| (p.name.as_str(), p.port));
        self.is_listed(&service.metadata.annotations, named, port)
    }

    /// Is a port of a Pod opaque? One reason is enough: a Server that says otherwise does not undo an annotation.
    pub(super) fn is_pod_opaque(&self, pod: &Pod, port: u16) -> bool {
        let (metadata, named) = (&pod.metadata, named(pod));
        let selects = |server: &Server| server.spec.pod_selector.as_ref().is_some_and(|s| s.matches(&metadata.labels));
        self.is_listed(&metadata.annotations, named.iter().copied(), port) || self.is_served(&metadata.namespace, selects, &named, port)
    }

    /// Is a port of a workload outside opaque?
    pub(super) fn is_workload_opaque(&self, workload: &ExternalWorkload, port: u16) -> bool {
        let metadata = &workload.metadata;
        let named: Vec<_> = workload.spec.ports.iter().map(|p| (p.name.as_str(), p.port)).collect();
        let selects = |server: &Server| server.spec.external_workload_selector.as_ref().is_some_and(|s| s.matches(&metadata.labels));
        self.is_listed(&metadata.annotations, named.iter().copied(), port) || self.is_served(&metadata.namespace, selects, &named, port)
    }

    /// An annotation replaces the defaults, even if it is empty.
    fn is_listed<'a>(
        &self,
        annotations: &BTreeMap<String, String>,
        named: impl IntoIterator<Item = (&'a str, u16)> + Clone,
        port: u16,
    ) -> bool {
        match annotations.get(OPAQUE_PORTS) {
            Some(list) => Ports::parse(list, named).contains(port),
            None => self.settings.default_opaque.contains(port),
        }
    }

    /// Does an opaque Server stand for the port? A name may stand for several ports.
    fn is_served(&self, namespace: &str, selects: impl Fn(&Server) -> bool, named: &[(&str, u16)], port: u16) -> bool {
        let is_port = |server: &Server| match &server.spec.port {
            IntOrString::Int(number) => *number == i64::from(port),
            IntOrString::String(name) => named.iter().any(|(known, number)| known == name && *number == port),
        };
        self.view.opaque_servers(namespace).iter().any(|server| is_port(server) && selects(server))
    }
}

/// Does the proxy of a Pod stand aside for the port?
pub(super) fn is_skipped(pod: &Pod, port: u16) -> bool {
    pod.metadata.annotations.get(SKIP_INBOUND_PORTS).is_some_and(|list| Ports::parse(list, named(pod)).contains(port))
}

fn named(pod: &Pod) -> Vec<(&str, u16)> {
    pod.spec.ports().filter(|(name, _)| !name.is_empty()).collect()
}
