//! The bench program.

use std::process::ExitCode;

use clap::Parser as _;
use meshkit_bench::command::Args;

fn main() -> ExitCode {
    Args::parse().run()
}
