//! The programs of this crate on their own: called by their names, or with their name as the first argument.

use std::{env, process::ExitCode};

use meshkit_init::program::named;

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().collect();
    let by_name = args.first().and_then(|name| named(name, args.iter().cloned()));
    let by_argument = || args.get(1).and_then(|name| named(name, args.iter().skip(1).cloned()));
    by_name.or_else(by_argument).unwrap_or_else(|| {
        eprintln!("usage: meshkit-init linkerd2-proxy-init|linkerd2-network-validator|install-cni|linkerd-cni [ARGUMENTS]");
        ExitCode::from(64)
    })
}
