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

use std::process::ExitCode;

use clap::Subcommand;

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
