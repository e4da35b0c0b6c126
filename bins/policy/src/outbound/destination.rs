use std::net::{IpAddr, SocketAddr};

use meshkit_core::{Authority, grpc::Code};
use meshkit_manifest::traffic::EgressNetwork;
use meshkit_wire::{Refused, outbound::Target};

use crate::{
    model::Model,
    view::{Parent, ParentKind, age},
};

/// A destination as a client sees it. Clients to whom it is the same have the same policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    pub(crate) destination: Destination,
    /// The client's namespace, if it has routes of its own for the destination.
    pub(crate) viewer: Option<String>,
}

/// What a target stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Destination {
    /// A port of a Service. A name stands for one whether it exists or not.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The port.
        port: u16,
    },
    /// An address of a Service, with a port that the Service does not declare.
    UndefinedPort {
        /// The Service's namespace.
        namespace: String,
        /// The Service's name.
        name: String,
        /// The port.
        port: u16,
    },
    /// An address of an EgressNetwork.
    Egress {
        /// The network's namespace.
        namespace: String,
        /// The network's name.
        name: String,
        /// The address.
        addr: SocketAddr,
    },
    /// An address outside of the cluster about which no object says anything.
    External(SocketAddr),
}

impl Subject {
    /// What the target stands for.
    #[must_use]
    pub const fn destination(&self) -> &Destination {
        &self.destination
    }
}

impl Destination {
    /// What routes may be attached to, and at which port.
    pub(crate) fn parent(&self) -> Option<(Parent, u16)> {
        let parent = |kind, namespace: &String, name: &String| Parent { kind, namespace: namespace.clone(), name: name.clone() };
        match self {
            Self::Service { namespace, name, port } => Some((parent(ParentKind::Service, namespace, name), *port)),
            Self::Egress { namespace, name, addr } => Some((parent(ParentKind::EgressNetwork, namespace, name), addr.port())),
            Self::UndefinedPort { .. } | Self::External(_) => None,
        }
    }
}

impl Model<'_> {
    /// What a target stands for, as the clients of a namespace see it.
    ///
    /// # Errors
    /// The name is malformed or none of a Service, or the address is one of the cluster that no Service has.
    pub fn subject(&self, client: &str, target: &Target) -> Result<Subject, Refused> {
        let destination = match target {
            Target::Authority(text) => self.named(text)?,
            Target::Addr(addr) => self.addressed(*addr, client)?,
        };
        let has_own_routes = |parent: &Parent| {
            client != parent.namespace && self.view.attached(parent).iter().any(|attached| attached.route.metadata().namespace == client)
        };
        let viewer = destination.parent().filter(|(parent, _)| has_own_routes(parent)).map(|_| client.to_owned());
        Ok(Subject { destination, viewer })
    }

    /// A name such as `web.ns.svc.cluster.local`. What comes after `svc` is not looked at.
    fn named(&self, text: &str) -> Result<Destination, Refused> {
        let authority = Authority::parse(text, 80).map_err(|e| Refused::new(Code::INVALID_ARGUMENT, e.to_string()))?;
        let mut labels = authority.name().unwrap_or_default().split('.');
        match (labels.next(), labels.next(), labels.next()) {
            (Some(name), Some(namespace), Some("svc")) if !name.is_empty() && !namespace.is_empty() => {
                Ok(Destination::Service { namespace: namespace.to_owned(), name: name.to_owned(), port: authority.port() })
            }
            _ => {
                let wanted = format!("authority must be of the form <name>.<namespace>.svc.{}", self.mesh.domain);
                Err(Refused::new(Code::NOT_FOUND, wanted))
            }
        }
    }

    fn addressed(&self, addr: SocketAddr, client: &str) -> Result<Destination, Refused> {
        if let Some(service) = self.view.service_at(addr.ip()) {
            let (namespace, name, port) = (service.metadata.namespace.clone(), service.metadata.name.clone(), addr.port());
            return Ok(match service.spec.ports.iter().any(|declared| declared.port == port) {
                true => Destination::Service { namespace, name, port },
                false => Destination::UndefinedPort { namespace, name, port },
            });
        }
        if let Some(network) = self.egress_at(addr.ip(), client) {
            let (namespace, name) = (network.metadata.namespace.clone(), network.metadata.name.clone());
            return Ok(Destination::Egress { namespace, name, addr });
        }
        match self.mesh.contains(addr.ip()) {
            true => Err(Refused::new(Code::NOT_FOUND, "No such service")),
            false => Ok(Destination::External(addr)),
        }
    }

    /// The EgressNetwork that has an address, for a client: that of the smallest block, then the oldest. Those of the client's namespace hide
    /// those of the common one, even where none of them has the address.
    fn egress_at(&self, ip: IpAddr, client: &str) -> Option<&EgressNetwork> {
        let candidates = match self.view.egress_networks(client) {
            [] => self.view.egress_networks(&self.settings.egress_namespace),
            own => own,
        };
        let taken = candidates.iter().filter(|network| self.accepts_egress(network).holds);
        let found = taken.filter_map(|network| Some((self.block(network, ip)?, &**network)));
        found
            .min_by(|(a, one), (b, other)| b.cmp(a).then_with(|| age(&one.metadata).cmp(&age(&other.metadata))))
            .map(|(_, network)| network)
    }

    /// The length of the prefix of the smallest block that has an address.
    fn block(&self, network: &EgressNetwork, ip: IpAddr) -> Option<u8> {
        match &network.spec.networks {
            None => (!self.mesh.contains(ip)).then_some(0),
            Some(networks) => {
                let has =
                    |of: &&meshkit_manifest::policy::Network| of.cidr.contains(&ip) && !of.except.iter().any(|part| part.contains(&ip));
                networks.iter().filter(has).map(|of| of.cidr.prefix_len()).max()
            }
        }
    }
}
