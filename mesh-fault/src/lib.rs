#![doc = include_str!("../README.md")]

mod fault;
mod layer;

pub use fault::{Abort, Fault};
pub use layer::{Counts, FaultLayer, Faulty, ResponseFuture};
