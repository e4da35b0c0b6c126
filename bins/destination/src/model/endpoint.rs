//! What is told of one endpoint: who it is, what it speaks, what it is labelled with.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU16, sync::Arc};

use meshkit_core::{
    Authority, Endpoint, Identity, ProtocolHint,
    endpoint::{DEFAULT_WEIGHT, Locality, ServerTls},
};
use meshkit_manifest::{core::Pod, external::ExternalWorkload, meta::Metadata};

use super::{CONTROL_PLANE_NS, Model, opacity::is_skipped};
use crate::settings::{Transport, Upgrade, ZoneWeights};

/// Where a proxy takes transport headers, unless its environment says otherwise.
const INBOUND_PORT: u16 = 4143;
/// Where a proxy takes calls about itself, unless its environment says otherwise.
const CONTROL_PORT: u16 = 4190;
/// Where a proxy is looked after, unless its environment says otherwise.
const ADMIN_PORT: u16 = 4191;
/// The port of a workload outside where its proxy listens.
const PROXY_PORT: &str = "linkerd-proxy";
/// The identity of the gateway that a mirrored Service's slice stands for.
const GATEWAY_IDENTITY: &str = "mirror.linkerd.io/remote-gateway-identity";
/// The name of a mirrored Service where it is at home.
const REMOTE_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";

/// Where an endpoint stands, and where the client does. Empty is nowhere known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Zones<'a> {
    pub(super) endpoint: &'a str,
    pub(super) client: &'a str,
}

impl Model<'_> {
    pub(super) fn pod_endpoint(&self, pod: &Pod, addr: SocketAddr, zones: Zones<'_>) -> Endpoint {
        let metadata = &pod.metadata;
        let account = pod.spec.service_account();
        let control_plane = metadata.labels.get(CONTROL_PLANE_NS);
        let mut labels = BTreeMap::from([("pod".to_owned(), metadata.name.clone()), ("serviceaccount".to_owned(), account.to_owned())]);
        labels.extend(self.owner_label(metadata));
        labels.extend(control_plane.map(|ns| ("control_plane_ns".to_owned(), ns.clone())));
        let hash = metadata.labels.get("pod-template-hash");
        labels.extend(hash.map(|hash| ("pod_template_hash".to_owned(), hash.clone())));
        let mut endpoint = self.placed(addr, labels, zones);

        let port = addr.port();
        let Some(control_plane) = control_plane.filter(|_| !is_skipped(pod, port)) else { return endpoint };
        let opaque = self.is_pod_opaque(pod, port);
        endpoint.protocol = match (opaque, self.settings.upgrade) {
            (true, _) => ProtocolHint::Opaque,
            (false, Upgrade::Http2) => ProtocolHint::Http2,
            (false, Upgrade::Off) => ProtocolHint::Unknown,
        };
        let is_own = port == listens(pod, "CONTROL", CONTROL_PORT) || port == listens(pod, "ADMIN", ADMIN_PORT);
        if !is_own && (opaque || self.settings.transport == Transport::Header) {
            endpoint.tagged_port = NonZeroU16::new(listens(pod, "INBOUND", INBOUND_PORT));
        }
        endpoint.http2 = self.settings.http2;
        // A Pod of another control plane has a proxy, and an identity that means nothing here.
        let mesh = self.mesh;
        if *control_plane == mesh.namespace && !mesh.trust_domain.is_empty() {
            let name = format!("{account}.{}.serviceaccount.identity.{}.{}", metadata.namespace, mesh.namespace, mesh.trust_domain);
            if let Ok(identity) = name.parse::<Identity>() {
                endpoint = endpoint.identity(identity);
            }
        }
        endpoint
    }

    /// A workload outside always has a proxy.
    pub(super) fn workload_endpoint(&self, workload: &ExternalWorkload, addr: SocketAddr, zones: Zones<'_>) -> Endpoint {
        let (metadata, spec) = (&workload.metadata, &workload.spec);
        let mut labels = BTreeMap::from([("external_workload".to_owned(), metadata.name.clone())]);
        labels.extend(self.owner_label(metadata));
        let mut endpoint = self.placed(addr, labels, zones);
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
    pub(super) fn gateway_endpoint(&self, slice: &Metadata, port: u16, addr: SocketAddr) -> Endpoint {
        let mut endpoint = Endpoint::new(addr);
        if let Some(name) = slice.annotations.get(REMOTE_NAME) {
            endpoint.authority_override = Authority::parse(&format!("{name}:{port}"), port).ok();
        }
        if let Some(identity) = slice.annotations.get(GATEWAY_IDENTITY).and_then(|name| name.parse::<Identity>().ok()) {
            endpoint = endpoint.identity(identity);
            endpoint.http2 = self.settings.http2;
            if self.settings.upgrade == Upgrade::Http2 {
                endpoint.protocol = ProtocolHint::Http2;
            }
        }
        endpoint
    }

    fn owner_label(&self, metadata: &Metadata) -> Option<(String, String)> {
        let (kind, name) = self.view.owner(metadata)?;
        let label = if kind == "Job" { "k8s_job".to_owned() } else { kind.to_lowercase() };
        Some((label, name))
    }

    fn placed(&self, addr: SocketAddr, mut labels: BTreeMap<String, String>, zones: Zones<'_>) -> Endpoint {
        let (locality, name) = match (zones.endpoint, zones.client) {
            ("", _) | (_, "") => (Locality::Unknown, "unknown"),
            (endpoint, client) if endpoint == client => (Locality::Local, "local"),
            _ => (Locality::Remote, "remote"),
        };
        labels.insert("zone".to_owned(), zones.endpoint.to_owned());
        labels.insert("zone_locality".to_owned(), name.to_owned());
        let weight = match (self.settings.zone_weights, locality) {
            (ZoneWeights::PreferLocal, Locality::Local) => DEFAULT_WEIGHT * 10,
            _ => DEFAULT_WEIGHT,
        };
        Endpoint::new(addr).weight(weight).locality(locality).labels(labels)
    }
}

/// The endpoint with one label more.
pub(super) fn labelled(mut endpoint: Endpoint, key: &str, value: &str) -> Endpoint {
    Arc::make_mut(&mut endpoint.labels).insert(key.to_owned(), value.to_owned());
    endpoint
}

/// The port of one of the proxy's own listeners, as its environment says.
fn listens(pod: &Pod, listener: &str, default: u16) -> u16 {
    let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
    let proxy = containers.into_iter().find(|c| c.name == "linkerd-proxy");
    let name = format!("LINKERD2_PROXY_{listener}_LISTEN_ADDR");
    let listen = proxy.and_then(|c| c.env.iter().find(|e| e.name == name));
    let port = listen.and_then(|e| e.value.as_deref()).and_then(|value| value.rsplit_once(':')?.1.parse().ok());
    port.unwrap_or(default)
}
