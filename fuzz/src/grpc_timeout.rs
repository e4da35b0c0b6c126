//! The time that a gRPC client gives.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use meshkit_retry::deadline::{GRPC_TIMEOUT, grpc_timeout, shrink};

use crate::{Input, Verdict};

/// Eight bytes are what is left of the time, in nanoseconds; the others are the header. It is never raised, never added, and hardly lowered by
/// more than it has to be.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let left = Duration::from_nanos(input.bytes(8).iter().fold(0, |n, b| n << 8 | u64::from(*b)));
    let Ok(value) = HeaderValue::from_bytes(input.rest()) else { return Verdict::Refused };
    let mut headers = HeaderMap::from_iter([(GRPC_TIMEOUT, value.clone())]);
    let before = grpc_timeout(&headers);
    assert_eq!(before, naive(value.as_bytes()), "{value:?}");
    shrink(&mut headers, left);
    let after = grpc_timeout(&headers);
    let Some(before) = before else {
        assert_eq!(headers.get(GRPC_TIMEOUT), Some(&value));
        return Verdict::Refused;
    };
    let after = after.expect("a time stays a time");
    let wanted = before.min(left);
    assert!(after <= before && (after <= left || left >= before), "{before:?} became {after:?}, {left:?} are left");
    // Eight digits: of a time that is written anew five of them remain, and of hours the minutes are lost.
    let lost =
        wanted / 10_000 + Duration::from_nanos(1) + if wanted.as_secs() > 99_999_999 { Duration::from_secs(60) } else { Duration::ZERO };
    assert!(after + lost >= wanted, "{wanted:?} became {after:?}");
    Verdict::Accepted
}

/// One to eight digits, and a unit.
fn naive(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit) && digits.len() <= 8)?;
    let number = number.parse::<u32>().ok()?;
    let unit = match unit {
        b'H' => Duration::from_secs(3_600),
        b'M' => Duration::from_secs(60),
        b'S' => Duration::from_secs(1),
        b'm' => Duration::from_millis(1),
        b'u' => Duration::from_micros(1),
        b'n' => Duration::from_nanos(1),
        _ => return None,
    };
    Some(unit * number)
}
