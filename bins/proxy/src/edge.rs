//! What the two sides of the proxy do alike at their outer edge.

use meshkit_core::Error;
use meshkit_http::edge::Location;
use meshkit_policy::http::Location as Redirection;

/// A redirect's location in the form that answers are made from.
pub(crate) fn located(error: Error) -> Error {
    let location = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<Redirection>()).cloned();
    match location {
        Some(Redirection(location)) => Error::new(error.cause().clone()).message(error.to_string()).caused_by(Location(location)),
        None => error,
    }
}
