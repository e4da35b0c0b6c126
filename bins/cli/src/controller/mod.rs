//! The controllers of a mesh on Kubernetes, each a program of its own in a pod: `mesh controller NAME`.
//!
//! What they decide is in their crates. Here stands what makes a program of it: flags, objects from the API server, ports, an end.

mod destination;
mod flags;
mod grpc;
mod identity;
mod injector;
mod policy;
mod program;
mod source;
mod validator;

use std::{ffi::OsString, process::ExitCode};

use clap::Subcommand;

/// The word before the name of a controller.
const WORD: &str = "controller";

/// Which one.
#[derive(Debug, Subcommand)]
pub(crate) enum Controller {
    /// Knows which endpoints a name has
    Destination(destination::Flags),
    /// Signs the certificates of workloads
    Identity(identity::Flags),
    /// Knows what is allowed, and where traffic goes
    Policy(Box<policy::Flags>),
    /// Gives pods their proxies
    ProxyInjector(injector::Flags),
    /// Says whether a ServiceProfile can be taken
    SpValidator(validator::Flags),
}

impl Controller {
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Self::Destination(flags) => destination::run(flags),
            Self::Identity(flags) => identity::run(flags),
            Self::Policy(flags) => policy::run(*flags),
            Self::ProxyInjector(flags) => injector::run(flags),
            Self::SpValidator(flags) => validator::run(flags),
        }
    }
}

/// The words of a command line, with the flags of a controller as everybody else writes them: charts know them with one dash, too.
pub(crate) fn words(words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == WORD) { meshkit_destination::args::go_flags(words).collect() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_controllers_take_long_flags_with_one_dash() {
        let told = |text: &str| words(text.split(' ').map(OsString::from).collect()).join(" ".as_ref()).into_string().unwrap();
        assert_eq!(
            told("mesh controller destination -addr=:8086 --metrics-addr=:1"),
            "mesh controller destination --addr=:8086 --metrics-addr=:1"
        );
        assert_eq!(told("mesh tap -max 3"), "mesh tap -max 3");
    }
}
