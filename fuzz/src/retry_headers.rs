//! What a request asks for in its own headers.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meshkit_core::grpc::Code;
use meshkit_retry::{Allow, CodeSet, Overrides, Plan, StatusRanges};

use crate::Verdict;

const NAMES: [&str; 7] = [
    "l5d-retry-http",
    "l5d-retry-grpc",
    "l5d-retry-limit",
    "l5d-retry-timeout",
    "l5d-timeout",
    "l5d-request-timeout",
    "l5d-response-timeout",
];

/// Lines are the values of the headers, in the order above; an empty line is no header. What was read is gone, all else stays; lists are read item
/// by item; and no request gets a limit of zero.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let kept = (HeaderName::from_static("x-kept"), HeaderValue::from_static("1"));
    let given = NAMES.into_iter().zip(data.split(|b| *b == b'\n')).filter(|(_, value)| !value.is_empty());
    let pairs = given.filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?)));
    let headers: HeaderMap = pairs.chain([kept.clone()]).collect();
    let mut untouched = headers.clone();
    assert!(Overrides::take(&mut untouched, Allow::No).is_empty() && untouched == headers);

    let mut left = headers.clone();
    let taken = Overrides::take(&mut left, Allow::Yes);
    assert_eq!(left, HeaderMap::from_iter([kept]));
    let list = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(text) = list("l5d-retry-http") {
        let lowered = text.to_ascii_lowercase();
        let items: Vec<_> = lowered.split(',').filter_map(|item| item.parse::<StatusRanges>().ok()).collect();
        for status in (100..=599).filter_map(|n| StatusCode::from_u16(n).ok()) {
            let wanted = items.iter().any(|item| item.contains(status));
            assert_eq!(taken.statuses.as_ref().is_some_and(|ranges| ranges.contains(status)), wanted, "{status} in {text:?}");
        }
    }
    if let Some(text) = list("l5d-retry-grpc") {
        let lowered = text.to_ascii_lowercase();
        let items: Vec<_> = lowered.split(',').filter_map(|item| item.parse::<CodeSet>().ok()).collect();
        for code in (0..=16).filter_map(Code::new) {
            let wanted = items.iter().any(|item| item.contains(code));
            assert_eq!(taken.codes.is_some_and(|codes| codes.contains(code)), wanted, "{code} in {text:?}");
        }
    }
    let plan = taken.apply(&Plan::new());
    assert!([plan.timeouts.request, plan.timeouts.response].iter().flatten().all(|limit| !limit.is_zero()), "{plan:?}");
    assert!(plan.retry.as_ref().and_then(|params| params.per_try_timeout).is_none_or(|limit| !limit.is_zero()), "{plan:?}");
    Verdict::when(!taken.is_empty())
}
