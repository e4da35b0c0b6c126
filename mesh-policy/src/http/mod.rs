//! HTTP routes: matches and filters.

mod path;
mod redirect;
mod rewrite;

use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request::Parts};
use meshkit_core::{Cause, Dice, Error, Ratio};

pub use path::PathModifier;
pub use redirect::{Location, Redirect};
pub use rewrite::Rewrite;

use crate::route::{HeaderMatch, PathMatch, QueryMatch};

/// A condition on a request: everything in it must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// The path.
    pub path: Option<PathMatch>,
    /// The headers.
    pub headers: Vec<HeaderMatch>,
    /// The query.
    pub query: Vec<QueryMatch>,
    /// The method.
    pub method: Option<Method>,
}

/// How specific a match is; compared field by field, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    path_len: usize,
    header_count: usize,
    query_count: usize,
    method: bool,
}

/// How much of a path is matched where a match says nothing about it: as much as by the prefix `/`.
const ROOT_LEN: usize = 1;

/// What happens to a request or response on its way.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Changes the request's headers.
    RequestHeaders(HeaderModifier),
    /// Changes the response's headers.
    ResponseHeaders(HeaderModifier),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes the request's target.
    Rewrite(Rewrite),
    /// Answers with a failure.
    Fail(FailureInjector<StatusCode>),
    /// The policy could not be understood: answers with an internal error that says so.
    InternalError(Arc<str>),
}

/// Changes headers: adds, then sets, then removes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderModifier {
    /// Appended to what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// In place of what is there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Taken away.
    pub remove: Vec<HeaderName>,
}

/// Fails a share of the requests.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureInjector<T> {
    /// What is answered.
    pub response: T,
    /// Why, for the client.
    pub message: Arc<str>,
    /// How many.
    pub share: Ratio,
}

impl crate::route::Match for Match {
    type Specificity = Specificity;

    fn may_match(&self, request: &Parts) -> bool {
        match &self.path {
            Some(path @ (PathMatch::Exact(_) | PathMatch::Prefix(_))) => path.matches(request.uri.path()).is_some(),
            Some(PathMatch::Regex(_)) | None => true,
        }
    }

    fn matches(&self, request: &Parts) -> Option<Specificity> {
        if self.method.as_ref().is_some_and(|method| *method != request.method) {
            return None;
        }
        let path_len = match &self.path {
            Some(path) => path.matches(request.uri.path())?,
            None => ROOT_LEN,
        };
        let holds = self.headers.iter().all(|h| h.matches(request)) && self.query.iter().all(|q| q.matches(request));
        holds.then(|| Specificity {
            path_len,
            header_count: self.headers.len(),
            query_count: self.query.len(),
            method: self.method.is_some(),
        })
    }

    fn any() -> Specificity {
        Specificity { path_len: ROOT_LEN, header_count: 0, query_count: 0, method: false }
    }
}

impl Match {
    /// Every path below `prefix`.
    #[must_use]
    pub fn prefix(prefix: &str) -> Self {
        Self { path: Some(PathMatch::Prefix(prefix.to_owned())), ..Self::default() }
    }
}

impl HeaderModifier {
    /// Changes headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

impl<T: Clone> FailureInjector<T> {
    /// The failure, if this request is one of the share.
    #[must_use]
    pub fn strike(&self, dice: &Dice) -> Option<T> {
        dice.hit(self.share).then(|| self.response.clone())
    }
}

/// Applies the filters of a rule to a request, in their order.
///
/// # Errors
/// A filter answers in the server's place: with a failure, or with a redirect, whose [`Location`] is the error's source.
pub fn apply(filters: &[Filter], request: &mut Parts, matched: Option<&Match>, dice: &Dice) -> Result<(), Error> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(modifier) => modifier.apply(&mut request.headers),
            Filter::ResponseHeaders(_) => {}
            Filter::Fail(injector) => {
                if let Some(status) = injector.strike(dice) {
                    return Err(Error::new(Cause::InjectedStatus(status)).message(injector.message.to_string()));
                }
            }
            Filter::Redirect(redirect) => {
                if let Some(location) = redirect.location(request, matched)? {
                    let status = redirect.status.unwrap_or(StatusCode::MOVED_PERMANENTLY);
                    return Err(Error::new(Cause::Redirected(status)).caused_by(Location(location)));
                }
            }
            Filter::Rewrite(rewrite) => rewrite.apply(request, matched)?,
            Filter::InternalError(message) => return Err(Error::new(Cause::InvalidPolicy).message(message.to_string())),
        }
    }
    Ok(())
}

/// Applies the filters of a rule to the headers of a response, in their order.
pub fn apply_response(filters: &[Filter], headers: &mut HeaderMap) {
    for filter in filters {
        if let Filter::ResponseHeaders(modifier) = filter {
            modifier.apply(headers);
        }
    }
}

#[cfg(test)]
mod tests;
