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
//! On Kubernetes nobody needs the objects but this controller: [`Service::fed`] takes the events themselves and keeps of each object only what
//! answers need.
//!
//! | module | what it holds |
//! |---|---|
//! | [`target`] | what a proxy asks for, and who it is |
//! | [`model`] | the objects as far as they matter ([`model::View`]), and the answers as pure functions of them |
//! | [`index`] | answers that change with the objects, shared by all who ask the same |
//! | [`service`] | the Destination API over these |
//! | [`digests`] | what a watch amounts to, for clients that check it |
//! | [`settings`], [`ports`], [`args`] | what an operator may set, and the flags for it |
//! | [`observe`], [`metrics`] | what is told to whoever measures |
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
//! | more than the bounds allow | `RESOURCE_EXHAUSTED` | `RESOURCE_EXHAUSTED` |
//!
//! A Service that goes away while somebody watches has its endpoints removed and keeps its profile; the streams stay open, for it may come back.
//!
//! # What it costs
//!
//! An object is read when it comes and then let go. What stays is shared wherever it can be: the Pods of one workload have one template, texts are
//! held once, an endpoint of an answer is its address, the name of its Pod, and a reference to what it has in common with others. With 1,000 Services of
//! 20 endpoints and their Pods, an endpoint takes 0.33 KiB of heap, all else included (`tests/memory.rs` counts it).
//!
//! A change says whose answers it may change; only these are worked out again, each distinct one once, with the difference from the one before
//! and the bytes that tell it. There it takes some 20 us from an endpoint that goes until all watchers of its Service have the message, where reading all
//! objects and answering all 5,000 watchers anew takes more than 0.4 s (`benches/change.rs`, on two shared cores).
//!
//! A watcher holds one reference to the answer that it was told last, whatever the size of the answer and the number of watchers, and is woken
//! only if its own answer differs. It takes half a KiB, or 2.1 KiB if nobody else asks the same, the answer included; with its HTTP/2 stream and its
//! share of a connection of 50 streams, 3.6 KiB. There are no queues: a slow client goes from what it knows to the newest state at once, and changes
//! that come together are told together.
//!
//! Bounds are [`Settings::max_questions`], [`Settings::max_streams`] and [`Settings::max_streams_per_client`]; whoever is refused is told which.
//! [`model::EndpointSet::digest`] is the number by which both sides can tell that no update was lost; clients ask for it beside the Destination API.
//!
//! # Where it differs from Linkerd
//!
//! - Slow readers are not disconnected after 100 updates; they skip states.
//! - An endpoint is told again if something that is told of it has changed, and not whenever its Pod has.
//! - A Pod whose address changes has its old address removed, and a changed zone of a node is noticed.
//! - A set of more than 3 MiB comes in several messages, for clients take none of more than 4 MiB.
//! - A Pod that is deleted and still runs keeps its address until another has it: its connections are drained with its identity.
//! - A profile for a port that is not declared follows as soon as the port is; it is not left empty for ever.
//! - A ServiceProfile that cannot be read, and is the first that is seen, counts as if it were not there; a client is not left without an answer.
//! - `profile_ref` is absent where there is no ServiceProfile, instead of empty.
//! - Other clusters are not known: of a Service that is made up of several, the member of this cluster is told. Its streams stay open when it is
//!   made up of others no more.
//!
//! # Place in the workspace
//!
//! A program crate: it speaks the types of the feature crates, reads objects through `meshkit-manifest` and is put on the wire by `meshkit-wire`.

pub mod args;
pub mod digests;
#[cfg(test)]
mod fixture;
pub mod index;
pub mod metrics;
pub mod model;
pub mod observe;
pub mod ports;
pub mod service;
pub mod settings;
mod streams;
pub mod target;

pub use index::Index;
pub use model::Mesh;
pub use observe::Observe;
pub use service::Service;
pub use settings::Settings;
