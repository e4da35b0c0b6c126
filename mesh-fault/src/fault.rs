use std::time::Duration;

use http::StatusCode;
use meshkit_core::{Cause, Error, Ratio, grpc::Code};

/// What goes wrong, and for which share of the requests. The delay comes first; each has a die of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fault {
    /// How long a share of the requests waits.
    pub delay: Option<(Duration, Ratio)>,
    /// What a share of the requests is answered with.
    pub abort: Option<(Abort, Ratio)>,
}

/// A planned answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Abort {
    /// An HTTP status.
    Status(StatusCode),
    /// A gRPC code.
    Code(Code),
}

impl Abort {
    pub(crate) fn into_error(self) -> Error {
        Error::new(match self {
            Self::Status(status) => Cause::InjectedStatus(status),
            Self::Code(code) => Cause::InjectedCode(code),
        })
    }
}
