//! What a request may ask for in its own headers.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::{Allow, CodeSet, Params, Plan, StatusRanges, plan::default_backoff};

const RETRY_HTTP: HeaderName = HeaderName::from_static("l5d-retry-http");
const RETRY_GRPC: HeaderName = HeaderName::from_static("l5d-retry-grpc");
const RETRY_LIMIT: HeaderName = HeaderName::from_static("l5d-retry-limit");
const RETRY_TIMEOUT: HeaderName = HeaderName::from_static("l5d-retry-timeout");
const TIMEOUT: HeaderName = HeaderName::from_static("l5d-timeout");
const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("l5d-request-timeout");
const RESPONSE_TIMEOUT: HeaderName = HeaderName::from_static("l5d-response-timeout");

/// What a request asks for, read from these headers:
///
/// | header | meaning |
/// |---|---|
/// | `l5d-retry-http` | comma list of statuses worth a retry, see [`StatusRanges`] |
/// | `l5d-retry-grpc` | comma list of codes worth a retry, see [`CodeSet`] |
/// | `l5d-retry-limit` | tries after the first one |
/// | `l5d-retry-timeout` | time until the head of the response, for each try |
/// | `l5d-request-timeout`, else `l5d-timeout` | time for everything |
/// | `l5d-response-timeout` | time for the response, once the request is sent |
///
/// Times are digits with `ms`, `s`, `m`, `h` or `d`, or a bare `0`. Zero lifts the limit. What cannot be read is passed over.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Overrides {
    /// Statuses worth a retry.
    pub statuses: Option<StatusRanges>,
    /// Codes worth a retry.
    pub codes: Option<CodeSet>,
    /// Tries after the first one.
    pub max_retries: Option<u32>,
    /// Time until the head of the response, for each try.
    pub per_try_timeout: Option<Duration>,
    /// Time for everything.
    pub request: Option<Duration>,
    /// Time for the response, once the request is sent.
    pub response: Option<Duration>,
}

impl Overrides {
    /// Removes the headers and reads them; leaves them alone where they are not allowed.
    #[must_use]
    pub fn take(headers: &mut HeaderMap, allow: Allow) -> Self {
        if allow == Allow::No || headers.is_empty() {
            return Self::default();
        }
        let mut taken = Self {
            statuses: take(headers, &RETRY_HTTP, |list| Some(StatusRanges::parse_lenient(list))),
            codes: take(headers, &RETRY_GRPC, |list| Some(CodeSet::parse_lenient(list))),
            max_retries: take(headers, &RETRY_LIMIT, |text| text.parse().ok()),
            per_try_timeout: take(headers, &RETRY_TIMEOUT, duration),
            request: take(headers, &TIMEOUT, duration),
            response: take(headers, &RESPONSE_TIMEOUT, duration),
        };
        taken.request = take(headers, &REQUEST_TIMEOUT, duration).or(taken.request);
        taken
    }

    /// Is nothing asked for?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The plan of the route with what is asked for in place of what it has.
    ///
    /// A route without retries gets those of the headers: one try after the first, up to 64 KiB of body, 25 to 250 ms between tries.
    #[must_use]
    pub fn apply(&self, plan: &Plan) -> Plan {
        let asks_for_retry =
            self.statuses.is_some() || self.codes.is_some() || self.max_retries.is_some() || self.per_try_timeout.is_some();
        let made_up = || asks_for_retry.then(|| Params { backoff: default_backoff(), ..Params::DEFAULT });
        let mut plan = plan.clone();
        plan.retry = plan.retry.or_else(made_up).map(|mut params| {
            if let Some(statuses) = &self.statuses {
                params.conditions.statuses = statuses.clone();
            }
            params.conditions.codes = self.codes.unwrap_or(params.conditions.codes);
            params.max_retries = self.max_retries.unwrap_or(params.max_retries);
            params.per_try_timeout = instead(self.per_try_timeout, params.per_try_timeout);
            params
        });
        plan.timeouts.request = instead(self.request, plan.timeouts.request);
        plan.timeouts.response = instead(self.response, plan.timeouts.response);
        plan
    }
}

/// Zero lifts the limit: one that every request exceeds would be of no use.
fn instead(asked: Option<Duration>, planned: Option<Duration>) -> Option<Duration> {
    asked.map_or(planned, |length| Some(length).filter(|length| !length.is_zero()))
}

fn take<T>(headers: &mut HeaderMap, name: &HeaderName, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    read(headers.remove(name)?.to_str().ok()?)
}

/// Digits and a unit; a bare zero needs none.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let n: u64 = digits.parse().ok()?;
    let secs = |each: u64| n.checked_mul(each).map(Duration::from_secs);
    match unit {
        "" => (n == 0).then_some(Duration::ZERO),
        "ms" => Some(Duration::from_millis(n)),
        "s" => secs(1),
        "m" => secs(60),
        "h" => secs(3_600),
        "d" => secs(86_400),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};
    use meshkit_core::grpc::Code;
    use proptest::prelude::*;

    use super::*;
    use crate::Timeouts;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn headers_that_are_not_allowed_pass_through_untouched() {
        let mut map = headers(&[("l5d-retry-limit", "3"), ("l5d-timeout", "1s")]);
        assert!(Overrides::take(&mut map, Allow::No).is_empty());
        assert_eq!(map.len(), 2);
    }

    #[test]
    fn a_request_without_a_planned_retry_gets_the_defaults() {
        let mut map = headers(&[("l5d-retry-http", "503"), ("x", "y")]);
        let plan = Plan::new().overrides(Allow::Yes).overridden(&mut map).unwrap();
        assert_eq!(map.len(), 1, "what was read is gone");
        let retry = plan.retry.unwrap();
        assert_eq!((retry.max_retries, retry.max_request_bytes), (1, 65_536));
        let backoff = retry.backoff.unwrap();
        assert_eq!((backoff.min(), backoff.max(), backoff.jitter()), (Duration::from_millis(25), Duration::from_millis(250), 1.0));
        assert!(retry.conditions.contains(StatusCode::SERVICE_UNAVAILABLE, None));
    }

    #[test]
    fn what_is_asked_for_replaces_what_is_planned_and_nothing_else() {
        let second = Some(Duration::from_secs(1));
        let timeouts = Timeouts { request: second, response: second, idle: second };
        let plan = Plan::new().retry(Params { max_retries: 7, ..Params::DEFAULT }).timeouts(timeouts).overrides(Allow::Yes);
        let mut map = headers(&[
            ("l5d-retry-grpc", "Unavailable,bogus"),
            ("l5d-retry-timeout", " 20ms "),
            ("l5d-timeout", "3s"),
            ("l5d-request-timeout", "4m"),
            ("l5d-response-timeout", "0"),
        ]);
        let plan = plan.overridden(&mut map).unwrap();
        assert!(map.is_empty());
        let retry = plan.retry.unwrap();
        assert_eq!((retry.max_retries, retry.per_try_timeout), (7, Some(Duration::from_millis(20))));
        assert_eq!(retry.conditions.codes, CodeSet::new([Code::UNAVAILABLE]));
        assert_eq!(plan.timeouts, Timeouts { request: Some(Duration::from_secs(240)), response: None, idle: second });
    }

    #[test]
    fn unreadable_values_are_consumed_and_passed_over() {
        let mut map = headers(&[("l5d-timeout", "3"), ("l5d-retry-limit", "many"), ("l5d-retry-timeout", "1.5s")]);
        assert!(Overrides::take(&mut map, Allow::Yes).is_empty());
        assert!(map.is_empty());
    }

    proptest! {
        #[test]
        fn no_value_makes_a_reader_panic(text in ".{0,30}", n: u64) {
            let _ = duration(&text);
            let _ = duration(&format!("{n}d"));
            prop_assert_eq!(duration(&format!("{n}ms")), Some(Duration::from_millis(n)));
        }
    }
}
