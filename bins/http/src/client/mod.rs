//! Clients of one endpoint.

mod h1;
mod h2;
mod idle;

use std::{fmt, io};

pub use h1::Pool;
pub use h2::{Connect, Connection, ResponseFuture, Sending};
pub use idle::{Lease, PoolSettings};

/// Nothing of the request was sent: it may go elsewhere, whatever its method. Found in an error's sources.
#[derive(Debug)]
pub struct NotSent;

/// As [`NotSent`], with what the library said about it beneath.
#[derive(Debug)]
struct Refused(hyper::Error);

impl NotSent {
    /// Is it among the sources of an error?
    #[must_use]
    pub fn is_in(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<Self>() || error.is::<Refused>() {
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
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was sent")
    }
}

impl std::error::Error for NotSent {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NotSent.fmt(f)
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
