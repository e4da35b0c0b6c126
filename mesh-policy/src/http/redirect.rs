use std::fmt;

use ::http::{
    HeaderValue, StatusCode, Uri,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use meshkit_core::{Cause, Error};

use super::{Match, PathModifier};

/// Where a client is sent. What is `None` stays as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redirect {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path. A whole one replaces the query, too.
    pub path: Option<PathModifier>,
    /// 301 unless said otherwise.
    pub status: Option<StatusCode>,
}

/// Where a redirect leads: the source of its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(pub HeaderValue);

impl Redirect {
    /// The new location, or `None` if it is the old one.
    pub(super) fn location(&self, request: &Parts, matched: Option<&Match>) -> Result<Option<HeaderValue>, Error> {
        let uri = &request.uri;
        let scheme = self.scheme.clone().or_else(|| uri.scheme().cloned()).unwrap_or(Scheme::HTTP);
        let authority = self.authority(uri, &scheme)?;
        let path = self.path_and_query(uri, matched)?;
        let location = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
        let location = location.map_err(|_| invalid("the redirect's parts do not make a URI"))?;
        if location == *uri {
            return Ok(None);
        }
        HeaderValue::try_from(ascii(&location.to_string())).map(Some).map_err(|_| invalid("the redirect's location is not a header value"))
    }

    fn authority(&self, uri: &Uri, scheme: &Scheme) -> Result<Authority, Error> {
        let old = uri.authority();
        if self.host.is_none() && self.port.is_none() {
            return old.cloned().ok_or_else(|| invalid("a redirect without a host needs the request's authority"));
        }
        let host = self.host.as_deref().or(old.map(Authority::host));
        let host = host.ok_or_else(|| invalid("a redirect without a host needs the request's authority"))?;
        let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        let port = self.port.or_else(|| old.and_then(Authority::port_u16)).filter(|port| *port != default);
        let authority = match port {
            Some(port) => Authority::try_from(format!("{host}:{port}")),
            None => Authority::try_from(host),
        };
        authority.map_err(|_| invalid("the redirect's host is not a host"))
    }

    fn path_and_query(&self, uri: &Uri, matched: Option<&Match>) -> Result<PathAndQuery, Error> {
        let Some(modifier) = &self.path else {
            return Ok(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        };
        let path = modifier.apply(uri, matched).map_err(|e| invalid(e.message()))?;
        let path = match (modifier, uri.query()) {
            (PathModifier::Prefix(_), Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")),
            _ => PathAndQuery::try_from(&*path),
        };
        path.map_err(|_| invalid("the redirect's path is not a path"))
    }
}

/// Percent-encodes what is not ASCII: RFC 3986 knows no other bytes, and clients differ in what they make of them.
fn ascii(uri: &str) -> String {
    uri.bytes().fold(String::with_capacity(uri.len()), |mut ascii, byte| {
        if byte.is_ascii() {
            ascii.push(char::from(byte));
        } else {
            ascii.push_str(&format!("%{byte:02X}"));
        }
        ascii
    })
}

fn invalid(why: &'static str) -> Error {
    Error::new(Cause::InvalidRedirect).message(why)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redirected to {:?}", self.0)
    }
}

impl std::error::Error for Location {}
