use std::{fmt, time::Duration};

use http::StatusCode;

use crate::grpc::Code;

/// Why a call failed. The set is closed: [`Cause::answer`] and every metric label are exhaustive over it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A new cause must be given its row of the table by everyone who matches.
pub enum Cause {
    /// No route matches the request.
    NoRoute,
    /// A route matches and none of its authorizations does.
    Denied,
    /// The route answers with a redirect, which a gRPC client cannot follow.
    Redirected(StatusCode),
    /// A redirect filter could not build a location.
    InvalidRedirect,
    /// The policy in force could not be understood.
    InvalidPolicy,
    /// A local rate limit is used up.
    RateLimited,
    /// The gateway does not serve the name.
    GatewayDomain,
    /// The request has passed this gateway before.
    GatewayLoop,
    /// Nothing was ready for too long.
    FailFast,
    /// Nothing is ready, or too much is in flight, and waiting would not help.
    LoadShed,
    /// Connecting took too long.
    ConnectTimeout(Duration),
    /// A connection was refused, was reset or broke.
    Io,
    /// An HTTP/2 reset met while carrying HTTP/1.
    Downgraded,
    /// The request as a whole took too long.
    RequestTimeout(Duration),
    /// The response took too long after the request was sent.
    ResponseTimeout(Duration),
    /// The head of the response took too long.
    HeadersTimeout(Duration),
    /// Nothing moved for too long.
    IdleTimeout(Duration),
    /// The route of a service profile took too long.
    ProfileTimeout(Duration),
    /// The endpoint is not who the request requires.
    IdentityRequired,
    /// The route names a backend that cannot be served.
    NoBackend,
    /// A planned HTTP failure.
    InjectedStatus(StatusCode),
    /// A planned gRPC failure.
    InjectedCode(Code),
    /// A planned connection reset: nothing is answered.
    InjectedReset,
    /// The request's headers are larger than the limit.
    HeadersTooLarge,
    /// The request cannot be understood or forwarded.
    BadRequest,
    /// The client went away.
    Canceled,
    /// Detecting TLS took too long.
    DetectTimeout(Duration),
    /// None of the above: a bug, or a new way to fail.
    Unexpected,
}

/// What happens to the client's connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A reset is not an answer.
pub enum Connection {
    /// It stays.
    Keep,
    /// HTTP/1 says `connection: close`, HTTP/2 sends GOAWAY.
    Close,
}

/// What a [`Cause`] looks like from outside: one row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// For an HTTP client.
    pub status: StatusCode,
    /// For a gRPC client.
    pub code: Code,
    /// What becomes of the client's connection.
    pub connection: Connection,
    /// Value of the label `error` in `inbound_http_errors_total` and `outbound_http_errors_total`; `None` for refusals, which have families
    /// of their own.
    pub label: Option<&'static str>,
    /// Value of the label `error` in the outbound route families.
    pub route_label: &'static str,
}

impl Cause {
    /// The one table.
    #[must_use]
    pub fn answer(&self) -> Answer {
        use Connection::{Close, Keep};
        let row = |status, code, connection, label, route_label| Answer { status, code, connection, label, route_label };
        match self {
            Self::NoRoute => row(StatusCode::NOT_FOUND, Code::NOT_FOUND, Keep, None, ""),
            Self::Denied => row(StatusCode::FORBIDDEN, Code::PERMISSION_DENIED, Keep, None, ""),
            Self::Redirected(status) => row(*status, Code::NOT_FOUND, Keep, None, ""),
            Self::InvalidRedirect | Self::InvalidPolicy => {
                row(StatusCode::INTERNAL_SERVER_ERROR, Code::INTERNAL, Close, Some("unexpected"), "UNKNOWN")
            }
            Self::RateLimited => row(StatusCode::TOO_MANY_REQUESTS, Code::RESOURCE_EXHAUSTED, Keep, None, ""),
            Self::GatewayDomain => row(StatusCode::NOT_FOUND, Code::NOT_FOUND, Keep, Some("gateway domain invalid"), "UNKNOWN"),
            Self::GatewayLoop => row(StatusCode::LOOP_DETECTED, Code::ABORTED, Close, Some("gateway loop"), "UNKNOWN"),
            Self::FailFast => row(StatusCode::GATEWAY_TIMEOUT, Code::DEADLINE_EXCEEDED, Close, Some("failfast"), "FAIL_FAST"),
            Self::LoadShed => row(StatusCode::SERVICE_UNAVAILABLE, Code::UNAVAILABLE, Close, Some("loadshed"), "LOAD_SHED"),
            Self::ConnectTimeout(_) => row(StatusCode::GATEWAY_TIMEOUT, Code::DEADLINE_EXCEEDED, Close, Some("i/o"), "IO"),
            Self::Io => row(StatusCode::BAD_GATEWAY, Code::UNAVAILABLE, Close, Some("i/o"), "IO"),
            Self::Downgraded => row(StatusCode::BAD_GATEWAY, Code::UNAVAILABLE, Close, Some("i/o"), "RESET"),
            Self::RequestTimeout(_) => timeout("REQUEST_TIMEOUT", Keep),
            Self::ResponseTimeout(_) => timeout("RESPONSE_STREAM_TIMEOUT", Keep),
            Self::HeadersTimeout(_) => timeout("RESPONSE_HEADERS_TIMEOUT", Keep),
            Self::IdleTimeout(_) => timeout("IDLE_TIMEOUT", Keep),
            Self::ProfileTimeout(_) => timeout("RESPONSE_HEADERS_TIMEOUT", Close),
            Self::IdentityRequired => row(StatusCode::BAD_GATEWAY, Code::UNAVAILABLE, Close, Some("identity required"), "UNKNOWN"),
            Self::NoBackend => row(StatusCode::BAD_GATEWAY, Code::UNAVAILABLE, Close, Some("unexpected"), "UNKNOWN"),
            Self::InjectedStatus(status) => row(*status, Code::FAILED_PRECONDITION, Keep, None, ""),
            Self::InjectedCode(code) => row(StatusCode::OK, *code, Keep, None, ""),
            Self::InjectedReset => row(StatusCode::BAD_GATEWAY, Code::UNAVAILABLE, Close, Some("i/o"), "RESET"),
            Self::HeadersTooLarge => {
                row(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::RESOURCE_EXHAUSTED, Close, Some("unexpected"), "UNKNOWN")
            }
            Self::BadRequest => row(StatusCode::BAD_REQUEST, Code::INTERNAL, Close, Some("unexpected"), "UNKNOWN"),
            Self::Canceled => row(StatusCode::INTERNAL_SERVER_ERROR, Code::CANCELLED, Close, Some("unexpected"), "CANCEL"),
            Self::DetectTimeout(_) => {
                row(StatusCode::GATEWAY_TIMEOUT, Code::DEADLINE_EXCEEDED, Close, Some("tls detection timeout"), "UNKNOWN")
            }
            Self::Unexpected => row(StatusCode::INTERNAL_SERVER_ERROR, Code::INTERNAL, Close, Some("unexpected"), "UNKNOWN"),
        }
    }

    /// Did the endpoint's transport fail? Such causes become responses at the endpoint's edge, inside retries and breakers.
    #[must_use]
    pub const fn is_transport(&self) -> bool {
        matches!(self, Self::ConnectTimeout(_) | Self::Io | Self::Downgraded)
    }
}

fn timeout(route_label: &'static str, connection: Connection) -> Answer {
    Answer { status: StatusCode::GATEWAY_TIMEOUT, code: Code::DEADLINE_EXCEEDED, connection, label: Some("response timeout"), route_label }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route found for request"),
            Self::Denied => f.write_str("unauthorized request on route"),
            Self::Redirected(status) => write!(f, "redirected with status {status}"),
            Self::InvalidRedirect => f.write_str("no location could be built for the redirect"),
            Self::InvalidPolicy => f.write_str("invalid policy"),
            Self::RateLimited => f.write_str("rate limit exceeded"),
            Self::GatewayDomain => f.write_str("bad gateway domain"),
            Self::GatewayLoop => f.write_str("gateway loop detected"),
            Self::FailFast => f.write_str("service in fail-fast"),
            Self::LoadShed => f.write_str("service unavailable"),
            Self::ConnectTimeout(limit) => write!(f, "connect timed out after {limit:?}"),
            Self::Io => f.write_str("connection failed"),
            Self::Downgraded => f.write_str("upgraded connection failed with HTTP/2 reset"),
            Self::RequestTimeout(limit) => write!(f, "request timeout: {limit:?}"),
            Self::ResponseTimeout(limit) => write!(f, "response stream timeout: {limit:?}"),
            Self::HeadersTimeout(limit) => write!(f, "response header timeout: {limit:?}"),
            Self::IdleTimeout(limit) => write!(f, "idle timeout: {limit:?}"),
            Self::ProfileTimeout(limit) => write!(f, "HTTP response timeout after {limit:?}"),
            Self::IdentityRequired => f.write_str("required id not found"),
            Self::NoBackend => f.write_str("backend has no dispatcher"),
            Self::InjectedStatus(status) => write!(f, "injected failure: {status}"),
            Self::InjectedCode(code) => write!(f, "injected failure: {code}"),
            Self::InjectedReset => f.write_str("injected connection reset"),
            Self::HeadersTooLarge => f.write_str("request headers too large"),
            Self::BadRequest => f.write_str("bad request"),
            Self::Canceled => f.write_str("client canceled the request"),
            Self::DetectTimeout(_) => f.write_str("TLS detection timed out"),
            Self::Unexpected => f.write_str("unexpected error"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_the_connection_and_are_not_errors_of_the_proxy() {
        for refusal in [Cause::NoRoute, Cause::Denied, Cause::RateLimited] {
            let answer = refusal.answer();
            assert_eq!(answer.connection, Connection::Keep);
            assert_eq!(answer.label, None);
            assert!(answer.status.is_client_error());
        }
    }

    #[test]
    fn transport_failures_look_like_a_bad_gateway() {
        let limit = Duration::from_secs(1);
        assert_eq!(Cause::ConnectTimeout(limit).to_string(), "connect timed out after 1s");
        for cause in [Cause::ConnectTimeout(limit), Cause::Io, Cause::Downgraded] {
            assert!(cause.is_transport());
            assert!(matches!(cause.answer().status.as_u16(), 502 | 504));
        }
        assert!(!Cause::FailFast.is_transport());
    }
}
