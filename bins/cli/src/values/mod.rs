//! The values of a mesh as a tree, with the names and defaults of the charts: what files, `--set` and flags put into it, and what is read out of it.

mod proxy_flags;
mod set;
mod tree;

pub(crate) use proxy_flags::{ProxyFlags, faults};
pub(crate) use set::{Kind, parse};
pub(crate) use tree::{DEFAULTS, HIGH_AVAILABILITY, Tree};
