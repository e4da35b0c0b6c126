//! Installs what the tests need.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use crate::step::{self, cargo, succeeds};

/// Foreign peers of the protocol tests, what redirects connections, and a C compiler: by the Debian package that brings them.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("h2load", "nghttp2-client"),
    ("busybox", "busybox-static"),
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

/// What a package may ask before it starts a service. Ours answers no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

fn apt(packages: &[&str]) -> Result<(), String> {
    let install = |what: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(what);
        step::run(&mut command)
    };
    install(&["update", "-qq"])?;
    without_services(|| install(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat()))
}

/// Programs are wanted, not the services that their packages would start.
fn without_services(install: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{POLICY} cannot be written: {error}");
    let ours = !Path::new(POLICY).exists();
    if ours {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").map_err(failed)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    let done = install();
    if ours {
        fs::remove_file(POLICY).map_err(failed)?;
    }
    done
}

/// Installs the packages whose program, the first of each pair, is missing.
pub(crate) fn install(programs: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt(&missing).map_err(|error| format!("{error}; install these yourself: {}", missing.join(" ")))
}

fn has(program: &str) -> bool {
    succeeds("sh", &["-c", &format!("command -v {program}")])
}

/// Installs whatever is missing; changes nothing where all is there.
pub(crate) fn run() -> Result<(), String> {
    install(PROGRAMS)?;
    if !has("cargo-deny") {
        step::run(&mut cargo(&["install", "cargo-deny", "--locked", "--version", CARGO_DENY]))?;
    }
    Ok(())
}
