//! HTTP/1 carried over HTTP/2 between two proxies, with the original version told in a header that neither application sees.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version,
    header::{TRANSFER_ENCODING, UPGRADE},
};
use meshkit_core::{Cause, Error};

use crate::{edge::reset_reason, hop, normalize::AbsoluteForm};

/// Tells the original version, and the form of the target.
pub const L5D_ORIG_PROTO: HeaderName = HeaderName::from_static("l5d-orig-proto");

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const HTTP_11: HeaderValue = HeaderValue::from_static("HTTP/1.1");
const HTTP_10: HeaderValue = HeaderValue::from_static("HTTP/1.0");
const HTTP_11_ABSOLUTE: HeaderValue = HeaderValue::from_static("HTTP/1.1; absolute-form");
const HTTP_10_ABSOLUTE: HeaderValue = HeaderValue::from_static("HTTP/1.0; absolute-form");

/// Does a request want its connection turned into something else? Those travel as they are.
#[must_use]
pub fn wants_upgrade<B>(request: &Request<B>) -> bool {
    if request.version() != Version::HTTP_11 {
        return false;
    }
    request.method() == Method::CONNECT || wanted(request.headers()).next().is_some()
}

/// Leaves of the protocols that a request wants to switch to all but HTTP/2: its requests would pass through without being looked at.
pub fn refuse_h2c<B>(request: &mut Request<B>) {
    request.headers_mut().remove(HTTP2_SETTINGS);
    if request.headers().get_all(UPGRADE).iter().any(|value| value.as_bytes().to_ascii_lowercase().windows(3).any(|w| w == b"h2c")) {
        let rest: Vec<_> = wanted(request.headers()).collect();
        match HeaderValue::try_from(rest.join(", ")) {
            Ok(rest) if !rest.is_empty() => drop(request.headers_mut().insert(UPGRADE, rest)),
            _ => drop(request.headers_mut().remove(UPGRADE)),
        }
    }
}

/// The protocols that a request wants to switch to, HTTP/2 aside.
fn wanted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let tokens = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tokens.map(str::trim).filter(|token| !token.is_empty() && !token.eq_ignore_ascii_case("h2c"))
}

/// Turns an HTTP/1 request into HTTP/2, at the client's proxy. Returns the version to be restored in the response, or `None` where the request
/// is HTTP/2 already.
pub fn upgrade<B>(request: &mut Request<B>) -> Option<Version> {
    let version = request.version();
    let absolute = request.extensions().get::<AbsoluteForm>().is_some();
    let original = match (version, absolute) {
        (Version::HTTP_11, false) => HTTP_11,
        (Version::HTTP_11, true) => HTTP_11_ABSOLUTE,
        (Version::HTTP_10, false) => HTTP_10,
        (Version::HTTP_10, true) => HTTP_10_ABSOLUTE,
        _ => return None,
    };
    request.headers_mut().insert(L5D_ORIG_PROTO, original);
    request.headers_mut().remove(TRANSFER_ENCODING);
    *request.version_mut() = Version::HTTP_2;
    Some(version)
}

/// Restores the version of a response, at the client's proxy.
pub fn restore<B>(response: &mut Response<B>, request_version: Version) {
    let told = response.headers_mut().remove(L5D_ORIG_PROTO);
    *response.version_mut() = told.as_ref().and_then(version_of).unwrap_or(request_version);
}

/// The failure of an upgraded exchange, at the client's proxy: an HTTP/1 client never sees that HTTP/2 was reset.
#[must_use]
pub fn downgrade_error(error: Error) -> Error {
    match reset_reason(&error) {
        Some(reason) => {
            let message = format!("upgraded connection failed with HTTP/2 reset: {reason}");
            Error::new(Cause::Downgraded).message(message).caused_by(error)
        }
        None => error,
    }
}

/// Turns a request back into what it was, at the server's proxy. Returns whether it was upgraded.
pub fn downgrade<B>(request: &mut Request<B>) -> Upgraded {
    if request.version() != Version::HTTP_2 {
        return Upgraded::No;
    }
    let Some(told) = request.headers_mut().remove(L5D_ORIG_PROTO) else { return Upgraded::No };
    let Some(version) = version_of(&told) else {
        tracing::warn!(value = ?told, "unknown original protocol");
        return Upgraded::No;
    };
    *request.version_mut() = version;
    if told.as_bytes().ends_with(b"absolute-form") {
        request.extensions_mut().insert(AbsoluteForm);
    }
    Upgraded::Yes
}

/// Tells the version of a response to an upgraded request, at the server's proxy.
pub fn tell<B>(response: &mut Response<B>) {
    let version = match response.version() {
        Version::HTTP_11 => HTTP_11,
        Version::HTTP_10 => HTTP_10,
        _ => return,
    };
    // What an edge said about its own HTTP/1 connection is not true of this one.
    hop::strip_connection_headers(response.headers_mut());
    response.headers_mut().remove(TRANSFER_ENCODING);
    response.headers_mut().insert(L5D_ORIG_PROTO, version);
    *response.version_mut() = Version::HTTP_2;
}

/// Was a request carried over HTTP/2 in place of its own protocol?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It was or it was not.
pub enum Upgraded {
    /// It was.
    Yes,
    /// It is what it seems.
    No,
}

fn version_of(told: &HeaderValue) -> Option<Version> {
    if told.as_bytes().starts_with(b"HTTP/1.1") {
        Some(Version::HTTP_11)
    } else if told.as_bytes().starts_with(b"HTTP/1.0") {
        Some(Version::HTTP_10)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_restored_as_it_was() {
        for (version, absolute) in [(Version::HTTP_11, false), (Version::HTTP_10, true)] {
            let mut request = Request::builder().version(version).body(()).unwrap();
            if absolute {
                request.extensions_mut().insert(AbsoluteForm);
            }
            assert_eq!(upgrade(&mut request), Some(version));
            assert_eq!(request.version(), Version::HTTP_2);
            request.extensions_mut().clear();
            assert_eq!(downgrade(&mut request), Upgraded::Yes);
            assert_eq!(request.version(), version);
            assert_eq!(request.extensions().get::<AbsoluteForm>().is_some(), absolute);
            assert!(!request.headers().contains_key(L5D_ORIG_PROTO));
        }
    }

    #[test]
    fn a_response_is_restored_and_the_header_is_not_leaked() {
        let mut response = Response::builder().version(Version::HTTP_10).body(()).unwrap();
        tell(&mut response);
        assert_eq!(response.version(), Version::HTTP_2);
        restore(&mut response, Version::HTTP_11);
        assert_eq!(response.version(), Version::HTTP_10);
        assert!(response.headers().is_empty());
    }

    #[test]
    fn an_upgrade_to_http2_is_none() {
        for (upgrade, left) in [("h2c", None), ("websocket, H2C", Some("websocket")), ("h2c , a, b/1", Some("a, b/1")), ("a", Some("a"))] {
            let mut request = Request::get("/").header("upgrade", upgrade).header("http2-settings", "AA").body(()).unwrap();
            assert_eq!(wants_upgrade(&request), left.is_some(), "{upgrade}");
            refuse_h2c(&mut request);
            assert_eq!(request.headers().get(UPGRADE).map(|value| value.to_str().unwrap()), left);
            assert!(!request.headers().contains_key(HTTP2_SETTINGS));
        }
    }

    #[test]
    fn http2_is_left_alone() {
        let mut request = Request::builder().version(Version::HTTP_2).body(()).unwrap();
        assert_eq!(upgrade(&mut request), None);
        assert_eq!(downgrade(&mut request), Upgraded::No);
    }
}
