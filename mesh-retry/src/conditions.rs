//! Which responses are worth another try.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use http::StatusCode;
use meshkit_core::grpc::Code;

/// Statuses and codes that are worth another try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// HTTP statuses.
    pub statuses: StatusRanges,
    /// gRPC codes.
    pub codes: CodeSet,
}

/// Ranges of HTTP statuses. Written as a comma list of `5xx`, `gateway-error` (502 to 504), `NNN` and `NNN-MMM`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusRanges(Vec<RangeInclusive<u16>>);

/// A set of gRPC codes. Written as a comma list of `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted` and `unavailable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeSet(u32);

/// An item of a list is not a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCondition(String);

impl StatusRanges {
    /// None.
    pub const EMPTY: Self = Self(Vec::new());

    /// Ranges, inclusive. Those out of `100..=599` match nothing that a server can send.
    #[must_use]
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Self(ranges)
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }

    /// Is the status in one of them?
    #[must_use]
    pub fn contains(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }

    /// Reads a list, and passes over what it does not know, as for the list of a request's header.
    #[must_use]
    pub fn parse_lenient(list: &str) -> Self {
        Self(list.split(',').filter_map(|item| range(&item.to_ascii_lowercase())).collect())
    }
}

fn range(item: &str) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| text.parse().ok().filter(|n| (100..=599).contains(n));
    match item {
        "5xx" => Some(500..=599),
        "gateway-error" => Some(502..=504),
        _ => match item.split_once('-') {
            Some((low, high)) => Some(status(low)?..=status(high)?).filter(|range| !range.is_empty()),
            None => status(item).map(|n| n..=n),
        },
    }
}

impl CodeSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// A set of these codes.
    #[must_use]
    pub fn new(codes: impl IntoIterator<Item = Code>) -> Self {
        Self(codes.into_iter().fold(0, |set, code| set | 1 << code.get()))
    }

    /// Is the code in the set?
    #[must_use]
    pub const fn contains(self, code: Code) -> bool {
        self.0 & 1 << code.get() != 0
    }

    /// The codes, by number.
    pub fn codes(self) -> impl Iterator<Item = Code> {
        (0..=16).filter_map(Code::new).filter(move |code| self.contains(*code))
    }

    /// Is there none?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Reads a list, and passes over what it does not know, as for the list of a request's header.
    #[must_use]
    pub fn parse_lenient(list: &str) -> Self {
        Self::new(list.split(',').filter_map(|item| retryable_code(&item.to_ascii_lowercase())))
    }
}

fn retryable_code(name: &str) -> Option<Code> {
    let known = ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];
    known.contains(&name).then(|| Code::from_dashed(name)).flatten()
}

impl Conditions {
    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statuses.0.is_empty() && self.codes.is_empty()
    }

    /// Is a response with this status, and this `grpc-status` if it has one, worth another try?
    #[must_use]
    pub fn contains(&self, status: StatusCode, code: Option<Code>) -> bool {
        self.statuses.contains(status) || code.is_some_and(|code| self.codes.contains(code))
    }
}

impl FromStr for StatusRanges {
    type Err = InvalidCondition;

    fn from_str(list: &str) -> Result<Self, InvalidCondition> {
        list.split(',').map(|item| range(item).ok_or_else(|| InvalidCondition(item.to_owned()))).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for CodeSet {
    type Err = InvalidCondition;

    fn from_str(list: &str) -> Result<Self, InvalidCondition> {
        let codes = list.split(',').map(|item| retryable_code(item).ok_or_else(|| InvalidCondition(item.to_owned())));
        codes.collect::<Result<Vec<_>, _>>().map(Self::new)
    }
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match (*range.start(), *range.end()) {
                (500, 599) => write!(f, "{comma}5xx")?,
                (502, 504) => write!(f, "{comma}gateway-error")?,
                (low, high) if low == high => write!(f, "{comma}{low}")?,
                (low, high) => write!(f, "{comma}{low}-{high}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for CodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, code) in self.codes().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}", code.name().to_ascii_lowercase().replace('_', "-"))?;
        }
        Ok(())
    }
}

impl fmt::Display for InvalidCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a retry condition", self.0)
    }
}

impl std::error::Error for InvalidCondition {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_strictly_or_leniently() {
        let ranges: StatusRanges = "5xx,429,gateway-error,400-404".parse().unwrap();
        assert_eq!(ranges.ranges(), [500..=599, 429..=429, 502..=504, 400..=404]);
        for bad in ["", "6xx", "99", "600", "500 ", "504-502", "a-b"] {
            assert!(bad.parse::<StatusRanges>().is_err(), "{bad:?}");
        }
        assert_eq!(StatusRanges::parse_lenient("5XX, 429,x").ranges(), [500..=599]);

        let codes: CodeSet = "unavailable,internal".parse().unwrap();
        assert!(codes.contains(Code::UNAVAILABLE) && codes.contains(Code::INTERNAL) && !codes.contains(Code::UNKNOWN));
        assert!("unknown".parse::<CodeSet>().is_err(), "not every code may be retried");
        assert_eq!(CodeSet::parse_lenient("Unavailable,unknown"), CodeSet::new([Code::UNAVAILABLE]));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bounds in proptest::collection::vec((100u16..600, 100u16..600), 1..5), codes in 1u32..32) {
            let ranges = StatusRanges::new(bounds.into_iter().map(|(a, b)| a.min(b)..=a.max(b)).collect());
            prop_assert_eq!(ranges.to_string().parse::<StatusRanges>(), Ok(ranges.clone()));
            prop_assert_eq!(StatusRanges::parse_lenient(&ranges.to_string()), ranges);
            let known = [Code::CANCELLED, Code::DEADLINE_EXCEEDED, Code::INTERNAL, Code::RESOURCE_EXHAUSTED, Code::UNAVAILABLE];
            let set = CodeSet::new((0..5).filter(|n| codes & 1 << n != 0).map(|n| known[n]));
            prop_assert_eq!(set.to_string().parse::<CodeSet>(), Ok(set));
        }

        #[test]
        fn no_list_makes_a_reader_panic(list in ".{0,40}") {
            let (_, _) = (list.parse::<StatusRanges>(), list.parse::<CodeSet>());
            let (_, _) = (StatusRanges::parse_lenient(&list), CodeSet::parse_lenient(&list));
        }
    }
}
