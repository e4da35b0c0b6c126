use http::{HeaderMap, StatusCode};
use meshkit_core::{
    Cause, Error,
    grpc::{Code, is_grpc},
};

use crate::{Conditions, Refused, Replayable, marker::carries};

/// Says which responses are worth another try.
pub trait Judge {
    /// `code` is what the head or the trailers of the response say, if they were seen.
    fn is_retryable(&self, conditions: &Conditions, status: StatusCode, code: Option<Code>) -> bool;

    /// Do the trailers matter? If they do, the head of an HTTP/2 response is held back until its first frame has come.
    fn reads_trailers(&self, conditions: &Conditions) -> bool {
        let _ = conditions;
        true
    }
}

/// Judges by the conditions of the plan alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByConditions;

impl Judge for ByConditions {
    fn is_retryable(&self, conditions: &Conditions, status: StatusCode, code: Option<Code>) -> bool {
        conditions.contains(status, code)
    }

    fn reads_trailers(&self, conditions: &Conditions) -> bool {
        !conditions.codes.is_empty()
    }
}

/// Judges by a function, as the response classes of a service profile do; the conditions of the plan are passed over.
impl<F: Fn(StatusCode, Option<Code>) -> bool> Judge for F {
    fn is_retryable(&self, _: &Conditions, status: StatusCode, code: Option<Code>) -> bool {
        self(status, code)
    }
}

/// What becomes of a try that has an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // A decision, which whoever acts on it has to cover.
pub enum Verdict {
    /// The outcome is not worth another try.
    Keep,
    /// It is sent again.
    Retry,
    /// It would be, but it was the last one allowed.
    LimitExceeded,
    /// It would be, but its body is still being sent or was too long to be kept.
    NotReplayable,
    /// It would be, but the budget is used up.
    OverBudget,
}

/// The decision. `retries` have been sent already, of at most `max_retries`; `withdraw` is asked last, since it takes what it grants.
pub fn verdict(retryable: bool, retries: u32, max_retries: u32, body: Replayable, withdraw: impl FnOnce() -> bool) -> Verdict {
    match body {
        _ if !retryable => Verdict::Keep,
        _ if retries >= max_retries => Verdict::LimitExceeded,
        Replayable::InUse | Replayable::No => Verdict::NotReplayable,
        Replayable::Yes if withdraw() => Verdict::Retry,
        Replayable::Yes => Verdict::OverBudget,
    }
}

/// Is a failure without a response worth another try?
///
/// A service in fail-fast, a single try that took too long, and a stream refused unseen are. A shed request is not: there is too much to do
/// already. Broken connections and planned failures are judged like the responses that they become at the edge.
#[must_use]
pub fn is_retryable_error(error: &Error) -> bool {
    matches!(error.cause(), Cause::FailFast | Cause::HeadersTimeout(_)) || carries::<Refused>(error)
}

/// The response that a failure to connect, a reset or a planned failure becomes at the edge: conditions are about these, too. `None` for
/// other failures.
pub(super) fn like_response(error: &Error, request: &HeaderMap) -> Option<(StatusCode, Option<Code>)> {
    let cause = error.cause();
    let answer = cause.answer();
    match cause {
        Cause::InjectedCode(code) => Some((StatusCode::OK, Some(*code))),
        _ if !cause.is_transport() && !matches!(cause, Cause::InjectedStatus(_) | Cause::InjectedReset) => None,
        _ if is_grpc(request) => Some((StatusCode::OK, Some(answer.code))),
        _ => Some((answer.status, None)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::CodeSet;

    #[test]
    fn some_failures_are_worth_another_try() {
        let second = Duration::from_secs(1);
        assert!(is_retryable_error(&Error::new(Cause::FailFast)));
        assert!(is_retryable_error(&Error::new(Cause::HeadersTimeout(second))));
        assert!(is_retryable_error(&Error::new(Cause::Downgraded).caused_by(std::io::Error::other(Refused))));
        for cause in [Cause::LoadShed, Cause::Io, Cause::RequestTimeout(second), Cause::ResponseTimeout(second), Cause::Unexpected] {
            assert!(!is_retryable_error(&Error::new(cause)));
        }
    }

    #[test]
    fn broken_connections_and_planned_failures_are_judged_like_responses() {
        let (http, mut grpc) = (HeaderMap::new(), HeaderMap::new());
        grpc.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc+proto"));
        let like = |cause: Cause, request| like_response(&Error::new(cause), request);
        for cause in [Cause::Io, Cause::Downgraded, Cause::InjectedReset] {
            assert_eq!(like(cause.clone(), &http), Some((StatusCode::BAD_GATEWAY, None)));
            assert_eq!(like(cause, &grpc), Some((StatusCode::OK, Some(Code::UNAVAILABLE))));
        }
        let connect = Cause::ConnectTimeout(Duration::from_secs(1));
        assert_eq!(like(connect.clone(), &http), Some((StatusCode::GATEWAY_TIMEOUT, None)));
        assert_eq!(like(connect, &grpc), Some((StatusCode::OK, Some(Code::DEADLINE_EXCEEDED))));
        assert_eq!(like(Cause::InjectedStatus(StatusCode::GONE), &http), Some((StatusCode::GONE, None)));
        assert_eq!(like(Cause::InjectedCode(Code::ABORTED), &http), Some((StatusCode::OK, Some(Code::ABORTED))));
        for cause in [Cause::LoadShed, Cause::Denied, Cause::NoBackend, Cause::RateLimited, Cause::Unexpected] {
            assert_eq!(like(cause, &http), None);
        }
    }

    #[test]
    fn trailers_matter_to_codes_and_to_closures() {
        let none = Conditions::default();
        let codes = Conditions { codes: CodeSet::new([Code::UNAVAILABLE]), ..Conditions::default() };
        assert!(!ByConditions.reads_trailers(&none) && ByConditions.reads_trailers(&codes));
        let server_error = |status: StatusCode, _: Option<Code>| status.is_server_error();
        assert!(server_error.reads_trailers(&none));
        assert!(server_error.is_retryable(&none, StatusCode::BAD_GATEWAY, None));
    }

    proptest! {
        #[test]
        fn nothing_is_withdrawn_unless_everything_else_agrees(retryable: bool, retries in 0u32..4, max in 0u32..4, body in 0usize..3, left: bool) {
            let body = [Replayable::Yes, Replayable::InUse, Replayable::No][body];
            let mut asked = false;
            let verdict = verdict(retryable, retries, max, body, || { asked = true; left });
            let due = retryable && retries < max && body == Replayable::Yes;
            prop_assert_eq!(asked, due);
            prop_assert_eq!(verdict == Verdict::Retry, due && left);
            prop_assert_eq!(verdict == Verdict::Keep, !retryable);
        }
    }
}
