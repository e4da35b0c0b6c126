//! The destination controller: which endpoints a name has, and what is known of a destination.
//!
//! It serves the Destination API of Linkerd 2.x from the objects of a cluster, be they of an API server or of a folder.
//!
//! ```
//! use std::{path::Path, sync::Arc};
//!
//! use meshkit_destination::{Mesh, Service};
//! use meshkit_manifest::{Cluster, Event, Manifest};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let text = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {ports: [{port: 80}]}}";
//! let mut cluster = Cluster::default();
//! cluster.apply(Event::Reset(Manifest::parse(Path::new("web.yaml"), text).unwrap().objects), |_| true);
//! let cluster = tokio::sync::watch::Sender::new(Arc::new(cluster));
//!
//! let mesh = Mesh { namespace: "linkerd".into(), domain: "cluster.local".into(), trust_domain: "cluster.local".into() };
//! let service = Service::new(cluster.subscribe(), mesh);
//! // For the wire: `meshkit_wire::destination::server(Arc::new(service))`.
//!
//! use meshkit_wire::destination::Resolve;
//! assert!(service.endpoints("web.ns.svc.cluster.local:80", r#"{"nodeName": "n1"}"#).is_ok());
//! assert!(service.profile("none.ns.svc.cluster.local:80", "").is_err());
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`target`] | what a proxy asks for, and who it is |
//! | [`model`] | the answers, as pure functions of the cluster's objects |
//! | [`index`] | answers that change with the cluster, shared by all who ask the same |
//! | [`service`] | the Destination API over these |
//! | [`settings`], [`ports`] | what an operator may set |
//!
//! # What is answered
//!
//! *Endpoints* (`Get`) are asked for by the name of a Service, or of one endpoint below it. They come from EndpointSlices: those that are ready, in
//! the port that the Service's port is called after, filtered by `internalTrafficPolicy` and by topology hints for the node that the client
//! says it runs on. Each is told with the identity of its Pod, what its proxy speaks, and its labels. ExternalWorkloads that a Service selects are
//! endpoints, too, whether somebody wrote slices for them or not.
//!
//! A *profile* (`GetProfile`) is asked for by such a name or by an address: a Service's, a Pod's, that of a workload outside, or anybody's. The
//! ServiceProfile in the client's namespace comes before that in the Service's own, and before the default; they are never mixed.
//!
//! | asked for | `Get` | `GetProfile` |
//! |---|---|---|
//! | no name of the cluster | `INVALID_ARGUMENT` | `INVALID_ARGUMENT` |
//! | an address | `INVALID_ARGUMENT` | a Service, Pod, workload, or a bare endpoint |
//! | an address that two have | | `FAILED_PRECONDITION` |
//! | a Service that is not there | `NOT_FOUND` | `UNKNOWN` |
//! | an endpoint's name that is not there | no endpoints | `NOT_FOUND` |
//! | an ExternalName | `INVALID_ARGUMENT` | `INVALID_ARGUMENT` |
//! | a port that is not declared | the endpoints' own port | an empty profile |
//! | a Service without endpoints | silence | a profile |
//! | a Service of a cluster that is not known | `NOT_FOUND` | a profile |
//!
//! A Service that goes away while somebody watches has its endpoints removed and keeps its profile; the streams stay open, for it may come back.
//!
//! # What it costs
//!
//! A change of the cluster costs one pass over its objects, and each distinct answer that looks at a namespace in which something changed is
//! worked out once, with its difference from the answer before. A watcher holds one reference to the answer that it was told last, whatever the size of the answer and the number of watchers, and
//! is woken only if its own answer differs. There are no queues: a slow client goes from what it knows to the newest state at once.
//! Different questions are bounded by [`Settings::max_questions`]; watchers of one are not. [`model::EndpointSet::digest`] is the number by which both sides can tell that no update was lost.
//!
//! # Where it differs from Linkerd
//!
//! - Slow readers are not disconnected after 100 updates; they skip states.
//! - A Pod whose address changes has its old address removed, and a changed zone of a node is noticed.
//! - A profile for a port that is not declared follows as soon as the port is; it is not left empty for ever.
//! - A ServiceProfile that cannot be read, and is the first that is seen, counts as if it were not there; a client is not left without an answer.
//! - `profile_ref` is absent where there is no ServiceProfile, instead of empty.
//!
//! # Place in the workspace
//!
//! A program crate: it speaks the types of the feature crates, reads objects through `meshkit-manifest` and is put on the wire by `meshkit-wire`.

#[cfg(test)]
mod fixture;
pub mod index;
pub mod model;
pub mod ports;
pub mod service;
pub mod settings;
pub mod target;

pub use index::Index;
pub use model::Mesh;
pub use service::Service;
pub use settings::Settings;
