//! What the API server and its controllers would tell of running replicas: Services with addresses, Pods, EndpointSlices.

use std::{collections::BTreeMap, sync::Arc};

use meshkit_manifest::{
    Object,
    core::{Conditions, Container, EndpointSlice, EnvVar, Pod, PodStatus, Service, SliceEndpoint, SlicePort, TargetRef},
    meta::{Metadata, OwnerReference},
};

use super::{
    desired::{Planned, Services},
    names,
    plan::Name,
    replica::Replica,
};

/// Is a replica to be sent requests?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Its proxy is ready and its ports accept.
    Ready,
    /// Not yet, or no longer.
    NotReady,
}

/// What the control plane is told of a run.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Every Service.
    pub services: Services,
    /// Every replica.
    pub replicas: BTreeMap<Name, (Arc<Replica>, Readiness)>,
}

impl Told {
    /// Takes over what is planned. What is known already keeps its readiness.
    pub fn adopt<'a>(&mut self, services: Services, planned: impl Iterator<Item = &'a Planned>) {
        let mut before = std::mem::take(&mut self.replicas);
        let now = |planned: &Planned| {
            let name = planned.replica.name.clone();
            let readiness = before.remove(&name).map_or(Readiness::NotReady, |(_, readiness)| readiness);
            (name, (Arc::clone(&planned.replica), readiness))
        };
        self.replicas = planned.map(now).collect();
        self.services = services;
    }
}

/// The objects of a run at one moment.
#[must_use]
pub fn objects(told: &Told) -> Vec<Object> {
    let mut all: Vec<_> = told.replicas.values().map(|(replica, _)| Object::Pod(Arc::new(pod(replica)))).collect();
    for (service, address) in &told.services {
        let mut placed = Service::clone(service);
        placed.spec.cluster_ip = Some(address.to_string());
        placed.spec.cluster_ips = vec![address.to_string()];
        all.push(Object::Service(Arc::new(placed)));
        all.push(Object::EndpointSlice(Arc::new(slice(service, &told.replicas))));
    }
    all
}

fn pod(replica: &Replica) -> Pod {
    let mut labels = replica.labels.clone();
    labels.insert("linkerd.io/control-plane-ns".to_owned(), names::NAMESPACE.to_owned());
    let owner = OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: replica.owner_kind.clone(),
        name: replica.workload.clone(),
        ..OwnerReference::default()
    };
    let mut spec = replica.spec.clone();
    spec.node_name = Some(names::NODE.to_owned());
    let listen = EnvVar {
        name: "LINKERD2_PROXY_INBOUND_LISTEN_ADDR".to_owned(),
        value: Some(format!("{}:{}", replica.ip, names::PROXY_INBOUND_PORT)),
        value_from: None,
    };
    spec.containers.push(Container { name: "linkerd-proxy".to_owned(), env: vec![listen], ..Container::default() });
    Pod {
        metadata: Metadata {
            name: replica.name.name.clone(),
            namespace: replica.name.namespace.clone(),
            labels,
            annotations: replica.annotations.clone(),
            owner_references: vec![owner],
            ..Metadata::default()
        },
        spec,
        status: PodStatus { pod_ip: Some(replica.ip.into()), phase: Some("Running".to_owned()), ..PodStatus::default() },
    }
}

fn slice(service: &Service, replicas: &BTreeMap<Name, (Arc<Replica>, Readiness)>) -> EndpointSlice {
    let metadata = &service.metadata;
    let selected: Vec<_> = replicas.values().filter(|(replica, _)| replica.is_selected_by(service)).collect();
    let endpoint = |(replica, readiness): &&(Arc<Replica>, Readiness)| SliceEndpoint {
        addresses: vec![replica.ip.into()],
        conditions: Conditions { ready: Some(*readiness == Readiness::Ready), ..Conditions::default() },
        hostname: Some(replica.name.name.clone()),
        target_ref: Some(TargetRef { kind: "Pod".to_owned(), namespace: replica.name.namespace.clone(), name: replica.name.name.clone() }),
        ..SliceEndpoint::default()
    };
    let port = |port: &meshkit_manifest::core::ServicePort| {
        let number = selected.first().and_then(|(replica, _)| replica.target_port(port)).unwrap_or(port.port);
        SlicePort { name: port.name.clone(), port: number, ..SlicePort::default() }
    };
    EndpointSlice {
        metadata: Metadata {
            name: format!("{}-local", metadata.name),
            namespace: metadata.namespace.clone(),
            labels: BTreeMap::from([("kubernetes.io/service-name".to_owned(), metadata.name.clone())]),
            ..Metadata::default()
        },
        endpoints: selected.iter().map(endpoint).collect(),
        ports: service.spec.ports.iter().map(port).collect(),
        ..EndpointSlice::default()
    }
}
