//! The sidecar proxy, as a library: built from a [`Config`] value, without globals, so that two run in one process.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the settings, and the environment that they are read from |
//! | [`control`] | identity, discovery and policies, kept fresh over watches |
//! | [`net`] | sockets |
//! | [`inbound`], [`outbound`] | the two sides of the data path |
//! | [`endpoint`] | one endpoint's connections |
//! | [`metrics`] | what is counted |
//! | [`program`] | the proxy as a program |

mod access_log;
pub mod config;
pub mod control;
mod driven;
mod edge;
pub mod endpoint;
pub mod inbound;
pub mod metrics;
pub mod net;
pub mod outbound;
pub mod program;
mod proxy;
mod rest;
mod tap;
mod trace;

pub use access_log::AccessLog;
pub use config::Config;
pub use outbound::Client;
pub use proxy::{Proxy, Running};
pub use tap::{Tap, Taps};
pub use trace::Tracer;
