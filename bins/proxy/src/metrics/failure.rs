//! Why an exchange broke, in the words of the metric labels.

use meshkit_core::{Cause, Error};
use meshkit_http::edge::reset_reason;
use meshkit_runtime::metrics::{LabelWriter, Labels};

/// Why an exchange broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// A limit in time: the label of the route families says which.
    Timeout(&'static str),
    /// The peer reset its HTTP/2 stream, with this code.
    Reset(u32),
    /// Anything that has a row in the table of causes: its label in the route families.
    Cause(&'static str),
    /// Nothing is known about it.
    Unknown,
}

impl Failure {
    /// What an error means, by the innermost thing that is known about it.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        if let Some(reason) = reset_reason(error) {
            return Self::Reset(reason.into());
        }
        match Error::find(error) {
            Some(error) => Self::of_cause(error.cause()),
            None => Self::Unknown,
        }
    }

    fn of_cause(cause: &Cause) -> Self {
        let label = cause.answer().route_label;
        match cause {
            Cause::RequestTimeout(_)
            | Cause::ResponseTimeout(_)
            | Cause::HeadersTimeout(_)
            | Cause::IdleTimeout(_)
            | Cause::ProfileTimeout(_) => Self::Timeout(label),
            _ if label == "UNKNOWN" => Self::Unknown,
            _ => Self::Cause(label),
        }
    }

    /// The label `error` of the route families.
    pub(crate) const fn route_label(self) -> &'static str {
        match self {
            Self::Timeout(label) | Self::Cause(label) => label,
            Self::Reset(7) => "REFUSED",
            Self::Reset(8) => "CANCEL",
            Self::Reset(11) => "ENHANCE_YOUR_CALM",
            Self::Reset(_) => "RESET",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The label `error` of the request families.
impl Labels for Failure {
    fn write(&self, out: &mut LabelWriter<'_>) {
        match self {
            Self::Timeout(_) => out.pair("error", "timeout"),
            Self::Reset(code) => out.pair("error", format_args!("h2({:?})", h2::Reason::from(*code))),
            Self::Cause(_) | Self::Unknown => out.pair("error", "unclassified"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failure_is_named_by_what_is_known_of_it() {
        let second = Duration::from_secs(1);
        let of = |cause| Failure::of(&Error::new(cause));
        assert_eq!(of(Cause::IdleTimeout(second)), Failure::Timeout("IDLE_TIMEOUT"));
        assert_eq!(of(Cause::FailFast), Failure::Cause("FAIL_FAST"));
        assert_eq!(of(Cause::Unexpected), Failure::Unknown);
        assert_eq!(Failure::of(&std::io::Error::other("?")), Failure::Unknown);
        assert_eq!(Failure::Reset(8).route_label(), "CANCEL");
        assert_eq!(Failure::Reset(1).route_label(), "RESET");
    }
}
