//! Side by side: what a request costs here and elsewhere.
//!
//! Every proxy stands in the same place:
//!
//! ```text
//! load generator -> outbound proxy -> mutual TLS -> two inbound proxies -> two servers
//! ```
//!
//! [`peer`] starts the proxies, [`load`] the load, [`usage`] reads what the proxies' processes have used, [`scenario`] says what is measured, and
//! [`report`] makes a page of it. `cargo xtask bench` does all of that.

pub mod certificates;
pub mod command;
pub mod floor;
pub mod load;
pub mod machine;
pub mod measure;
pub mod peer;
pub mod process;
pub mod report;
pub mod scenario;
pub mod server;
pub mod statistics;
pub mod syscalls;
pub mod tcp;
pub mod tools;
pub mod usage;
