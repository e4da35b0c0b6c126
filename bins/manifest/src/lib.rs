//! The Kubernetes kinds that the mesh reads, as plain serde types, and the folder that they can be read from.
//!
//! | module | what it holds |
//! |---|---|
//! | [`meta`] | names, labels, selectors |
//! | [`core`] | Services, Pods, EndpointSlices, workloads |
//! | [`policy`] | the kinds of `policy.linkerd.io` |
//! | [`object`] | any of them |
//! | [`Manifest`] | from text to objects, with the place of every fault |
//! | [`validate`] | what an admission webhook refuses |
//! | [`Folder`] | a folder of manifests, and the changes to it |

mod cluster;
pub mod core;
mod event;
mod folder;
pub mod meta;
pub mod object;
mod parse;
pub mod policy;
pub mod validate;

pub use cluster::Cluster;
pub use event::Event;
pub use folder::{Folder, MAX_OBJECTS};
pub use object::{Key, Kind, Object};
pub use parse::{Fault, Ignored, MAX_FILE_LEN, Manifest};
