//! The time that a gRPC client gives, handed on.
//!
//! Source: gRPC over HTTP/2, "Requests": `grpc-timeout` is one to eight digits and one of `H`, `M`, `S`, `m`, `u`, `n`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries the time a client gives.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

const MOST: u64 = 99_999_999;

/// The time that a client gives; `None` where it gives none that can be read.
#[must_use]
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    // Eight digits of hours are far from an overflow.
    match unit {
        "H" => Some(Duration::from_secs(n * 3_600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// Lowers the time in the headers to `left`. Never extends it, and never adds it: a client that gives none may have its reasons.
pub fn shrink(headers: &mut HeaderMap, left: Duration) {
    if grpc_timeout(headers).is_some_and(|given| left < given) {
        headers.insert(GRPC_TIMEOUT, value(left));
    }
}

/// The finest unit that holds the time, rounded down.
fn value(time: Duration) -> HeaderValue {
    let units = [
        (time.as_nanos(), 'n'),
        (time.as_micros(), 'u'),
        (time.as_millis(), 'm'),
        (time.as_secs().into(), 'S'),
        ((time.as_secs() / 60).into(), 'M'),
    ];
    let (n, unit) =
        units.into_iter().find(|(n, _)| *n <= u128::from(MOST)).unwrap_or((u128::from((time.as_secs() / 3_600).min(MOST)), 'H'));
    HeaderValue::try_from(format!("{n}{unit}")).expect("digits and a letter")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(GRPC_TIMEOUT, HeaderValue::from_str(text).unwrap())])
    }

    #[test]
    fn times_that_do_not_follow_the_grammar_are_no_times() {
        for bad in ["", "S", "1", "123456789S", "1s", "+1S", "-1S", "1.5S", " 1S", "1 S"] {
            assert_eq!(grpc_timeout(&headers(bad)), None, "{bad:?}");
        }
        assert_eq!(grpc_timeout(&headers("99999999H")), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(grpc_timeout(&headers("100m")), Some(Duration::from_millis(100)));
    }

    proptest! {
        #[test]
        fn time_is_lowered_and_never_raised(given in 0u64..100_000_000, unit in "[HMSmun]", left: u64) {
            let left = Duration::from_nanos(left);
            let mut map = headers(&format!("{given}{unit}"));
            let before = grpc_timeout(&map).unwrap();
            shrink(&mut map, left);
            let after = grpc_timeout(&map).unwrap();
            prop_assert!(after <= before && (after <= left || after == before));
            // A unit is left for one a thousand times as long when eight digits are used up: five remain. The unit of hours at most a minute where seconds are too many digits.
            let lost = if unit == "H" || left.as_secs() <= MOST { 0.0 } else { 60.0 };
            let kept = before.min(left).as_secs_f64() * (1.0 - 1e-5) - 1e-9 - lost;
            prop_assert!(after.as_secs_f64() >= kept);
        }

        #[test]
        fn no_header_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = grpc_timeout(&HeaderMap::from_iter([(GRPC_TIMEOUT, value)]));
            }
        }
    }
}
