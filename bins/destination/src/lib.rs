//! The destination controller: which endpoints a name has, and what is known of a destination.
//!
//! | module | what it holds |
//! |---|---|
//! | [`target`] | what a proxy asks for |
//! | [`model`] | the answers, as functions of the cluster's objects |
//! | [`service`] | the Destination API over these |

pub mod model;
pub mod service;
pub mod target;

pub use model::Mesh;
pub use service::Service;
