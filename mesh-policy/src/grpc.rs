//! gRPC routes: matches and filters.

use std::sync::Arc;

use ::http::{Method, request::Parts};
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

#[cfg(test)]
mod tests {
    use ::http::Request;
    use meshkit_core::Ratio;

    use super::*;
    use crate::route::{Match as _, ValueMatch};

    fn call(method: Method, path: &str) -> Parts {
        Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0
    }

    fn matching(service: Option<&str>, method: Option<&str>) -> Match {
        Match { service: service.map(str::to_owned), method: method.map(str::to_owned), headers: Vec::new() }
    }

    #[test]
    fn a_call_is_a_post_of_service_and_method() {
        let find = matching(Some("voting.v1.Voting"), Some("Find"));
        assert!(find.matches(&call(Method::POST, "/voting.v1.Voting/Find")).is_some());
        assert!(find.matches(&call(Method::POST, "/voting.v1.Voting/Find/more")).is_some(), "further segments are ignored");
        for (method, path) in [
            (Method::GET, "/voting.v1.Voting/Find"),
            (Method::POST, "/voting.v1.Voting"),
            (Method::POST, "/voting.v1.voting/Find"),
            (Method::POST, "/voting.v1.Voting/"),
        ] {
            assert_eq!(find.matches(&call(method, path)), None, "{path}");
        }
        assert!(matching(None, None).matches(&call(Method::POST, "/a/b")).is_some());
        assert_eq!(matching(None, None).matches(&call(Method::POST, "/a")), None);
    }

    #[test]
    fn service_counts_before_method_before_headers() {
        let request = call(Method::POST, "/ab/cdef");
        let specificity = |m: &Match| m.matches(&request).unwrap();
        let (service, method) = (matching(Some("ab"), None), matching(None, Some("cdef")));
        assert!(specificity(&service) > specificity(&method));
        let not_here = HeaderMatch { name: ::http::header::ACCEPT, value: ValueMatch::Exact(Vec::new()) };
        assert_eq!(Match { headers: vec![not_here], ..Match::default() }.matches(&request), None);
        assert!(specificity(&method) > Match::any());
    }

    #[test]
    fn a_planned_failure_is_a_code() {
        let fail = FailureInjector { response: Code::UNAVAILABLE, message: "planned".into(), share: Ratio::ONE };
        let error = apply(&[Filter::Fail(fail)], &mut call(Method::POST, "/a/b"), &Dice::new(0)).unwrap_err();
        assert_eq!((error.cause(), error.to_string().as_str()), (&Cause::InjectedCode(Code::UNAVAILABLE), "planned"));
    }
}
