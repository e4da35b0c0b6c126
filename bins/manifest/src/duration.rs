use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The longest text that is looked at, in bytes: what Go writes is shorter by far.
const MAX_LEN: usize = 64;

/// Nanoseconds per unit. A unit that begins as another one stands before it.
const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A length of time as Go spells it: `10s`, `1h30m`, `1.5s`, `300ms`, `-5s`. From `i64::MIN` to `i64::MAX` nanoseconds.
///
/// Source: Go, package `time`, `ParseDuration` and `Duration.String`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GoDuration(i64);

/// The text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDuration(String);

impl GoDuration {
    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The same length; `None` for negative ones.
    #[must_use]
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nanos = (text.len() <= MAX_LEN).then(|| nanos(text)).flatten();
        nanos.map(Self).ok_or_else(|| InvalidDuration(text.chars().take(MAX_LEN).collect()))
    }
}

fn nanos(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, after) = UNITS.iter().find_map(|(name, unit)| Some((*unit, after.strip_prefix(name)?)))?;
        rest = after;
        if !whole.is_empty() {
            total = total.checked_add(whole.parse::<i128>().ok()?.checked_mul(unit)?)?;
        }
        // What is left below a nanosecond is cut off, as Go does. 18 digits of the largest unit fit.
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = (0..fraction.len()).fold(1_i128, |scale, _| scale * 10);
        if !fraction.is_empty() {
            total = total.checked_add(fraction.parse::<i128>().ok()? * unit / scale)?;
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        // Below a second Go uses the largest unit that leaves a whole part; above, hours, minutes and seconds.
        let (unit, name) = match nanos {
            0..1_000 => return write!(f, "{nanos}ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let (mut whole, fraction) = (nanos / unit, nanos % unit);
        if name == "s" && whole >= 3_600 {
            write!(f, "{}h", whole / 3_600)?;
        }
        if name == "s" && whole >= 60 {
            write!(f, "{}m", whole / 60 % 60)?;
            whole %= 60;
        }
        if fraction == 0 {
            return write!(f, "{whole}{name}");
        }
        let width = unit.ilog10() as usize;
        let fraction = format!("{fraction:0width$}");
        write!(f, "{whole}.{}{name}", fraction.trim_end_matches('0'))
    }
}

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a duration such as 300ms, 10s or 1h30m", self.0)
    }
}

impl std::error::Error for InvalidDuration {}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let table = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("10s", Some(10_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("300ms", Some(300_000_000)),
            ("2us", Some(2_000)),
            ("2µs", Some(2_000)),
            ("-5s", Some(-5_000_000_000)),
            ("1.0000000009s", Some(1_000_000_000)),
            ("", None),
            ("-", None),
            ("10", None),
            ("10 s", None),
            ("1d", None),
            ("s", None),
            (".s", None),
            ("9999999999h", None),
        ];
        for (text, nanos) in table {
            assert_eq!(text.parse::<GoDuration>().ok().map(GoDuration::as_nanos), nanos, "{text}");
        }
        assert_eq!(GoDuration::from_nanos(5_430_500_000_000).to_string(), "1h30m30.5s");
        assert_eq!(GoDuration::from_nanos(-1_500_000).to_string(), "-1.5ms");
        assert_eq!(GoDuration::from_nanos(-1).to_std(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(nanos: i64) {
            let duration = GoDuration::from_nanos(nanos);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.hmsnuµ]{0,70}") {
            let _ = text.parse::<GoDuration>();
        }
    }
}
