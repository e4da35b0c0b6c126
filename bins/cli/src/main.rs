//! The `mesh` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshkit_cli::args::main()
}
