//! The policy controller: what a workload's ports allow.
//!
//! | module | what it holds |
//! |---|---|
//! | [`inbound`] | the answers, as functions of the cluster's objects |
//! | [`service`] | the policy APIs over these |

pub mod inbound;
pub mod service;

pub use inbound::Mesh;
pub use service::Service;
