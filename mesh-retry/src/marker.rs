//! What transports say about a request that failed, so that it may be sent again.

use std::{error::Error as StdError, fmt, io};

/// No byte of the request left this machine: the connection was refused.
///
/// Whoever turns connection failures into responses puts it into the extensions of the response; whoever fails puts it among the sources of
/// the error. Such a request goes once to another endpoint, whatever its method, see [`Retry`](crate::Retry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSent;

/// The server refused the request before it looked at it: HTTP/2 `REFUSED_STREAM`, or a GOAWAY that leaves the stream out (RFC 9113, section
/// 8.7). A source of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing of the request was sent")
    }
}

impl StdError for NotSent {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server refused the request unseen")
    }
}

impl StdError for Refused {}

/// Is a `T` among the error and its sources?
pub(crate) fn carries<T: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<T>() {
            return true;
        }
        // An `io::Error` hides what it wraps from `source()`.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as _),
            None => error.source(),
        };
    }
    false
}
