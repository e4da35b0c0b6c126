//! What every Meshkit program needs around its work: threads, signals and drain, an admin server, logs, metrics.
//!
//! Nothing here is global, except the log subscriber that [`logs::install`] sets when a program's `main` asks for it: two
//! programs can run in one process, each with its own [`metrics::Registry`], [`admin::Admin`] and drain.
//!
//! ```
//! use std::time::Duration;
//! use meshkit_runtime::{admin::{Admin, Readiness}, metrics::Registry};
//!
//! let registry = Registry::new(Duration::from_secs(600));
//! let requests = registry.open().counter("requests", "Requests that were answered");
//! let readiness = Readiness::new();
//! let certified = readiness.latch();
//! let admin = Admin::new(readiness, registry);
//! requests.add(1);
//! certified.release();
//! # drop(admin);
//! ```
//!
//! | module | what it has |
//! |---|---|
//! | [`admin`] | the HTTP server for probes, scrapes and the log level |
//! | [`logs`] | the log subscriber and its filter |
//! | [`metrics`] | the registry, the handles and the text encoder |
//! | [`process`] | what the process uses, as metrics |
//! | [`shutdown`] | signals, and a drain with a limit |
//! | [`threads`] | how many workers, and how they run |
//!
//! A kit: it stands on `meshkit-core`, and the programs stand on it.

pub mod admin;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod shutdown;
pub mod threads;
