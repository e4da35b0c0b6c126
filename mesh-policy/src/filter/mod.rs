//! Applies the filters of one rule to requests and their responses.
//!
//! For the way out, where each rule or backend has a stack of its own; on the way in, [`PolicyLayer`](crate::PolicyLayer) applies them.

mod future;
mod kind;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use kind::Kind;
pub use layer::FilterLayer;
pub use service::Filter;

#[cfg(test)]
mod tests;
