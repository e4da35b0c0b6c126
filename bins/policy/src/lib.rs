//! The policy controller: what a workload's ports allow, and where its traffic goes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`inbound`], [`outbound`] | the answers, as functions of the cluster's objects |
//! | [`service`] | the policy APIs over these |

pub mod faults;
pub mod inbound;
pub mod outbound;
pub mod service;

pub use inbound::Mesh;
pub use service::Service;
