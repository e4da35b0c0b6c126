//! Clients of one endpoint.

mod h1;
mod h2;

use std::fmt;

pub use h1::{Pool, PoolSettings};
pub use h2::{Connect, Connection, ResponseFuture, Sending};

/// Nothing of the request was sent: it may go elsewhere, whatever its method. Found in an error's sources.
#[derive(Debug)]
pub struct NotSent;

impl NotSent {
    /// Is it among the sources of an error?
    #[must_use]
    pub fn is_in(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<Self>() {
                return true;
            }
            next = error.source();
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
