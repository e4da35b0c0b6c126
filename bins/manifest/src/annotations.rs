//! What annotations of routes and Services say of retries and timeouts.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use meshkit_core::grpc::Code;

use crate::validate::FieldError;

const RETRY_HTTP: &str = "retry.linkerd.io/http";
const RETRY_GRPC: &str = "retry.linkerd.io/grpc";
const RETRY_LIMIT: &str = "retry.linkerd.io/limit";
const RETRY_TIMEOUT: &str = "retry.linkerd.io/timeout";
const TIMEOUT_REQUEST: &str = "timeout.linkerd.io/request";
const TIMEOUT_RESPONSE: &str = "timeout.linkerd.io/response";
const TIMEOUT_IDLE: &str = "timeout.linkerd.io/idle";

/// Which responses are worth another try, and how many tries there may be. `C` is a range of statuses or a gRPC code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry<C> {
    /// The responses. None is possible: then nothing is retried unless a request asks for it itself.
    pub conditions: Vec<C>,
    /// How often a request may be sent again: 1 unless said otherwise.
    pub limit: u16,
    /// How long each try may take.
    pub timeout: Option<Duration>,
}

/// How long requests may take. Zero, like nothing, is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request to the end of the response.
    pub request: Option<Duration>,
    /// From the end of the request to the end of the response.
    pub response: Option<Duration>,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
}

/// Reads `retry.linkerd.io/http`, `limit` and `timeout`. `None` if none of them is there.
///
/// # Errors
/// The first annotation that cannot be read.
pub fn http_retry(annotations: &BTreeMap<String, String>) -> Result<Option<Retry<RangeInclusive<u16>>>, FieldError> {
    retry(annotations, RETRY_HTTP, |condition| match condition {
        "5xx" => Ok(500..=599),
        "gateway-error" => Ok(502..=504),
        other => {
            let (first, last) = other.split_once('-').unwrap_or((other, other));
            let status = |text: &str| (text.len() == 3).then(|| text.parse::<u16>().ok()).flatten().filter(|s| (100..=599).contains(s));
            match (status(first), status(last)) {
                (Some(first), Some(last)) if first <= last => Ok(first..=last),
                _ => Err(format!("{other:?} is not 5xx, gateway-error, or a status or range of statuses from 100 to 599")),
            }
        }
    })
}

/// Reads `retry.linkerd.io/grpc`, `limit` and `timeout`. `None` if none of them is there.
///
/// # Errors
/// The first annotation that cannot be read.
pub fn grpc_retry(annotations: &BTreeMap<String, String>) -> Result<Option<Retry<Code>>, FieldError> {
    const CODES: &[Code] = &[Code::CANCELLED, Code::DEADLINE_EXCEEDED, Code::INTERNAL, Code::RESOURCE_EXHAUSTED, Code::UNAVAILABLE];
    retry(annotations, RETRY_GRPC, |condition| {
        let code = Code::from_dashed(condition).filter(|code| CODES.contains(code));
        code.ok_or_else(|| format!("{condition:?} is not one of cancelled, deadline-exceeded, internal, resource-exhausted, unavailable"))
    })
}

/// Reads `timeout.linkerd.io/request`, `response` and `idle`.
///
/// # Errors
/// The first annotation that cannot be read.
pub fn timeouts(annotations: &BTreeMap<String, String>) -> Result<Timeouts, FieldError> {
    let read = |name| read(annotations, name, duration).map(|d| d.filter(|d| !d.is_zero()));
    Ok(Timeouts { request: read(TIMEOUT_REQUEST)?, response: read(TIMEOUT_RESPONSE)?, idle: read(TIMEOUT_IDLE)? })
}

/// A length of time as annotations spell it: a whole number and one of `ms`, `s`, `m`, `h`, `d`, or a bare `0`.
///
/// # Errors
/// What is seen and what is wanted.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let wanted = || format!("{text:?} is not a whole number with a unit (ms, s, m, h, d)");
    let number = number.parse::<u64>().map_err(|_| wanted())?;
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        _ => return Err(wanted()),
    };
    number.checked_mul(scale).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long"))
}

fn retry<C>(
    annotations: &BTreeMap<String, String>,
    name: &str,
    condition: impl Fn(&str) -> Result<C, String>,
) -> Result<Option<Retry<C>>, FieldError> {
    let conditions = read(annotations, name, |text| text.split(',').map(&condition).collect::<Result<Vec<_>, _>>())?;
    let limit =
        read(annotations, RETRY_LIMIT, |text| text.parse::<u16>().map_err(|_| format!("{text:?} is not a number from 0 to 65535")))?;
    let timeout = read(annotations, RETRY_TIMEOUT, duration)?;
    let (limit, timeout) = (limit.filter(|limit| *limit != 0), timeout.filter(|timeout| !timeout.is_zero()));
    if conditions.is_none() && limit.is_none() && timeout.is_none() {
        return Ok(None);
    }
    Ok(Some(Retry { conditions: conditions.unwrap_or_default(), limit: limit.unwrap_or(1), timeout }))
}

fn read<T>(annotations: &BTreeMap<String, String>, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, FieldError> {
    let Some(text) = annotations.get(name) else { return Ok(None) };
    parse(text).map(Some).map_err(|what| FieldError::new(format!("metadata.annotations[\"{name}\"]"), what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn retries_have_conditions_a_limit_and_a_timeout() {
        let http = |pairs: &[_]| http_retry(&annotations(pairs));
        assert_eq!(http(&[]), Ok(None));
        assert_eq!(http(&[(RETRY_LIMIT, "0"), (RETRY_TIMEOUT, "0")]), Ok(None), "zero is unset");
        let all = http(&[(RETRY_HTTP, "5xx,gateway-error,429,500-501"), (RETRY_LIMIT, "3"), (RETRY_TIMEOUT, "250ms")]).unwrap().unwrap();
        assert_eq!(all.conditions, [500..=599, 502..=504, 429..=429, 500..=501]);
        assert_eq!((all.limit, all.timeout), (3, Some(Duration::from_millis(250))));
        assert_eq!(http(&[(RETRY_LIMIT, "2")]).unwrap().unwrap().conditions, []);
        assert_eq!(http(&[(RETRY_HTTP, "5xx")]).unwrap().unwrap().limit, 1);
        for bad in ["", "4xx", "5xx, 429", "99", "600", "504-502", "+50"] {
            assert!(http(&[(RETRY_HTTP, bad)]).is_err(), "{bad}");
        }
        let grpc = |text| grpc_retry(&annotations(&[(RETRY_GRPC, text)]));
        assert_eq!(grpc("internal,unavailable").unwrap().unwrap().conditions, [Code::INTERNAL, Code::UNAVAILABLE]);
        let refused = grpc("not-found").unwrap_err();
        assert_eq!(refused.path(), "metadata.annotations[\"retry.linkerd.io/grpc\"]");
    }

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        let table = [("10s", Some(10_000)), ("250ms", Some(250)), ("2m", Some(120_000)), ("1h", Some(3_600_000)), ("1d", Some(86_400_000))];
        let refused =
            ["", "10", "1.5s", "-1s", "10us", "s", "1h30m", "99999999999999999999s", "9999999999999999d"].map(|text| (text, None));
        for (text, millis) in table.into_iter().chain([("0", Some(0))]).chain(refused) {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
        let all = timeouts(&annotations(&[(TIMEOUT_REQUEST, "1s"), (TIMEOUT_IDLE, "0s")])).unwrap();
        assert_eq!(all, Timeouts { request: Some(Duration::from_secs(1)), response: None, idle: None });
        assert!(timeouts(&annotations(&[(TIMEOUT_RESPONSE, "soon")])).is_err());
    }
}
