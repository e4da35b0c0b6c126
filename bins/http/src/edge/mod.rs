//! Errors become responses, through the one table of `meshkit-core`.

mod grpc_body;
mod layer;

use std::io::ErrorKind;

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use meshkit_core::{
    Cause, Error,
    error::Connection,
    grpc::{self, GRPC_MESSAGE, GRPC_STATUS},
};

pub use grpc_body::GrpcBody;
pub use layer::{Edge, EdgeLayer, ResponseFuture};

use crate::{Body, hop, server::Closing};

const UNEXPECTED: HeaderValue = HeaderValue::from_static("unexpected error");

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

/// Marks an answer that was made here, in its extensions: no peer sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeHere;

/// Marks the answer to a request whose own body broke off or was none, which is no fault of the endpoint that it was sent to: such an answer is
/// made at the endpoint, so that balancers and breakers see no failure, and counted at the outer edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    cause: Cause,
    message: String,
}

/// What the library says about a request's body that cannot be read, in an error's sources.
#[derive(Debug)]
struct UnreadableBody(hyper::Error);

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
        let text = error.to_string();
        // A message that no header can hold is told by neither of the two.
        let text = if HeaderValue::from_str(&text).is_ok() { text } else { "unexpected error".to_owned() };
        let mut response = Response::new(Body::Empty);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        if self.told == Told::Everything {
            headers.insert(hop::L5D_PROXY_ERROR, HeaderValue::try_from(text.as_str()).unwrap_or(UNEXPECTED));
        }
        if self.grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(GRPC_STATUS, row.code.header_value());
            if self.told == Told::Everything {
                headers.insert(GRPC_MESSAGE, grpc::encode_message(&text));
            }
        } else if let Some(Location(location)) = std::error::Error::source(error).and_then(|e| e.downcast_ref()) {
            headers.insert(LOCATION, location.clone());
        }
        if row.connection == Connection::Close {
            self.close(headers);
            response.extensions_mut().insert(Closing);
        }
        *response.status_mut() = if self.grpc { StatusCode::OK } else { row.status };
        *response.version_mut() = self.version;
        response.extensions_mut().insert(MadeHere);
        response
    }

    /// A response's body as this client gets it: one that fails ends with trailers for a gRPC client, and breaks for others.
    #[must_use]
    pub fn body(&self, body: Body) -> Body {
        if self.grpc { GrpcBody::wrap(body, self.told) } else { body }
    }

    /// Must the failure be passed on as a reset, in place of an answer? The reason of an endpoint's HTTP/2 reset goes on to HTTP/2 clients, and a
    /// planned reset is one for everybody.
    #[must_use]
    pub fn resets(&self, error: &Error) -> bool {
        match error.cause() {
            Cause::InjectedReset => true,
            Cause::Io => self.version == Version::HTTP_2 && reset_reason(error).is_some(),
            _ => false,
        }
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

impl Unreadable {
    /// What is to be marked, if the error is of this kind.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        let mut next = std::error::Error::source(error);
        while let Some(source) = next {
            if source.is::<UnreadableBody>() {
                return Some(Self { cause: error.cause().clone(), message: error.to_string() });
            }
            next = source.source();
        }
        None
    }

    /// The error once more.
    #[must_use]
    pub fn error(&self) -> Error {
        Error::new(self.cause.clone()).message(self.message.clone())
    }
}

impl std::fmt::Display for UnreadableBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the request's body cannot be read: {}", self.0)
    }
}

impl std::error::Error for UnreadableBody {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

/// The reason of the HTTP/2 stream reset beneath an error, if the peer sent one, or the library did because the peer broke the protocol.
#[must_use]
pub fn reset_reason(error: &(dyn std::error::Error + 'static)) -> Option<h2::Reason> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return if h2.is_reset() && !of_this_end(h2) { h2.reason() } else { None };
        }
        next = error.source();
    }
    None
}

/// The error of an HTTP library, as the request path knows it: a reset that a client may see, a broken connection, or a mesh error beneath.
#[must_use]
pub fn classify(error: hyper::Error) -> Error {
    if let Some(known) = Error::find(&error) {
        return Error::new(known.cause().clone()).message(known.to_string()).caused_by(error);
    }
    if error.is_user() {
        return unreadable(error);
    }
    if reset_here(&error) {
        // The library keeps the reason to itself.
        let message = "the request's body broke off, or is malformed";
        return Error::new(Cause::BadRequest).message(message).caused_by(UnreadableBody(error));
    }
    Error::new(Cause::Io).message(describe(&error)).caused_by(error)
}

/// The client's fault, and not the server's: the body that was to be sent on broke off, or was none.
fn unreadable(error: hyper::Error) -> Error {
    let mut next = std::error::Error::source(&error);
    let mut malformed = false;
    while let Some(source) = next {
        let kind = source.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        malformed |= matches!(kind, Some(ErrorKind::InvalidInput | ErrorKind::InvalidData));
        next = source.source();
    }
    let cause = if malformed { Cause::BadRequest } else { Cause::Canceled };
    Error::new(cause).message(describe(&error)).caused_by(UnreadableBody(error))
}

/// Was the stream reset by this end, which does so when the body that it sends fails?
fn reset_here(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.is_reset() && of_this_end(h2);
        }
        next = error.source();
    }
    false
}

fn of_this_end(error: &h2::Error) -> bool {
    !error.is_remote() && !error.is_library()
}

pub(crate) fn describe(error: &hyper::Error) -> String {
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
    fn every_answer_follows_the_table() {
        let limit = std::time::Duration::from_secs(1);
        for cause in [
            Cause::NoRoute,
            Cause::Denied,
            Cause::RateLimited,
            Cause::InvalidRedirect,
            Cause::GatewayDomain,
            Cause::GatewayLoop,
            Cause::FailFast,
            Cause::LoadShed,
            Cause::ConnectTimeout(limit),
            Cause::Io,
            Cause::Downgraded,
            Cause::RequestTimeout(limit),
            Cause::IdentityRequired,
            Cause::NoBackend,
            Cause::Unexpected,
        ] {
            let row = cause.answer();
            let error = Error::new(cause);
            let http = client(Version::HTTP_11, false, Told::Everything).answer(&error);
            assert_eq!((http.status(), &http.headers()["content-length"]), (row.status, &HeaderValue::from_static("0")));
            let closes = row.connection == Connection::Close;
            assert_eq!(
                (http.headers().contains_key(CONNECTION), http.extensions().get::<Closing>().is_some()),
                (closes, closes),
                "{error}"
            );
            let grpc = client(Version::HTTP_2, true, Told::Everything).answer(&error);
            assert_eq!((grpc.status(), &grpc.headers()["grpc-status"]), (StatusCode::OK, &row.code.header_value()));
            assert_eq!(grpc.headers()["l5d-proxy-error"], error.to_string());
        }
    }

    #[test]
    fn the_reason_of_a_reset_is_found_beneath() {
        let error = Error::new(Cause::Io).caused_by(h2::Error::from(h2::Reason::CANCEL));
        // Made here and not received: no reset.
        assert_eq!(reset_reason(&error), None);
        assert!(!client(Version::HTTP_2, false, Told::Status).resets(&error));
        assert!(client(Version::HTTP_11, false, Told::Status).resets(&Error::new(Cause::InjectedReset)));
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
