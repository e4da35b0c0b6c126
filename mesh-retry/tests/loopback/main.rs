//! The layers over real connections on the loopback.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

mod net;
mod retries;
mod timeouts;
