//! Installs what the tests need.

use std::process::Command;

use crate::step::{self, cargo, succeeds};

/// Foreign peers of the protocol tests, what redirects connections, and a C compiler: by the Debian package that brings them.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("h2load", "nghttp2-client"),
    ("cc", "gcc"),
    ("c++", "g++"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("setcap", "libcap2-bin"),
];

/// The release that `deny.toml` was written for.
const CARGO_DENY: &str = "0.20.2";

fn apt(packages: &[&str]) -> Result<(), String> {
    let install = |what: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(what);
        step::run(&mut command)
    };
    install(&["update", "-qq"])?;
    install(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}

/// Installs whatever is missing; changes nothing where all is there.
pub(crate) fn run() -> Result<(), String> {
    let has = |program: &str| succeeds("sh", &["-c", &format!("command -v {program}")]);
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        apt(&missing).map_err(|error| format!("{error}; install these yourself: {}", missing.join(" ")))?;
    }
    if !has("cargo-deny") {
        step::run(&mut cargo(&["install", "cargo-deny", "--locked", "--version", CARGO_DENY]))?;
    }
    Ok(())
}
