//! The `mesh` command: every program of the mesh in one binary.

// Nobody depends on this crate: whoever matches on its enums stands in it.
#![allow(clippy::exhaustive_enums)]

mod access;
mod answer;
pub mod args;
mod chart;
mod check;
mod cluster;
mod controller;
pub mod demo;
mod fetch;
mod identity;
mod inject;
mod install;
mod profile;
pub mod run;
mod sidecar;
pub mod stat;
mod tap;
mod values;
mod version;
mod words;

/// The state of a run lies in this folder below its manifests, where the folder source does not look.
pub const STATE_DIR: &str = ".mesh";
