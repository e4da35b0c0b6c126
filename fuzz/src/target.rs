/// What a target made of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // It is the one or the other.
pub enum Verdict {
    /// It was what the code under test reads, or moved the state machine.
    Accepted,
    /// It was turned away at some point.
    Refused,
}

/// A function of bytes that panics if the code under test is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called: its module, its folder in `fuzz/corpus/` and its program in `fuzz/targets/`.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]) -> Verdict,
}

impl Verdict {
    /// Accepted if so.
    pub(crate) const fn when(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: crate::$name::run },)*];
    };
}

targets! {
    address
    breaker
    client_hello
    duration
    fault_annotations
    forwarded
    grpc_timeout
    http_detect
    http_hygiene
    http_server
    manifest
    pool
    proxy_settings
    rate_limit
    replay_body
    retry_after
    retry_budget
    retry_headers
    route_match
    tap
    transport_header
    transport_header_round_trip
    wire
}

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
