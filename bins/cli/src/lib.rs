//! The `mesh` command: every program of the mesh in one binary.

// Nobody depends on this crate: whoever matches on its enums stands in it.
#![allow(clippy::exhaustive_enums)]

pub mod args;
pub mod demo;
mod fetch;
pub mod run;
pub mod stat;

/// The state of a run lies in this folder below its manifests, where the folder source does not look.
pub const STATE_DIR: &str = ".mesh";
