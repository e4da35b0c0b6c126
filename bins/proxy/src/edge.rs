//! What the two sides of the proxy do alike at their outer edge.

use std::sync::Arc;

use meshkit_core::{Cause, Error};
use meshkit_http::edge::Location;
use meshkit_policy::http::Location as Redirection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many requests may wait for the head of their response, all connections of one direction together.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    permits: Arc<Semaphore>,
    max: usize,
    /// The setting, for the message.
    setting: &'static str,
}

impl InFlight {
    pub(crate) fn new(max: usize, setting: &'static str) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(max)), max, setting }
    }

    /// A place for one request, or a refusal at once.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let message = format!("service unavailable: {} requests are in flight, which is the limit ({})", self.max, self.setting);
            Error::new(Cause::LoadShed).message(message)
        })
    }
}

/// A redirect's location in the form that answers are made from.
pub(crate) fn located(error: Error) -> Error {
    let location = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<Redirection>()).cloned();
    match location {
        Some(Redirection(location)) => Error::new(error.cause().clone()).message(error.to_string()).caused_by(Location(location)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_too_many_is_refused_at_once_and_the_message_names_the_setting() {
        let limit = InFlight::new(1, "LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT");
        let first = limit.enter().unwrap();
        let refused = limit.enter().unwrap_err();
        assert_eq!(refused.cause(), &Cause::LoadShed);
        assert!(refused.to_string().contains("LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT"), "{refused}");
        drop(first);
        assert!(limit.enter().is_ok());
    }
}
