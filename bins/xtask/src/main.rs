//! Development tasks: `cargo xtask setup | test | image | cluster | layers | bench`. Standard library only, so that it builds in a second.

mod bench;
mod cluster;
mod fuzz;
mod image;
mod layers;
mod setup;
mod step;
mod test;

use std::{env, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask <task>

  setup         install what the tests need and this machine lacks (as root, from Debian's packages and the crate registry)
  test          set up, then everything that continuous integration runs
  test --only STEP   one step: fmt, clippy, doc, deny, package, fuzz, layers, cluster, tests
  layers [--write]   count the instructions of each layer and compare them with what is stated; --write: state them";

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["setup"] => setup::run(),
        ["test"] => setup::run().and_then(|()| test::all()),
        ["test", "--only", step] => test::one(step),
        ["image", rest @ ..] => match image::run(rest) {
            Some(done) => done,
            None => return usage(),
        },
        ["cluster", rest @ ..] => match cluster::run(rest) {
            Some(done) => done,
            None => return usage(),
        },
        ["layers"] => layers::run(false),
        ["layers", "--write"] => layers::run(true),
        ["bench", rest @ ..] => bench::run(rest),
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}\n{}\n  {}\n  {}", bench::USAGE, image::USAGE, cluster::USAGE);
    ExitCode::from(64)
}
