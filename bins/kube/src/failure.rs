//! What can go wrong between here and the API server.

use std::{fmt, time::Duration};

use serde::Deserialize;

/// A call to the API server that did not do what it should.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The server answered, and refused.
    Refused(Refusal),
    /// There is no connection to the server, or it broke.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// The answer took longer than the limit.
    Elapsed(Duration),
    /// The answer has more bytes than the limit.
    TooLong(usize),
    /// The answer cannot be read: what it should have been, and why it is not.
    Malformed(&'static str, serde_json::Error),
}

/// What the server says when it refuses: a `Status` object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// Why, as one word: `Forbidden`, `Conflict`, ...; may be empty.
    pub reason: String,
    /// Why, in words; may be empty.
    pub message: String,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// A `Status` of the API, as much of it as is used.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    code: u16,
    reason: String,
    message: String,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    retry_after_seconds: u32,
}

/// The longest text of a server that is kept: it goes to a log.
const MAX_MESSAGE: usize = 1024;

impl Failure {
    /// What was asked from is gone: history before a resource version, or a list that was being read (410).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    /// The object is not, or its kind is not served (404).
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.code() == Some(404)
    }

    /// Somebody else has written since, or the object to create exists (409).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The account may not do this (401 and 403).
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.code(), Some(401 | 403))
    }

    /// Did the call perhaps take effect, although it failed?
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.code >= 500,
            _ => true,
        }
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// When the server wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

impl Refusal {
    /// From an answer's status and body; a body that is no `Status` object is quoted.
    pub(crate) fn new(code: u16, body: &[u8]) -> Self {
        let mut refusal = match serde_json::from_slice::<Status>(body) {
            Ok(status) => {
                let after = status.details.map_or(0, |details| details.retry_after_seconds);
                let retry_after = (after > 0).then(|| Duration::from_secs(after.into()));
                let code = if code == 200 { status.code } else { code };
                Self { code, reason: status.reason, message: status.message, retry_after }
            }
            Err(_) => {
                let quoted = &body[..body.len().min(MAX_MESSAGE)];
                Self { code, message: String::from_utf8_lossy(quoted).trim().to_owned(), ..Self::default() }
            }
        };
        if let Some((end, _)) = refusal.message.char_indices().nth(MAX_MESSAGE) {
            refusal.message.truncate(end);
        }
        refusal
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unreachable(_) => f.write_str("the API server cannot be reached, or broke the connection"),
            Self::Elapsed(limit) => write!(f, "the API server did not answer within {limit:?}"),
            Self::TooLong(limit) => write!(f, "the API server's answer is longer than the limit of {limit} bytes"),
            Self::Malformed(what, _) => write!(f, "the API server's answer is no {what}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(error) => Some(&**error),
            Self::Malformed(_, error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server refused with {}", self.code)?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_status_object_is_told_in_its_own_words() {
        let body = br#"{"kind":"Status","code":403,"reason":"Forbidden","message":"pods is forbidden"}"#;
        let failure = Failure::Refused(Refusal::new(403, body));
        assert!(failure.is_forbidden() && !failure.is_uncertain());
        assert_eq!(failure.to_string(), "the API server refused with 403 Forbidden: pods is forbidden");
        let busy = Refusal::new(429, br#"{"details":{"retryAfterSeconds":7}}"#);
        assert_eq!(Failure::Refused(busy).retry_after(), Some(Duration::from_secs(7)));
        // An error in a stream comes with 200 in front.
        assert!(Failure::Refused(Refusal::new(200, br#"{"code":410,"reason":"Expired"}"#)).is_gone());
    }

    #[test]
    fn other_bodies_are_quoted_up_to_a_limit() {
        assert_eq!(Refusal::new(502, b" bad gateway\n").to_string(), "the API server refused with 502: bad gateway");
        assert_eq!(Refusal::new(502, &[b'x'; 5000]).message.len(), MAX_MESSAGE);
        assert!(Failure::Refused(Refusal::new(502, b"")).is_uncertain());
    }

    proptest! {
        #[test]
        fn no_body_is_too_odd(code in 400u16..600, body in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let refusal = Refusal::new(code, &body);
            prop_assert_eq!(refusal.code, code);
            // Each invalid byte becomes a replacement character.
            prop_assert!(refusal.message.chars().count() <= MAX_MESSAGE);
        }
    }
}
