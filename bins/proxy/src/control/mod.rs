//! Talking to the control plane.

pub mod channel;
pub mod discovery;
pub mod dns;
pub mod identity;
pub mod policies;
mod workload_api;

pub use channel::{Channels, Controller};
pub use discovery::Discovery;
pub use identity::Identity;
pub use policies::{Defaults, Policies};
pub use workload_api::WorkloadApi;
