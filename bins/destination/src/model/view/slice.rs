//! An EndpointSlice, as far as answers need it.

use std::{net::IpAddr, sync::Arc};

use meshkit_core::Identity;
use meshkit_manifest::core::{EndpointSlice as Manifest, SliceEndpoint};

use super::{
    Pools,
    changed::ServiceKey,
    pods::{PodId, Pods},
    pool::Text,
};
use crate::model::{
    REMOTE_NAME,
    external::{CONTROLLER, MANAGED_BY},
};

/// The identity of the gateway that a mirrored Service's slice stands for.
const GATEWAY_IDENTITY: &str = "mirror.linkerd.io/remote-gateway-identity";

/// A slice. Another that is equal to it has the same answers.
#[derive(Debug, PartialEq)]
pub(crate) struct Slice {
    pub(crate) name: Box<str>,
    /// Names and numbers; zero if nothing says it.
    pub(crate) ports: Arc<[(Text, u16)]>,
    /// The controller for workloads outside has written it.
    pub(crate) is_external: bool,
    /// What addresses without an object behind them are.
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) endpoints: Box<[Member]>,
}

/// One address of a slice.
#[derive(Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) ip: IpAddr,
    pub(crate) is_ready: bool,
    pub(crate) target: Target,
    /// Its own name below the Service's.
    pub(crate) hostname: Option<Text>,
    pub(crate) site: Arc<Site>,
}

/// What is behind an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Pod(PodId),
    /// Namespace and name.
    Workload(Arc<(Text, Text)>),
    Nothing,
    /// Something that has no endpoints.
    Unknown,
}

/// Where an endpoint is, and who should use it.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    pub(crate) zone: Option<Text>,
    pub(crate) hints: Box<[Text]>,
}

/// A gateway to another cluster.
#[derive(Debug, PartialEq)]
pub(crate) struct Gateway {
    pub(crate) identity: Option<Identity>,
    pub(crate) remote_name: Option<Text>,
}

impl Slice {
    /// Reads a slice of a Service, which then mentions its Pods.
    pub(super) fn read(slice: &Manifest, of: &Arc<ServiceKey>, pools: &mut Pools, pods: &mut Pods) -> Self {
        let metadata = &slice.metadata;
        let mut endpoints = Vec::with_capacity(slice.endpoints.iter().map(|e| e.addresses.len()).sum());
        for endpoint in &slice.endpoints {
            let site = site(endpoint, pools);
            for ip in &endpoint.addresses {
                let target = target(slice, endpoint, of, pools, pods);
                let hostname = endpoint.hostname.as_deref().map(|hostname| match target {
                    // As a rule they are the same, and then one text is enough.
                    Target::Pod(id) => pods.name(id).filter(|name| ***name == *hostname).cloned().unwrap_or_else(|| hostname.into()),
                    _ => hostname.into(),
                });
                let is_ready = endpoint.conditions.ready.unwrap_or(true);
                endpoints.push(Member { ip: *ip, is_ready, target, hostname, site: Arc::clone(&site) });
            }
        }
        let identity = metadata.annotations.get(GATEWAY_IDENTITY).and_then(|name| name.parse().ok());
        let remote_name = metadata.annotations.get(REMOTE_NAME).map(|name| pools.texts.text(name));
        let ports = slice.ports.iter().map(|port| (pools.texts.text(&port.name), port.port)).collect();
        Self {
            name: metadata.name.as_str().into(),
            ports: pools.ports.list(ports),
            is_external: metadata.labels.get(MANAGED_BY).is_some_and(|by| by == CONTROLLER),
            gateway: (identity.is_some() || remote_name.is_some()).then(|| Arc::new(Gateway { identity, remote_name })),
            endpoints: endpoints.into(),
        }
    }

    /// The slice goes, and mentions nothing any more.
    pub(super) fn release(&self, of: &Arc<ServiceKey>, pods: &mut Pods) {
        for endpoint in &self.endpoints {
            if let Target::Pod(id) = endpoint.target {
                pods.unmention(id, of);
            }
        }
    }
}

fn site(endpoint: &SliceEndpoint, pools: &mut Pools) -> Arc<Site> {
    let zone = endpoint.zone.as_deref().map(|zone| pools.texts.text(zone));
    let hints = endpoint.hints.iter().flat_map(|hints| &hints.for_zones).map(|zone| pools.texts.text(&zone.name)).collect();
    pools.sites.share(Site { zone, hints })
}

fn target(slice: &Manifest, endpoint: &SliceEndpoint, of: &Arc<ServiceKey>, pools: &mut Pools, pods: &mut Pods) -> Target {
    let Some(target) = &endpoint.target_ref else { return Target::Nothing };
    let namespace = if target.namespace.is_empty() { &slice.metadata.namespace } else { &target.namespace };
    let namespace = pools.texts.text(namespace);
    match target.kind.as_str() {
        "Pod" => Target::Pod(pods.mention(&namespace, &target.name, of)),
        "ExternalWorkload" => Target::Workload(Arc::new((namespace, target.name.as_str().into()))),
        _ => Target::Unknown,
    }
}
