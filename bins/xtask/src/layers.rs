//! Counts the instructions of each layer, and compares them with what is stated.

use std::env;

use crate::{
    setup,
    step::{self, cargo},
};

/// Fails where a layer spends more than it did; with `write`, states what it spends now.
pub(crate) fn run(write: bool) -> Result<(), String> {
    setup::install(&[("valgrind", "valgrind")])?;
    let mut command = cargo(&["run", "--release", "--locked", "-p", "meshkit-layers", "--"]);
    // Other code for the same lines would be counted otherwise.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    if write {
        command.arg("--write");
    }
    step::run(&mut command)
}

/// As a step of the tests: only processors of this kind spend the stated numbers.
pub(crate) fn check() -> Result<(), String> {
    if env::consts::ARCH == "x86_64" {
        return run(false);
    }
    step::say("instructions are not counted: the stated ones are those of x86_64");
    Ok(())
}
