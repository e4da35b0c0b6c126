//! What injection adds to a workload, as pure functions: the webhook, the command line and `mesh run` answer alike.

pub mod environment;

pub use environment::{Mesh, Workload, environment};
