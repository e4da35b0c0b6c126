//! gRPC routes: matches and filters.

use std::sync::Arc;

use http::{Method, request::Parts};
use meshkit_core::{Cause, Dice, Error, grpc::Code};

use crate::{
    http::{FailureInjector, HeaderModifier},
    route::HeaderMatch,
};

/// A condition on a call: everything in it must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// The service, with its package.
    pub service: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The headers.
    pub headers: Vec<HeaderMatch>,
}

/// How specific a match is; compared field by field, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    service_len: usize,
    method_len: usize,
    header_count: usize,
}

/// What happens to a call on its way.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Changes the request's headers.
    RequestHeaders(HeaderModifier),
    /// Answers with a failure.
    Fail(FailureInjector<Code>),
    /// The policy could not be understood: answers with an internal error that says so.
    InternalError(Arc<str>),
}

impl crate::route::Match for Match {
    type Specificity = Specificity;

    fn matches(&self, request: &Parts) -> Option<Specificity> {
        if request.method != Method::POST {
            return None;
        }
        let mut segments = request.uri.path().strip_prefix('/')?.split('/');
        let (service, method) = (segments.next()?, segments.next()?);
        let part = |wanted: &Option<String>, found: &str| match wanted {
            Some(wanted) => (wanted == found).then_some(wanted.len()),
            None => Some(0),
        };
        let (service_len, method_len) = (part(&self.service, service)?, part(&self.method, method)?);
        let holds = self.headers.iter().all(|h| h.matches(request));
        holds.then_some(Specificity { service_len, method_len, header_count: self.headers.len() })
    }

    fn any() -> Specificity {
        Specificity { service_len: 0, method_len: 0, header_count: 0 }
    }
}

/// Applies the filters of a rule to a call, in their order.
///
/// # Errors
/// A filter answers in the server's place.
pub fn apply(filters: &[Filter], request: &mut Parts, dice: &Dice) -> Result<(), Error> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(modifier) => modifier.apply(&mut request.headers),
            Filter::Fail(injector) => {
                if let Some(code) = injector.strike(dice) {
                    return Err(Error::new(Cause::InjectedCode(code)).message(injector.message.to_string()));
                }
            }
            Filter::InternalError(message) => return Err(Error::new(Cause::InvalidPolicy).message(message.to_string())),
        }
    }
    Ok(())
}
