//! Errors become responses, through the one table of `meshkit-core`.

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use meshkit_core::{
    Cause, Error,
    error::Connection,
    grpc::{self, GRPC_MESSAGE, GRPC_STATUS},
};

use crate::{Body, hop};

/// What the shape of an answer depends on. Taken from the request before it is given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    version: Version,
    grpc: bool,
    told: Told,
}

/// Does the client learn what went wrong in the proxy?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It does or it does not.
pub enum Told {
    /// In the headers `l5d-proxy-error` and `l5d-proxy-connection`.
    Everything,
    /// The status only.
    Status,
}

/// The location of a redirect, in an error's response.
#[derive(Debug)]
pub struct Location(pub HeaderValue);

impl Client {
    /// What is known of the client that sent a request.
    #[must_use]
    pub fn of<B>(request: &Request<B>, told: Told) -> Self {
        let grpc = request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers());
        Self { version: request.version(), grpc, told }
    }

    /// The answer that stands for an error.
    #[must_use]
    pub fn answer(&self, error: &Error) -> Response<Body> {
        let row = error.cause().answer();
        let message = HeaderValue::try_from(error.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unexpected error"));
        let mut response = Response::new(Body::Empty);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        if self.told == Told::Everything {
            headers.insert(hop::L5D_PROXY_ERROR, message);
        }
        if self.grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(GRPC_STATUS, row.code.header_value());
            if self.told == Told::Everything {
                headers.insert(GRPC_MESSAGE, grpc::encode_message(&error.to_string()));
            }
        } else if let Some(Location(location)) = std::error::Error::source(error).and_then(|e| e.downcast_ref()) {
            headers.insert(LOCATION, location.clone());
        }
        if row.connection == Connection::Close {
            self.close(headers);
        }
        *response.status_mut() = if self.grpc { StatusCode::OK } else { row.status };
        *response.version_mut() = self.version;
        response
    }

    fn close(&self, headers: &mut HeaderMap) {
        if self.version == Version::HTTP_11 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.told == Told::Everything {
            headers.insert(hop::L5D_PROXY_CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "redirected to {:?}", self.0)
    }
}

impl std::error::Error for Location {}

/// The error of an HTTP library, as the request path knows it: a reset that a client may see, a broken connection, or a mesh error beneath.
#[must_use]
pub fn classify(error: hyper::Error) -> Error {
    if let Some(known) = Error::find(&error) {
        return Error::new(known.cause().clone()).message(known.to_string());
    }
    Error::new(Cause::Io).message(describe(&error)).caused_by(error)
}

fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(version: Version, grpc: bool, told: Told) -> Client {
        Client { version, grpc, told }
    }

    #[test]
    fn an_http_client_gets_a_status_and_a_reason() {
        let error = Error::new(Cause::FailFast).within("backend web:80");
        let response = client(Version::HTTP_11, false, Told::Everything).answer(&error);
        assert_eq!(response.status(), 504);
        assert_eq!(response.headers()["l5d-proxy-error"], "backend web:80: service in fail-fast");
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(response.headers()["l5d-proxy-connection"], "close");
        assert_eq!(response.headers()["content-length"], "0");
    }

    #[test]
    fn a_grpc_client_gets_a_code() {
        let response = client(Version::HTTP_2, true, Told::Status).answer(&Error::new(Cause::Denied));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "7");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert!(!response.headers().contains_key("l5d-proxy-error"));
        assert!(!response.headers().contains_key("connection"));
    }

    #[test]
    fn a_redirect_tells_its_location() {
        let location = Location(HeaderValue::from_static("http://there/"));
        let error = Error::new(Cause::Redirected(StatusCode::FOUND)).caused_by(location);
        let response = client(Version::HTTP_11, false, Told::Status).answer(&error);
        assert_eq!((response.status(), &response.headers()["location"]), (StatusCode::FOUND, &HeaderValue::from_static("http://there/")));
    }

    #[test]
    fn a_reason_that_no_header_can_hold_is_not_told() {
        let error = Error::new(Cause::Unexpected).message("line\nbreak");
        let response = client(Version::HTTP_2, false, Told::Everything).answer(&error);
        assert_eq!(response.headers()["l5d-proxy-error"], "unexpected error");
    }
}
