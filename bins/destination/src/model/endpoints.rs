//! Which endpoints a name has.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use meshkit_core::{Endpoint, grpc::Code};
use meshkit_manifest::core::{EndpointSlice, Service, SliceEndpoint};
use meshkit_wire::Refused;

use super::{EndpointSet, Model, endpoint::Zones, external_name, is_external_name};
use crate::{
    settings::Families,
    target::{Context, Name},
};

/// The cluster in which a Service's endpoints are found.
const REMOTE_CLUSTER: &str = "multicluster.linkerd.io/remote-discovery";
/// The name of the Service there.
const REMOTE_SERVICE: &str = "multicluster.linkerd.io/remote-service";
/// The cluster of which a Service is a mirror.
const MIRRORED_CLUSTER: &str = "mirror.linkerd.io/cluster-name";
/// The name of a mirrored Service where it is at home.
const REMOTE_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";

/// What an answer depends on besides the name: clients of one scope share their answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Only endpoints of this node, if the Service keeps calls on their node.
    node: Option<String>,
    /// The client's zone; empty if nobody knows.
    zone: String,
}

/// An endpoint, with what selects it.
struct Candidate<'a> {
    endpoint: Endpoint,
    /// Kind, namespace and name of the object behind it.
    object: Option<(&'a str, &'a str, &'a str)>,
    /// The node of its Pod.
    node: Option<&'a str>,
    zones: Vec<&'a str>,
}

impl<'a> Model<'a> {
    /// The Service of a name, if it can be resolved.
    ///
    /// # Errors
    /// There is no such Service, or it stands for something that this control plane does not see.
    pub fn resolvable(&self, name: &Name) -> Result<&'a Arc<Service>, Refused> {
        let missing = || Refused::new(Code::NOT_FOUND, format!("Service {}.{} not found", name.service, name.namespace));
        let service = self.view.service(&name.namespace, &name.service).ok_or_else(missing)?;
        if is_external_name(service) {
            return Err(external_name(service));
        }
        let labels = &service.metadata.labels;
        match (labels.get(REMOTE_CLUSTER), labels.get(REMOTE_SERVICE)) {
            (None, _) => Ok(service),
            (Some(_), None) => {
                Err(Refused::new(Code::FAILED_PRECONDITION, format!("Service {} lacks the label {REMOTE_SERVICE}", name.service)))
            }
            (Some(cluster), Some(_)) => Err(Refused::new(Code::NOT_FOUND, format!("Remote cluster not found: {cluster}"))),
        }
    }

    /// Which of a name's answers a client gets.
    #[must_use]
    pub fn scope(&self, name: &Name, client: &Context) -> Scope {
        let service = self.view.service(&name.namespace, &name.service);
        let is_local = service.is_some_and(|s| s.spec.internal_traffic_policy.as_deref() == Some("Local"));
        Scope { node: is_local.then(|| client.node_name.clone()), zone: self.view.zone(&client.node_name).to_owned() }
    }

    /// The ready endpoints of a name.
    ///
    /// # Errors
    /// As [`resolvable`](Self::resolvable).
    pub fn endpoints(&self, name: &Name, scope: &Scope) -> Result<EndpointSet, Refused> {
        let service = self.resolvable(name)?;
        let mut found = Vec::new();
        for slice in self.view.slices(&name.namespace, &name.service) {
            let Some(port) = endpoint_port(service, slice, name.port) else { continue };
            let ready = slice.endpoints.iter().filter(|e| e.conditions.ready.unwrap_or(true));
            for endpoint in ready.filter(|e| name.instance.is_none() || e.hostname == name.instance) {
                found.extend(
                    endpoint.addresses.iter().filter_map(|ip| self.candidate(slice, endpoint, SocketAddr::new(*ip, port), name, scope)),
                );
            }
        }
        self.keep_families(&mut found);
        if let Some(node) = &scope.node {
            found.retain(|c| c.node.is_some_and(|of| of == node));
        }
        keep_hinted(&mut found, &scope.zone);
        Ok(found.into_iter().map(|c| c.endpoint).collect())
    }

    /// Can a change in these namespaces change the endpoints that a scope of the name has?
    #[must_use]
    pub fn concerns(&self, name: &Name, changed: &HashSet<String>) -> bool {
        // If the slices have changed, their namespace has.
        let targets = || self.view.slices(&name.namespace, &name.service).iter().flat_map(|slice| &slice.endpoints);
        changed.contains(&name.namespace)
            || targets()
                .filter_map(|e| e.target_ref.as_ref())
                .any(|target| !target.namespace.is_empty() && changed.contains(&target.namespace))
    }

    /// The labels that all endpoints of a Service have.
    #[must_use]
    pub fn set_labels(&self, name: &Name) -> BTreeMap<String, String> {
        let mut labels = vec![("service", name.service.as_str()), ("namespace", name.namespace.as_str())];
        let service = self.view.service(&name.namespace, &name.service).map(|s| &s.metadata);
        if let Some((metadata, cluster)) = service.and_then(|m| Some((m, m.labels.get(MIRRORED_CLUSTER)?))) {
            labels.push(("target_cluster", cluster));
            let mut remote = metadata.annotations.get(REMOTE_NAME).map(|name| name.split('.')).into_iter().flatten();
            labels.extend(["target_service", "target_service_namespace"].into_iter().zip(remote.by_ref()));
        }
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn candidate(
        &self,
        slice: &'a EndpointSlice,
        endpoint: &'a SliceEndpoint,
        addr: SocketAddr,
        name: &Name,
        scope: &Scope,
    ) -> Option<Candidate<'a>> {
        let zones = Zones { endpoint: endpoint.zone.as_deref().unwrap_or_default(), client: &scope.zone };
        let mut node = None;
        let mut object = None;
        let described = match &endpoint.target_ref {
            None => self.gateway_endpoint(&slice.metadata, name.port, addr),
            Some(target) => {
                let namespace = if target.namespace.is_empty() { &slice.metadata.namespace } else { &target.namespace };
                object = Some((target.kind.as_str(), namespace.as_str(), target.name.as_str()));
                match target.kind.as_str() {
                    "Pod" => {
                        let pod = self.view.pod(namespace, &target.name)?;
                        node = pod.spec.node_name.as_deref();
                        self.pod_endpoint(pod, addr, zones)
                    }
                    "ExternalWorkload" => self.workload_endpoint(self.view.workload(namespace, &target.name)?, addr, zones),
                    _ => return None,
                }
            }
        };
        let hints = endpoint.hints.iter().flat_map(|hints| &hints.for_zones).map(|zone| zone.name.as_str());
        Some(Candidate { endpoint: described, object, node, zones: hints.collect() })
    }

    /// Of what has addresses of both families, the IPv6 one is told.
    fn keep_families(&self, found: &mut Vec<Candidate<'_>>) {
        match self.settings.families {
            Families::V4 => found.retain(|c| c.endpoint.addr.is_ipv4()),
            Families::Both => {
                let six: BTreeSet<_> = found.iter().filter(|c| c.endpoint.addr.is_ipv6()).filter_map(|c| c.object).collect();
                found.retain(|c| c.endpoint.addr.is_ipv6() || c.object.is_none_or(|object| !six.contains(&object)));
            }
        }
    }
}

/// The number of the endpoints' port. A port that the Service does not declare is taken for it.
fn endpoint_port(service: &Service, slice: &EndpointSlice, port: u16) -> Option<u16> {
    let is_tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|p| p == "TCP");
    let declared = || service.spec.ports.iter().filter(|p| p.port == port);
    // DNS and the like declare one number twice.
    match declared().find(|p| is_tcp(&p.protocol)).or_else(|| declared().next()) {
        Some(wanted) => slice.ports.iter().find(|p| p.name == wanted.name).map(|p| p.port).filter(|port| *port != 0),
        None => Some(port),
    }
}

/// Keeps what is hinted for the client's zone: all or nothing, for hints that are not for everyone would unbalance the load.
fn keep_hinted(found: &mut Vec<Candidate<'_>>, zone: &str) {
    let is_for = |c: &Candidate<'_>| c.zones.contains(&zone);
    if !zone.is_empty() && found.iter().all(|c| !c.zones.is_empty()) && found.iter().any(is_for) {
        found.retain(is_for);
    }
}
