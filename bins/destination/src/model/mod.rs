//! The answers, as functions of the cluster's objects: no clock, no socket, no task.
//!
//! | part | what it holds |
//! |---|---|
//! | [`View`] | the objects, found by what is asked for |
//! | [`Model`] | the answers: endpoints of a name, profile of a name or address |
//! | [`EndpointSet`] | an answer to the first, with its digest and the way from one to the next |
//! | [`service_profile`] | what a ServiceProfile says, in the terms of the proxy |
//! | [`external`] | slices for workloads outside the cluster |

use meshkit_core::grpc::Code;
use meshkit_wire::Refused;

use crate::settings::Settings;

mod endpoint;
mod endpoints;
pub mod external;
mod opacity;
mod profile;
pub mod service_profile;
mod set;
#[cfg(test)]
mod tests;
pub(crate) mod view;

pub use endpoints::Scope;
pub use profile::Subject;
pub use service_profile::{Fault, Reading};
pub use set::EndpointSet;
pub(crate) use set::Step;
pub use view::{Changed, View};
pub(crate) use view::{ServiceKey, Text};

/// Marks a Pod that has a proxy.
const CONTROL_PLANE_NS: &str = "linkerd.io/control-plane-ns";
/// Ports whose bytes are not looked at.
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// Ports of a Pod whose proxy stands aside.
const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";
/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Names the zone of a node or workload.
const ZONE: &str = "topology.kubernetes.io/zone";
/// As a label, the cluster in which a Service's endpoints are found; as an annotation, the Services of other clusters that it is made up of.
const REMOTE_CLUSTER: &str = "multicluster.linkerd.io/remote-discovery";
/// The name that the Service has there.
const REMOTE_SERVICE: &str = "multicluster.linkerd.io/remote-service";
/// The Service of this cluster among those that another is made up of.
const LOCAL_MEMBER: &str = "multicluster.linkerd.io/local-discovery";
/// The cluster of which a Service is a mirror.
const MIRRORED_CLUSTER: &str = "mirror.linkerd.io/cluster-name";
/// The name of a mirrored Service where it is at home.
const REMOTE_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";

/// What is the same for every answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Namespace of the control plane.
    pub namespace: String,
    /// DNS domain of the cluster.
    pub domain: String,
    /// The last part of every identity.
    pub trust_domain: String,
}

/// Answers about a cluster at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    view: &'a View,
    mesh: &'a Mesh,
    settings: &'a Settings,
}

impl<'a> Model<'a> {
    /// Answers about what `view` shows.
    #[must_use]
    pub const fn new(view: &'a View, mesh: &'a Mesh, settings: &'a Settings) -> Self {
        Self { view, mesh, settings }
    }
}

fn external_name(service: &view::Service) -> Refused {
    let (name, namespace) = (&service.key.name, &service.key.namespace);
    Refused::new(Code::INVALID_ARGUMENT, format!("Invalid authority: {name}.{namespace} is an ExternalName, which has no endpoints"))
}
