//! Talking to the control plane.

pub mod anchors;
pub mod channel;
mod digests;
pub mod discovery;
pub mod dns;
pub mod identity;
pub mod policies;
mod workload_api;

pub use anchors::Anchors;
pub use channel::{Channels, Controller};
pub use digests::Digests;
pub use discovery::Discovery;
pub use identity::Identity;
pub use policies::{Defaults, Policies};
pub use workload_api::WorkloadApi;
