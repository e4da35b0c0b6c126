//! gRPC status codes, without a gRPC library.
//!
//! Source: gRPC core documentation, `statuscodes.md`.

use std::fmt;

use http::{HeaderMap, HeaderValue};

/// The header or trailer that carries a [`Code`].
pub const GRPC_STATUS: http::HeaderName = http::HeaderName::from_static("grpc-status");
/// The header or trailer that carries a percent-encoded message.
pub const GRPC_MESSAGE: http::HeaderName = http::HeaderName::from_static("grpc-message");

/// A gRPC status code, 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u8);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $n:literal, $text:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($n);)*

            /// The upper-case name of the specification.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 { $($n => stringify!($name),)* _ => "UNKNOWN" }
            }

            /// The code of a lower-case name with dashes, as annotations spell it: `deadline-exceeded`.
            #[must_use]
            pub fn from_dashed(name: &str) -> Option<Self> {
                match name { $($text => Some(Self($n)),)* _ => None }
            }
        }
    };
}

codes! {
    /// Success.
    OK = 0, "ok";
    /// The caller gave up.
    CANCELLED = 1, "cancelled";
    /// Nothing better is known.
    UNKNOWN = 2, "unknown";
    /// The request makes no sense in any state of the system.
    INVALID_ARGUMENT = 3, "invalid-argument";
    /// Time ran out.
    DEADLINE_EXCEEDED = 4, "deadline-exceeded";
    /// No such thing.
    NOT_FOUND = 5, "not-found";
    /// There is one already.
    ALREADY_EXISTS = 6, "already-exists";
    /// The caller may not.
    PERMISSION_DENIED = 7, "permission-denied";
    /// A quota or limit is used up.
    RESOURCE_EXHAUSTED = 8, "resource-exhausted";
    /// Not in this state of the system.
    FAILED_PRECONDITION = 9, "failed-precondition";
    /// A conflict; the whole operation may be tried again.
    ABORTED = 10, "aborted";
    /// Past the end.
    OUT_OF_RANGE = 11, "out-of-range";
    /// No such method.
    UNIMPLEMENTED = 12, "unimplemented";
    /// A broken invariant.
    INTERNAL = 13, "internal";
    /// Not now; may be tried again.
    UNAVAILABLE = 14, "unavailable";
    /// Data is lost.
    DATA_LOSS = 15, "data-loss";
    /// The caller is not known.
    UNAUTHENTICATED = 16, "unauthenticated";
}

impl Code {
    /// Returns `None` above 16.
    #[must_use]
    pub fn new(code: u8) -> Option<Self> {
        (code <= 16).then_some(Self(code))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Does the code count against the server, for breakers and success rates?
    ///
    /// 2, 4, 7, 13, 14 and 15, as the compatible system has it: a refused permission counts, too.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self.0, 2 | 4 | 7 | 13 | 14 | 15)
    }

    /// Reads `grpc-status` from headers or trailers; `None` where it is missing or not a known code.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(GRPC_STATUS)?.to_str().ok()?;
        value.parse().ok().and_then(Self::new)
    }

    /// The code as a header value.
    #[must_use]
    pub fn header_value(self) -> HeaderValue {
        HeaderValue::from(u16::from(self.0))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Is this a gRPC request or response, by its `content-type`?
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
}

/// Percent-encodes a message for `grpc-message` (gRPC over HTTP/2, "Responses").
#[must_use]
pub fn encode_message(message: &str) -> HeaderValue {
    use fmt::Write as _;
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    HeaderValue::try_from(out).expect("only visible ASCII and spaces were written")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        assert_eq!(Code::new(14), Some(Code::UNAVAILABLE));
        assert_eq!(Code::new(17), None);
        assert_eq!(Code::DEADLINE_EXCEEDED.name(), "DEADLINE_EXCEEDED");
        assert_eq!(Code::from_dashed("resource-exhausted"), Some(Code::RESOURCE_EXHAUSTED));
        assert_eq!(Code::from_dashed("Unavailable"), None);
    }

    #[test]
    fn an_unreadable_status_is_no_status() {
        for bad in ["", "x", "17", "-1", "256"] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_STATUS, HeaderValue::from_static(bad));
            assert_eq!(Code::from_headers(&headers), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_message_can_be_encoded(message in ".{0,100}") {
            let value = encode_message(&message);
            prop_assert!(value.to_str().is_ok());
        }
    }
}
