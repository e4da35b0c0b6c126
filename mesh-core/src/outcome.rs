use http::{HeaderMap, StatusCode};

use crate::grpc::{self, Code};

/// Did the server do its job? What breakers, success rates and retry budgets of service profiles count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // The label `classification` has these two values.
pub enum Outcome {
    /// It did, even if it refused.
    Success,
    /// It did not: a server error, a failing gRPC code, or no answer at all.
    Failure,
}

impl Outcome {
    /// By HTTP status alone: 5xx is failure.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        if status.is_server_error() { Self::Failure } else { Self::Success }
    }

    /// By gRPC code: see [`Code::is_failure`].
    #[must_use]
    pub const fn of_code(code: Code) -> Self {
        if code.is_failure() { Self::Failure } else { Self::Success }
    }

    /// By the head of a response, if it already decides: a 5xx, or a gRPC response that consists of trailers only.
    ///
    /// A gRPC response with status 200 and no `grpc-status` is decided by its trailers, see [`Outcome::of_trailers`].
    #[must_use]
    pub fn of_head(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if status.is_server_error() {
            return Some(Self::Failure);
        }
        if !grpc::is_grpc(headers) {
            return Some(Self::Success);
        }
        Code::from_headers(headers).map(Self::of_code)
    }

    /// By the trailers of a gRPC response; none at all count as success.
    #[must_use]
    pub fn of_trailers(trailers: Option<&HeaderMap>) -> Self {
        trailers.and_then(Code::from_headers).map_or(Self::Success, Self::of_code)
    }

    /// Is it [`Outcome::Failure`]?
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failure)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::CONTENT_TYPE};

    use super::*;

    fn grpc_headers(status: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        if let Some(status) = status {
            headers.insert(grpc::GRPC_STATUS, HeaderValue::from_static(status));
        }
        headers
    }

    #[test]
    fn refusals_are_not_failures() {
        assert_eq!(Outcome::of_status(StatusCode::FORBIDDEN), Outcome::Success);
        assert_eq!(Outcome::of_status(StatusCode::BAD_GATEWAY), Outcome::Failure);
    }

    #[test]
    fn a_grpc_response_is_decided_by_its_trailers_unless_it_has_only_those() {
        assert_eq!(Outcome::of_head(StatusCode::OK, &grpc_headers(None)), None);
        assert_eq!(Outcome::of_head(StatusCode::OK, &grpc_headers(Some("14"))), Some(Outcome::Failure));
        assert_eq!(Outcome::of_head(StatusCode::OK, &grpc_headers(Some("5"))), Some(Outcome::Success));
        assert_eq!(Outcome::of_trailers(None), Outcome::Success);
        assert_eq!(Outcome::of_trailers(Some(&grpc_headers(Some("2")))), Outcome::Failure);
    }
}
