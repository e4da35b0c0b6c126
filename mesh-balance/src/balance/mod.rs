//! The balancer: a service over a changing set of endpoints.
//!
//! [`Balance`] is the service, cheap to clone. [`Driver`] is its other half, a future to be spawned: it applies updates of discovery, polls
//! endpoints that are not ready, and keeps the time of those who wait. While an endpoint is ready, a request never meets the driver: the
//! future of the call picks and dispatches where it is polled.

mod config;
mod driver;
mod future;
mod queue;
mod service;
mod shared;

pub use config::Config;
pub use driver::{Driver, Run};
pub use future::ResponseFuture;
pub use service::Balance;

#[cfg(test)]
mod tests;
