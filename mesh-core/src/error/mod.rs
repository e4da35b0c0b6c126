//! What went wrong on the request path, in one type and one table.
//!
//! A layer fails with [`Error`]. Its [`Cause`] is one of a closed set, and [`Cause::answer`] is the one table that says what a cause looks
//! like from outside: HTTP status, gRPC code, whether the connection closes, metric labels. The table is applied at two edges: at the
//! endpoint for transport failures, so that retries and breakers see a response, and at the outer edge for the rest.

mod cause;

use std::{borrow::Cow, error::Error as StdError, fmt, io};

pub use cause::{Answer, Cause, Connection};

type Source = Box<dyn StdError + Send + Sync>;

/// A failed call: why, where, and what lies beneath.
///
/// `Display` gives the contexts, outermost first, then this level's message; the rest is in `source()`.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    cause: Cause,
    message: Option<Cow<'static, str>>,
    /// Innermost first: each layer that an error passes appends itself.
    context: Vec<Cow<'static, str>>,
    source: Option<Source>,
}

impl Error {
    /// An error with the message of its cause.
    #[must_use]
    pub fn new(cause: Cause) -> Self {
        Self(Box::new(Inner { cause, message: None, context: Vec::new(), source: None }))
    }

    /// Says more than the cause does: names the thing, the value seen, the value wanted.
    #[must_use]
    pub fn message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = Some(message.into());
        self
    }

    /// Adds what lies beneath.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds where it happened: `backend emoji-svc.emojivoto:8080`. Called by each layer on the way out.
    #[must_use]
    pub fn within(mut self, place: impl Into<Cow<'static, str>>) -> Self {
        self.0.context.push(place.into());
        self
    }

    /// Why the call failed.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// Finds the mesh error in a chain of sources, the outermost one first.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            // An `io::Error` hides what it wraps from `source()`.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match wrapped {
                Some(inner) => Some(inner as _),
                None => error.source(),
            };
        }
        None
    }

    /// Takes any boxed error: a mesh error as it is, anything else as [`Cause::Unexpected`].
    #[must_use]
    pub fn from_boxed(error: Source) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(other) => Self::new(Cause::Unexpected).caused_by(other),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.context.iter().rev() {
            write!(f, "{place}: ")?;
        }
        match &self.0.message {
            Some(message) => f.write_str(message),
            None => self.0.cause.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_outermost_first_and_the_source_is_not_repeated() {
        let error = Error::new(Cause::Io)
            .message("connection refused")
            .caused_by(io::Error::from(io::ErrorKind::ConnectionRefused))
            .within("endpoint 10.0.0.1:80")
            .within("backend web:80");
        assert_eq!(error.to_string(), "backend web:80: endpoint 10.0.0.1:80: connection refused");
        assert!(error.source().is_some());
    }

    #[test]
    fn a_mesh_error_is_found_beneath_others() {
        let inner = Error::new(Cause::FailFast);
        let outer = io::Error::other(inner);
        assert_eq!(Error::find(&outer).map(Error::cause), Some(&Cause::FailFast));
        assert_eq!(Error::from_boxed(Box::new(outer)).cause(), &Cause::Unexpected);
    }

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
