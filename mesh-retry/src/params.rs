use std::time::Duration;

use meshkit_core::Backoff;

use crate::Conditions;

/// Which requests get another try, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Tries after the first one. Without a wait between them, only a [`Budget`](crate::Budget) keeps a large number from being used up at once.
    pub max_retries: u32,
    /// Bytes of a request's body that are kept to be sent again; a longer one is sent once. Default 64 KiB.
    pub max_request_bytes: usize,
    /// Which responses are worth another try.
    pub conditions: Conditions,
    /// How long the head of a response may take before the next try.
    pub per_try_timeout: Option<Duration>,
    /// Waits between tries.
    pub backoff: Option<Backoff>,
}

impl Params {
    /// One retry, for nothing yet.
    pub const DEFAULT: Self = Self {
        max_retries: 1,
        max_request_bytes: 64 << 10,
        conditions: Conditions { statuses: crate::StatusRanges::EMPTY, codes: crate::CodeSet::EMPTY },
        per_try_timeout: None,
        backoff: None,
    };
}

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// From the request to the end of the response, all tries together.
    pub request: Option<Duration>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// Without anything moving.
    pub idle: Option<Duration>,
}
