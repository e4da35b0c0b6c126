//! Lengths of time, in every grammar that has them.

use std::time::Duration;

use http::HeaderMap;
use meshkit_fault::Delay;
use meshkit_manifest::{GoDuration, annotations};
use meshkit_proxy::config::syntax;
use meshkit_retry::{Allow, Overrides};

use crate::Verdict;

/// The longest text of Go's grammar that is looked at.
const GO_MAX_LEN: usize = 64;
const GO_UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The text is given to each grammar. Three of them are the same but for blanks; Go's, and that of faults, are held against a naive model.
#[must_use]
pub fn run(data: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(data) else { return Verdict::Refused };
    let simple = naive(text);
    assert_eq!(annotations::duration(text).ok(), simple, "annotation {text:?}");
    assert_eq!(syntax::duration(text).ok(), naive(text.trim()), "setting {text:?}");
    if let Ok(value) = text.parse::<http::HeaderValue>() {
        let mut headers = HeaderMap::from_iter([(http::HeaderName::from_static("l5d-timeout"), value)]);
        let read = Overrides::take(&mut headers, Allow::Yes).request;
        // A header holds visible ASCII, and seconds where milliseconds would not fit.
        if let Some(wanted) = text.is_ascii().then(|| naive(text.trim())).flatten() {
            assert_eq!(read, Some(wanted), "header {text:?}");
        }
        assert!(read.is_none() || text.trim().starts_with(|c: char| c.is_ascii_digit()), "header {text:?}");
    }
    let go = text.parse::<GoDuration>();
    assert_eq!(go.as_ref().ok().map(|go| go.as_nanos()), naive_go(text), "Go {text:?}");
    let fault = text.parse::<Delay>();
    if let Ok(delay) = &fault {
        assert_eq!(delay.to_string().parse().as_ref(), Ok(delay), "fault {text:?}");
    }
    if let (Ok(go), Ok(Delay::Fixed(fault))) = (&go, &fault) {
        assert_eq!(go.to_std(), Some(*fault), "{text:?}");
    }
    if let Ok(go) = &go {
        assert_eq!(go.to_string().parse().as_ref(), Ok(go), "Go {text:?}");
    }
    Verdict::when(simple.is_some() || go.is_ok() || fault.is_ok())
}

/// A whole number and a unit; a bare zero needs none.
fn naive(text: &str) -> Option<Duration> {
    let (number, millis) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
        .into_iter()
        .find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, millis)))
        .unwrap_or((text, 0));
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|n| digits && (millis > 0 || *n == 0))?;
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A sign, and numbers with fractions and units, added up. Below a nanosecond each is cut off.
fn naive_go(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if text.len() > GO_MAX_LEN || rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, unit) = GO_UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()? };
        let mut part = whole.checked_mul(*unit)?;
        // Go stops here, too, lest the number be too large: what follows is less than a nanosecond.
        let (mut numerator, mut denominator) = (0_u128, 1_u128);
        for digit in fraction.bytes().take(18) {
            numerator = numerator * 10 + u128::from(digit - b'0');
            denominator *= 10;
        }
        part = part.checked_add(numerator * unit / denominator)?;
        nanos = nanos.checked_add(i128::try_from(part).ok()?)?;
        rest = tail;
    }
    i64::try_from(sign * nanos).ok()
}
