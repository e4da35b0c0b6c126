//! Enforces the policy of a port on the requests of a connection.
//!
//! Each request meets one generation of the policy, in this order: it takes a route (or none: 404), is authorized on it (403), is changed by
//! the route's filters, and is counted against the rate limit (429). So what a filter answers does not use the limit up.

mod future;
mod layer;
mod observe;
mod service;

pub use future::ResponseFuture;
pub use layer::PolicyLayer;
pub use observe::Observe;
pub use service::Policy;

#[cfg(test)]
mod tests;
