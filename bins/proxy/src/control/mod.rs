//! Talking to the control plane.

pub mod channel;
pub mod discovery;
pub mod dns;
pub mod identity;
pub mod policies;

pub use channel::{Channels, Controller};
pub use discovery::Discovery;
pub use identity::Identity;
pub use policies::{Defaults, Policies};
