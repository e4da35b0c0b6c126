//! HTTP routes: matches and filters.

use std::sync::Arc;

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use meshkit_core::{Cause, Dice, Error, Ratio};

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

/// Where a client is sent. What is `None` stays as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redirect {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathModifier>,
    /// 301 unless said otherwise.
    pub status: Option<StatusCode>,
}

/// Changes a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // The two of the Gateway API.
pub enum PathModifier {
    /// The whole path.
    Full(String),
    /// The prefix that the route matched.
    Prefix(String),
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

    fn matches(&self, request: &Parts) -> Option<Specificity> {
        if self.method.as_ref().is_some_and(|method| *method != request.method) {
            return None;
        }
        let path_len = match &self.path {
            Some(path) => path.matches(request.uri.path())?,
            None => 0,
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
        Specificity { path_len: 1, header_count: 0, query_count: 0, method: false }
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
/// A filter answers in the server's place: with a failure, or with a redirect, whose location is the error's source.
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
            Filter::InternalError(message) => return Err(Error::new(Cause::InvalidPolicy).message(message.to_string())),
        }
    }
    Ok(())
}

/// Where a redirect leads: the source of its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(pub HeaderValue);

impl Redirect {
    /// The new location, or `None` if it is the old one.
    fn location(&self, request: &Parts, matched: Option<&Match>) -> Result<Option<HeaderValue>, Error> {
        let invalid = |why: &'static str| Error::new(Cause::InvalidRedirect).message(why);
        let uri = &request.uri;
        let scheme = self.scheme.clone().or_else(|| uri.scheme().cloned()).unwrap_or(Scheme::HTTP);
        let old = uri.authority().ok_or_else(|| invalid("a redirect needs the request's authority"))?;
        let host = self.host.as_deref().unwrap_or(old.host());
        let old_port = old.port_u16();
        let default_port = if scheme == Scheme::HTTPS { 443 } else { 80 };
        let kept = if self.scheme.is_some() { None } else { old_port };
        let port = self.port.or(kept).filter(|port| *port != default_port);
        let authority = match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let authority = Authority::try_from(authority).map_err(|_| invalid("the redirect's host is not a host"))?;

        let path = match &self.path {
            None => uri.path().to_owned(),
            Some(PathModifier::Full(path)) => path.clone(),
            Some(PathModifier::Prefix(prefix)) => {
                let Some(PathMatch::Prefix(old)) = matched.and_then(|m| m.path.as_ref()) else {
                    return Err(invalid("a prefix can be replaced only where one was matched"));
                };
                let rest = uri.path().strip_prefix(old.trim_end_matches('/')).unwrap_or_default();
                match format!("{}/{}", prefix.trim_end_matches('/'), rest.trim_start_matches('/')) {
                    path if rest.is_empty() => path.trim_end_matches('/').to_owned(),
                    path => path,
                }
            }
        };
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let path = match (uri.query(), &self.path) {
            (Some(query), _) if !path.contains('?') => format!("{path}?{query}"),
            _ => path,
        };
        let path = PathAndQuery::try_from(path).map_err(|_| invalid("the redirect's path is not a path"))?;
        let location = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
        let location = location.map_err(|_| invalid("the redirect's parts do not make a URI"))?;
        if location == *uri {
            return Ok(None);
        }
        HeaderValue::try_from(location.to_string()).map(Some).map_err(|_| invalid("the redirect's location is not a header value"))
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "redirected to {:?}", self.0)
    }
}

impl std::error::Error for Location {}
