#![doc = include_str!("../README.md")]

pub mod text;

mod body;
mod delay;
mod fault;
mod future;
mod layer;
mod observe;
mod peers;
mod service;

#[cfg(test)]
mod tests;

pub use body::Throttled;
pub use delay::Delay;
pub use fault::{Abort, Fault, Faults, Kind, Rate};
pub use future::ResponseFuture;
pub use layer::{FaultLayer, Source};
pub use observe::{Counts, Observe};
pub use peers::{InvalidPeer, Peer, Peers, Suffix};
pub use service::Faulty;
pub use text::{InvalidFault, InvalidFaults};
