//! The Kubernetes kinds that the mesh reads, as plain serde types, and the folder that they can be read from.
//!
//! ```
//! use std::path::Path;
//!
//! use meshkit_manifest::{Manifest, Object};
//!
//! let text = "
//! apiVersion: policy.linkerd.io/v1beta3
//! kind: Server
//! metadata: {name: web-http, namespace: emojivoto}
//! spec:
//!   podSelector: {matchLabels: {app: web-svc}}
//!   port: 8080
//!   proxyProtocol: HTTP/3
//! ";
//! let faults = Manifest::parse(Path::new("web.yaml"), text).unwrap_err();
//! assert!(faults[0].to_string().starts_with("web.yaml:8: Server: spec.proxyProtocol: unknown variant `HTTP/3`"));
//!
//! let manifest = Manifest::parse(Path::new("web.yaml"), &text.replace("HTTP/3", "HTTP/2")).unwrap();
//! let Object::Server(server) = &manifest.objects[0] else { panic!() };
//! assert!(server.spec.pod_selector.as_ref().unwrap().matches(&[("app".into(), "web-svc".into())].into()));
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`meta`] | names, labels, selectors |
//! | [`core`] | Services, Pods, EndpointSlices, workloads |
//! | [`policy`], [`traffic`] | the kinds of `policy.linkerd.io` |
//! | [`route`] | HTTPRoute (of both groups), GRPCRoute, TLSRoute, TCPRoute |
//! | [`profile`] | ServiceProfiles |
//! | [`external`] | workloads outside the cluster |
//! | [`object`] | any of them |
//! | [`Manifest`] | from text to objects, with the place of every fault |
//! | [`annotations`] | what annotations say of retries and timeouts |
//! | [`validate`] | what an admission webhook refuses |
//! | [`Folder`] | a folder of manifests, and the changes to it |
//!
//! # How strictly it reads
//!
//! A field that is `null` counts as missing. Fields that a type does not know are passed over, because Kubernetes has many more than the mesh reads;
//! but outside `metadata` and `status` of the mesh's own kinds (groups that end in `linkerd.io`) such a field of a file is a fault: a misspelt `accessPolicy` must
//! not open a port. Objects of the API server ([`Object::from_json`]) are read without that rule, for a later version may have added fields.
//! YAML's `yes`, `on` and `n` are text: only `true` and `false` are truth values. Objects without a namespace are in `default`. Documents of other kinds are no faults; they are listed in [`Manifest::ignored`].
//!
//! # Bounds
//!
//! A file has at most [`MAX_FILE_LEN`] bytes, a folder at most [`MAX_OBJECTS`] objects. Nesting, aliases and expressions are bounded, too.
//!
//! # Place in the workspace
//!
//! A kit: it depends on `meshkit-core` alone. Controllers, injector and `mesh run` are built on it; the API server's own types appear nowhere else.

pub mod annotations;
mod cluster;
pub mod core;
mod duration;
mod event;
pub mod external;
mod folder;
pub mod meta;
pub mod object;
mod parse;
pub mod policy;
pub mod profile;
mod read;
pub mod route;
pub mod traffic;
mod tree;
pub mod validate;

pub use cluster::Cluster;
pub use duration::{GoDuration, InvalidDuration};
pub use event::Event;
pub use folder::{Folder, MAX_OBJECTS};
pub use object::{InvalidObject, Key, Kind, Object};
pub use parse::{Fault, Ignored, MAX_FILE_LEN, Manifest};
