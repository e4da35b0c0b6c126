//! The proxy with real sockets, and peers that are not ours: bytes as nobody's library would send them, openssl, curl.
//!
//! One program of many tests, because each program has to be linked.

#![allow(clippy::unwrap_used)] // Everything in here is a test.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod anchors;
mod certificates;
mod frames;
mod header;
mod hello;
mod http1;
mod http2;
mod outbound;
mod spiffe;
mod tap;
mod traces;
mod two_proxies;
