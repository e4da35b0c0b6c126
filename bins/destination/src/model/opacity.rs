//! Whose bytes are not looked at.

use std::collections::BTreeMap;

use meshkit_manifest::{external::ExternalWorkload, meta::IntOrString, policy::Server};

use super::{
    Model, OPAQUE_PORTS,
    view::{Pod, Service, Slot},
};
use crate::ports::Ports;

impl Model<'_> {
    /// Is a port of a Service opaque? Its annotation says so, else the defaults; a ServiceProfile has no say.
    pub(super) fn is_service_opaque(&self, service: &Service, port: u16) -> bool {
        self.is_listed(service.opaque.as_ref(), port)
    }

    /// Is a port of a Pod opaque? One reason is enough: a Server that says otherwise does not undo an annotation.
    pub(super) fn is_pod_opaque(&self, slot: &Slot, pod: &Pod, port: u16) -> bool {
        let template = &pod.template;
        self.is_listed(template.opaque.as_ref(), port) || {
            let labels = || template.labels(&slot.name);
            let selects = |server: &Server, labels: &_| server.spec.pod_selector.as_ref().is_some_and(|s| s.matches(labels));
            self.is_served(&slot.namespace, labels, selects, template.named(), port)
        }
    }

    /// Is a port of a workload outside opaque?
    pub(super) fn is_workload_opaque(&self, workload: &ExternalWorkload, port: u16) -> bool {
        let metadata = &workload.metadata;
        let named = workload.spec.ports.iter().map(|p| (p.name.as_str(), p.port));
        let annotation = metadata.annotations.get(OPAQUE_PORTS).map(|list| Ports::parse(list, named.clone()));
        self.is_listed(annotation.as_ref(), port) || {
            let selects = |server: &Server, labels: &_| server.spec.external_workload_selector.as_ref().is_some_and(|s| s.matches(labels));
            self.is_served(&metadata.namespace, || metadata.labels.clone(), selects, named, port)
        }
    }

    /// An annotation replaces the defaults, even if it is empty.
    fn is_listed(&self, annotation: Option<&Ports>, port: u16) -> bool {
        annotation.unwrap_or(&self.settings.default_opaque).contains(port)
    }

    /// Does an opaque Server stand for the port? A name may stand for several ports.
    fn is_served<'a>(
        &self,
        namespace: &str,
        labels: impl FnOnce() -> BTreeMap<String, String>,
        selects: impl Fn(&Server, &BTreeMap<String, String>) -> bool,
        named: impl Iterator<Item = (&'a str, u16)> + Clone,
        port: u16,
    ) -> bool {
        let is_port = |server: &&Server| match &server.spec.port {
            IntOrString::Int(number) => *number == i64::from(port),
            IntOrString::String(name) => named.clone().any(|(known, number)| known == name && number == port),
        };
        let mut servers = self.view.opaque_servers(namespace).filter(is_port).peekable();
        // As a rule there is none, and then nobody needs the labels.
        servers.peek().is_some() && {
            let labels = labels();
            servers.any(|server| selects(server, &labels))
        }
    }
}
