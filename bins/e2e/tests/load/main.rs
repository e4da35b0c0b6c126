//! The demo under load, while its processes are killed and its ports are given what they do not expect.

#![allow(clippy::unwrap_used)] // What a test cannot unwrap is its finding.

mod clients;
mod hostile;
mod kill;
mod processes;
