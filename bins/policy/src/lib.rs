//! The policy controller: what a workload's ports allow, and where its traffic goes.
//!
//! It serves the inbound and outbound policy APIs of Linkerd 2.x from the objects of a cluster, be they of an API server or of a folder, and
//! says what is to be written into the statuses of those objects.
//!
//! ```
//! use std::{path::Path, sync::Arc};
//!
//! use meshkit_manifest::{Cluster, Event, Manifest};
//! use meshkit_policy::DefaultPolicy;
//! use meshkit_policy_controller::{Mesh, Service, Workload};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let text = "
//! apiVersion: v1
//! kind: Pod
//! metadata: {name: web-1, namespace: ns, annotations: {config.linkerd.io/default-inbound-policy: deny}}
//! spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}
//! ";
//! let mut cluster = Cluster::default();
//! cluster.apply(Event::Reset(Manifest::parse(Path::new("web.yaml"), text).unwrap().objects), |_| true);
//! let cluster = tokio::sync::watch::Sender::new(Arc::new(cluster));
//!
//! let mesh = Mesh {
//!     namespace: "linkerd".into(),
//!     domain: "cluster.local".into(),
//!     trust_domain: "cluster.local".into(),
//!     networks: vec!["10.0.0.0/8".parse().unwrap()],
//!     probe_networks: vec!["0.0.0.0/0".parse().unwrap()],
//!     default_policy: DefaultPolicy::AllUnauthenticated,
//! };
//! let service = Service::new(cluster.subscribe(), mesh);
//! // For the wire: `meshkit_wire::inbound::server(Arc::new(service))`, and the same of `outbound` and `extension`.
//!
//! let mut watcher = service.index().inbound(&Workload::pod("ns", "web-1"), 8080).unwrap();
//! assert_eq!(watcher.seen().server.name(), "deny");
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`] | everything that is answered, as pure functions of a [`view`] of the cluster's objects |
//! | [`inbound`], [`outbound`], [`faults`] | its parts |
//! | [`acceptance`] | whether a route, a limit or an EgressNetwork is taken |
//! | [`status`] | what is to be written into statuses, and the writer that does so while it holds a lease |
//! | [`admission`] | what the API server is told of objects before it takes them |
//! | [`remark`] | what has no effect, and why, for logs |
//! | [`index`] | answers that change with the cluster, shared by all who ask the same |
//! | [`service`] | the policy APIs over these |
//! | [`settings`] | what an operator may set |
//!
//! # What is in force
//!
//! Routes and limits count once they are accepted. Where nobody writes statuses, as for a folder, that is decided on the spot; over an API
//! server it is read from the status ([`settings::Acceptance`]), so that all replicas see the same. Both come from the same functions.
//!
//! A name is answered whether there is such a Service or not, so serve only once the source has told everything that there is: until then a
//! Service would look as if it had no routes.
//!
//! # What it costs
//!
//! A change that concerns policies costs one pass over the objects; each distinct answer that looks at a namespace in which something changed
//! is worked out once, and told only if it differs. Other changes, such as those of endpoints and of the phases of Pods, cost a comparison of
//! pointers. A watcher holds a reference to the answer that it was told last; their number is bounded by [`Settings::max_watchers`].
//!
//! # Where it differs from Linkerd
//!
//! - A port that a Service does not declare is told as such until it does; the answer is not left as it was for ever.
//! - A reference to a parent without a port means an object of its kind only, not every one of the name.
//! - `ResponseHeaderModifier` of the mesh's own HTTPRoute changes responses, not requests.
//! - A gRPC backend that cannot be used answers with the code `UNKNOWN`; 500, which is none, is taken for that by proxies anyway.
//! - A route whose reference to a Server has a port, a section or another namespace is not accepted there, and its status says so.
//! - The annotations of a Namespace stand in for those that a Pod does not have, where the source tells of Namespaces.
//!
//! # Place in the workspace
//!
//! A program crate: it speaks the types of the feature crates, reads objects through `meshkit-manifest` and is put on the wire by `meshkit-wire`.

pub mod acceptance;
pub mod admission;
mod convert;
pub mod faults;
#[cfg(test)]
mod fixture;
pub mod inbound;
pub mod index;
mod mesh;
pub mod model;
pub mod outbound;
pub mod remark;
pub mod service;
pub mod settings;
pub mod status;
pub mod view;
mod workload;

pub use index::Index;
pub use mesh::Mesh;
pub use model::Model;
pub use service::Service;
pub use settings::Settings;
pub use workload::{Unit, Workload};
