//! What is told of one endpoint: who it is, what it speaks, what it is labelled with.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU16, sync::Arc};

use meshkit_core::{
    Authority, Endpoint, Identity, ProtocolHint,
    endpoint::{DEFAULT_WEIGHT, Locality, ServerTls},
};
use meshkit_manifest::external::ExternalWorkload;

use super::{
    CONTROL_PLANE_NS, Model,
    view::{Gateway, Pod, Slot, Text},
};
use crate::settings::{Transport, Upgrade, ZoneWeights};

/// Where a proxy takes transport headers, unless somebody says otherwise.
const INBOUND_PORT: u16 = 4143;
/// The port of a workload outside where its proxy listens.
const PROXY_PORT: &str = "linkerd-proxy";
/// The label that names an endpoint's Pod. It is what differs between the Pods of one workload.
pub(super) const POD_LABEL: &str = "pod";

/// The label that says where an endpoint stands; empty is nowhere known.
const ZONE_LABEL: &str = "zone";

/// What the same endpoints look like to clients of one zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Side {
    /// The zone of the clients; empty if nobody knows.
    pub(super) zone: Text,
    pub(super) weights: ZoneWeights,
}

impl Model<'_> {
    /// What is told of a Pod's port, but for the label with its name and what depends on the client.
    pub(super) fn pod_endpoint(&self, slot: &Slot, pod: &Pod, addr: SocketAddr, zone: &str) -> Endpoint {
        let template = &*pod.template;
        let label = |key: &str| template.label(key, &slot.name);
        let control_plane = label(CONTROL_PLANE_NS);
        let mut labels = BTreeMap::from([("serviceaccount".to_owned(), template.account.to_string())]);
        if let Some((kind, name)) = &template.owner {
            labels.extend([owner_label(self.view.maker(&slot.namespace, (kind, name)))]);
        }
        labels.extend(control_plane.map(|ns| ("control_plane_ns".to_owned(), ns.to_owned())));
        labels.extend(label("pod-template-hash").map(|hash| ("pod_template_hash".to_owned(), hash.to_owned())));
        let mut endpoint = placed(addr, labels, zone);

        let port = addr.port();
        let Some(control_plane) = control_plane.filter(|_| !template.skipped.contains(port)) else { return endpoint };
        let opaque = self.is_pod_opaque(slot, pod, port);
        endpoint.protocol = match (opaque, self.settings.upgrade) {
            (true, _) => ProtocolHint::Opaque,
            (false, Upgrade::Http2) => ProtocolHint::Http2,
            (false, Upgrade::Off) => ProtocolHint::Unknown,
        };
        let is_own = port == template.control || port == template.admin;
        if !is_own && (opaque || self.settings.transport == Transport::Header) {
            endpoint.tagged_port = NonZeroU16::new(template.inbound);
        }
        endpoint.http2 = self.settings.http2;
        // A Pod of another control plane has a proxy, and an identity that means nothing here.
        let mesh = self.mesh;
        if *control_plane == mesh.namespace && !mesh.trust_domain.is_empty() {
            let account = &template.account;
            let name = format!("{account}.{}.serviceaccount.identity.{}.{}", slot.namespace, mesh.namespace, mesh.trust_domain);
            if let Ok(identity) = name.parse::<Identity>() {
                endpoint = endpoint.identity(identity);
            }
        }
        endpoint
    }

    /// What is told of a workload outside, which always has a proxy, but for what depends on the client.
    pub(super) fn workload_endpoint(&self, workload: &ExternalWorkload, addr: SocketAddr, zone: &str) -> Endpoint {
        let (metadata, spec) = (&workload.metadata, &workload.spec);
        let mut labels = BTreeMap::from([("external_workload".to_owned(), metadata.name.clone())]);
        labels.extend(self.view.owner(metadata).map(owner_label));
        let mut endpoint = placed(addr, labels, zone);
        endpoint.protocol = match self.is_workload_opaque(workload, addr.port()) {
            true => ProtocolHint::Opaque,
            false => ProtocolHint::Http2,
        };
        let proxy = spec.ports.iter().find(|p| p.name == PROXY_PORT).map_or(INBOUND_PORT, |p| p.port);
        endpoint.tagged_port = NonZeroU16::new(proxy);
        endpoint.http2 = self.settings.http2;
        endpoint.tls = spec.mesh_tls.identity.parse().ok().map(|identity: Identity| {
            let server_name = Some(spec.mesh_tls.server_name.as_str()).filter(|name| !name.is_empty());
            ServerTls { server_name: server_name.unwrap_or(identity.as_str()).into(), identity }
        });
        endpoint
    }

    /// An address without an object behind it: a gateway if its slice names one, else a stranger.
    pub(super) fn gateway_endpoint(&self, gateway: Option<&Gateway>, port: u16, addr: SocketAddr) -> Endpoint {
        let mut endpoint = Endpoint::new(addr);
        let Some(gateway) = gateway else { return endpoint };
        if let Some(name) = &gateway.remote_name {
            endpoint.authority_override = Authority::parse(&format!("{name}:{port}"), port).ok();
        }
        if let Some(identity) = &gateway.identity {
            endpoint = endpoint.identity(identity.clone());
            endpoint.http2 = self.settings.http2;
            if self.settings.upgrade == Upgrade::Http2 {
                endpoint.protocol = ProtocolHint::Http2;
            }
        }
        endpoint
    }
}

impl Side {
    /// The endpoint as these clients see it. What stands nowhere at all, such as a gateway, is the same from everywhere.
    pub(super) fn sees(&self, endpoint: Endpoint) -> Endpoint {
        let Some(zone) = endpoint.labels.get(ZONE_LABEL) else { return endpoint };
        let (locality, name) = match (zone.as_str(), &*self.zone) {
            ("", _) | (_, "") => (Locality::Unknown, "unknown"),
            (zone, own) if zone == own => (Locality::Local, "local"),
            _ => (Locality::Remote, "remote"),
        };
        let weight = match (self.weights, locality) {
            (ZoneWeights::PreferLocal, Locality::Local) => DEFAULT_WEIGHT * 10,
            _ => DEFAULT_WEIGHT,
        };
        labelled(endpoint, "zone_locality", name).weight(weight).locality(locality)
    }
}

fn placed(addr: SocketAddr, mut labels: BTreeMap<String, String>, zone: &str) -> Endpoint {
    labels.insert(ZONE_LABEL.to_owned(), zone.to_owned());
    Endpoint::new(addr).labels(labels)
}

/// The endpoint with one label more.
pub(super) fn labelled(mut endpoint: Endpoint, key: &str, value: &str) -> Endpoint {
    Arc::make_mut(&mut endpoint.labels).insert(key.to_owned(), value.to_owned());
    endpoint
}

fn owner_label((kind, name): (&str, &str)) -> (String, String) {
    let label = if kind == "Job" { "k8s_job".to_owned() } else { kind.to_lowercase() };
    (label, name.to_owned())
}
