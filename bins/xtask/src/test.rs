//! What continuous integration runs.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "no runtime, and no test with a stopped clock")]

use std::time::Instant;

use crate::{
    cluster, fuzz, image, layers,
    step::{cargo, run, say},
};

/// The crates that are published, in the order of their arrows.
const PUBLISHED: &[&str] = &["meshkit-core", "meshkit-balance", "meshkit-tls", "meshkit-policy", "meshkit-retry", "meshkit-fault"];

type Step = (&'static str, fn() -> Result<(), String>);

/// The quick ones first; the tests last, so that the run ends in the test runner's own summary.
const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("clippy", clippy),
    ("doc", doc),
    ("deny", deny),
    ("package", package),
    ("fuzz", fuzz::run),
    ("layers", layers::check),
    ("cluster", cluster::prepare),
    ("tests", tests),
];

pub(crate) fn all() -> Result<(), String> {
    STEPS.iter().try_for_each(|(name, step)| {
        let begun = Instant::now();
        step()?;
        say(&format!("{name}: {} s", begun.elapsed().as_secs()));
        Ok(())
    })
}

pub(crate) fn one(name: &str) -> Result<(), String> {
    match STEPS.iter().find(|(known, _)| *known == name) {
        Some((_, step)) => step(),
        None => Err(format!("no step {name:?}: there are {}", STEPS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))),
    }
}

fn fmt() -> Result<(), String> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), String> {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn doc() -> Result<(), String> {
    run(cargo(&["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> Result<(), String> {
    run(&mut cargo(&["deny", "--workspace", "check", "bans", "licenses", "sources"]))
}

/// Packages what is published, offline: what resolves is in the lock file, and no workspace name comes from the registry.
fn package() -> Result<(), String> {
    let names = PUBLISHED.iter().flat_map(|name| ["-p", name]);
    let args: Vec<_> = ["package", "--offline", "--locked", "--no-verify", "--allow-dirty"].into_iter().chain(names).collect();
    run(&mut cargo(&args))
}

fn tests() -> Result<(), String> {
    let mut test = cargo(&["test", "--workspace", "--locked"]);
    if cluster::is_there() {
        image::as_in_images(&mut test);
    }
    run(&mut test).and(cluster::finish())
}
