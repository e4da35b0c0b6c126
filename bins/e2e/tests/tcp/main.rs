//! Bytes and HTTP of every kind between two workloads, each behind a real proxy. The workloads' ends are raw sockets of this test, openssl, and
//! the bare HTTP/2 library.

#![allow(clippy::unwrap_used)] // What a test cannot unwrap is its finding.

mod bytes;
mod folder;
mod http;
mod mirror;
mod others;
mod streams;
