use ::http::{
    HeaderValue, Uri,
    header::HOST,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use meshkit_core::{Cause, Error};

use super::{Match, PathModifier};

/// Changes what a request asks for. What is `None` stays as it was; the query stays unless the new path has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The host, with a port if it has one.
    pub host: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
}

impl Rewrite {
    /// Changes the target, and the `host` header where there is one or where the target names no host.
    pub(super) fn apply(&self, request: &mut Parts, matched: Option<&Match>) -> Result<(), Error> {
        let mut uri = request.uri.clone().into_parts();
        if let Some(modifier) = &self.path {
            let path = modifier.apply(&request.uri, matched).map_err(|e| invalid(e.message()))?;
            let path = match request.uri.query() {
                Some(query) if !path.contains('?') => PathAndQuery::try_from(format!("{path}?{query}")),
                _ => PathAndQuery::try_from(&*path),
            };
            uri.path_and_query = Some(path.map_err(|_| invalid("the rewritten path is not a path"))?);
        }
        if let Some(host) = &self.host {
            let authority = Authority::try_from(host.as_str()).map_err(|_| invalid("the rewritten host is not a host"))?;
            if uri.authority.is_none() || request.headers.contains_key(HOST) {
                let value = HeaderValue::try_from(host).map_err(|_| invalid("the rewritten host is not a header value"))?;
                request.headers.insert(HOST, value);
            }
            if uri.authority.is_some() {
                uri.authority = Some(authority);
            }
        }
        if uri.authority.is_some() && uri.path_and_query.is_some() && uri.scheme.is_none() {
            // A target of an authority alone has no scheme, and gains a path only together with one.
            uri.scheme = Some(Scheme::HTTP);
        }
        request.uri = Uri::from_parts(uri).map_err(|_| invalid("the rewritten parts do not make a URI"))?;
        Ok(())
    }
}

fn invalid(why: &'static str) -> Error {
    Error::new(Cause::InvalidPolicy).message(why)
}
