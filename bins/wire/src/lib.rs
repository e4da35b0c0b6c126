//! The protobuf messages of the mesh APIs to and from the crates' types, both ways, and the clients that keep a watch alive.

mod channel;
pub mod client;
pub mod destination;
pub mod extension;
pub mod identity;
pub mod inbound;
mod invalid;
mod meta;
mod net;
pub mod outbound;
pub mod profile;
mod refused;
mod route;
pub mod spiffe;
pub mod tap;
pub mod trace;
pub mod watch;

pub use channel::Channel;
pub use invalid::Invalid;
pub use refused::Refused;
