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
use meshkit_manifest::core::{Pod, Service};
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
mod view;

pub use endpoints::Scope;
pub use profile::Subject;
pub use service_profile::{Fault, Reading};
pub use set::EndpointSet;
pub use view::View;

/// Marks a Pod that has a proxy.
const CONTROL_PLANE_NS: &str = "linkerd.io/control-plane-ns";
/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Names the zone of a node or workload.
const ZONE: &str = "topology.kubernetes.io/zone";

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

/// Is the Service only a name for something outside?
fn is_external_name(service: &Service) -> bool {
    service.spec.kind.as_deref() == Some("ExternalName")
}

/// Has the Pod run to its end?
fn is_terminated(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

fn is_running(pod: &Pod) -> bool {
    pod.status.phase.as_deref() == Some("Running")
}

fn external_name(service: &Service) -> Refused {
    let (name, namespace) = (&service.metadata.name, &service.metadata.namespace);
    Refused::new(Code::INVALID_ARGUMENT, format!("Invalid authority: {name}.{namespace} is an ExternalName, which has no endpoints"))
}
