//! A Service, as far as answers need it.

use std::{net::IpAddr, sync::Arc};

use meshkit_manifest::{
    core::{Service as Manifest, ServicePort, ServiceSpec},
    meta::{IntOrString, Metadata},
};

use super::{Pools, changed::ServiceKey, pool::Text};
use crate::{
    model::{LOCAL_MEMBER, MIRRORED_CLUSTER, OPAQUE_PORTS, REMOTE_CLUSTER, REMOTE_NAME, REMOTE_SERVICE},
    ports::Ports,
};

/// A Service. Another that is equal to it has the same answers.
#[derive(Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) key: Arc<ServiceKey>,
    pub(crate) ports: Box<[Port]>,
    pub(crate) ips: Box<[IpAddr]>,
    pub(crate) kind: Kind,
    /// Calls stay on their node.
    pub(crate) is_local: bool,
    /// What the annotation says, if there is one.
    pub(crate) opaque: Option<Ports>,
    pub(crate) selector: Box<[(Text, Text)]>,
    /// The families of its addresses, as far as somebody says.
    families: Box<[Text]>,
    /// What concerns other clusters; most Services have nothing of it.
    pub(crate) abroad: Option<Box<Abroad>>,
}

/// What a Service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name with an address.
    Cluster,
    /// A name without one.
    Headless,
    /// A name for something outside.
    External,
}

/// A port of a Service.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Port {
    pub(crate) name: Text,
    pub(crate) number: u16,
    pub(crate) protocol: Option<Text>,
    pub(crate) target: Option<Target>,
}

/// The port of the endpoints, by number or name.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Number(i64),
    Name(Text),
}

/// What a Service says of other clusters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Abroad {
    /// The cluster in which its endpoints are found, and its name there.
    pub(crate) found_in: Option<Text>,
    pub(crate) found_as: Option<Text>,
    /// The cluster of which it is a mirror, and its full name there.
    pub(crate) mirror_of: Option<Text>,
    pub(crate) remote_name: Option<Text>,
    /// The Services of which it is made up: those of other clusters, and the one of this cluster.
    pub(crate) remote_members: Option<Text>,
    pub(crate) local_member: Option<Text>,
}

impl Service {
    pub(super) fn read(service: &Manifest, key: Arc<ServiceKey>, pools: &mut Pools) -> Self {
        let (metadata, spec) = (&service.metadata, &service.spec);
        let texts = spec.cluster_ip.iter().chain(&spec.cluster_ips);
        let mut ips: Vec<_> = texts.filter_map(|ip| ip.parse::<IpAddr>().ok()).collect();
        ips.sort_unstable();
        ips.dedup();
        let named = spec.ports.iter().map(|p| (p.name.as_str(), p.port));
        let kind = match (spec.kind.as_deref(), spec.cluster_ip.as_deref()) {
            (Some("ExternalName"), _) => Kind::External,
            (_, Some("None")) => Kind::Headless,
            _ => Kind::Cluster,
        };
        Self {
            key,
            ports: spec.ports.iter().map(|port| Port::read(port, pools)).collect(),
            ips: ips.into(),
            kind,
            is_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            opaque: metadata.annotations.get(OPAQUE_PORTS).map(|list| Ports::parse(list, named)),
            selector: pools.texts.texts(&spec.selector),
            families: spec.ip_families.iter().map(|family| pools.texts.text(family)).collect(),
            abroad: Abroad::read(metadata, pools).map(Box::new),
        }
    }

    /// The Service as somebody wrote it, as far as it is known here.
    pub(super) fn manifest(&self) -> Manifest {
        let text = |text: &Text| text.to_string();
        let port = |port: &Port| ServicePort {
            name: text(&port.name),
            port: port.number,
            protocol: port.protocol.as_ref().map(text),
            target_port: port.target.as_ref().map(|target| match target {
                Target::Number(number) => IntOrString::Int(*number),
                Target::Name(name) => IntOrString::String(text(name)),
            }),
            ..ServicePort::default()
        };
        Manifest {
            metadata: Metadata { name: text(&self.key.name), namespace: text(&self.key.namespace), ..Metadata::default() },
            spec: ServiceSpec {
                selector: self.selector.iter().map(|(key, value)| (text(key), text(value))).collect(),
                ports: self.ports.iter().map(port).collect(),
                ip_families: self.families.iter().map(text).collect(),
                cluster_ip: (self.kind == Kind::Headless).then(|| "None".to_owned()),
                kind: (self.kind == Kind::External).then(|| "ExternalName".to_owned()),
                ..ServiceSpec::default()
            },
        }
    }
}

impl Port {
    fn read(port: &ServicePort, pools: &mut Pools) -> Self {
        let texts = &mut pools.texts;
        Self {
            name: texts.text(&port.name),
            number: port.port,
            protocol: port.protocol.as_deref().map(|protocol| texts.text(protocol)),
            target: port.target_port.as_ref().map(|target| match target {
                IntOrString::Int(number) => Target::Number(*number),
                IntOrString::String(name) => Target::Name(texts.text(name)),
            }),
        }
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }
}

impl Abroad {
    fn read(metadata: &Metadata, pools: &mut Pools) -> Option<Self> {
        let mut label = |key: &str| metadata.labels.get(key).map(|value| pools.texts.text(value));
        let (found_in, found_as, mirror_of) = (label(REMOTE_CLUSTER), label(REMOTE_SERVICE), label(MIRRORED_CLUSTER));
        let mut annotation = |key: &str| metadata.annotations.get(key).map(|value| pools.texts.text(value));
        let remote_members = annotation(REMOTE_CLUSTER);
        let (remote_name, local_member) = (annotation(REMOTE_NAME), annotation(LOCAL_MEMBER));
        let abroad = Self { found_in, found_as, mirror_of, remote_name, remote_members, local_member };
        (abroad != Self::default()).then_some(abroad)
    }
}
