//! Ports and ranges of ports, as flags and annotations spell them.

use std::{fmt, str::FromStr};

/// The ports from `first` to `last`, both included: `80` or `8000-8080`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The text is no port and no range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPorts {
    text: String,
}

impl PortRange {
    /// One port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Returns `None` if the range is the wrong way round.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Is it one port?
    #[must_use]
    pub const fn is_single(self) -> bool {
        self.first == self.last
    }
}

/// Reads a list as annotations and flags have it: commas between, spaces allowed, empty entries passed over.
///
/// Returns the entries that are none beside the others: one wrong entry must not take the right ones with it.
#[must_use]
pub fn parse_list(text: &str) -> (Vec<PortRange>, Vec<InvalidPorts>) {
    let mut faults = Vec::new();
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let ranges = entries.filter_map(|entry| entry.parse().map_err(|fault| faults.push(fault)).ok()).collect();
    (ranges, faults)
}

impl FromStr for PortRange {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        let port = |digits: &str| {
            // `u16` would take a sign, too.
            let digits = digits.trim();
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let range = match text.split_once('-') {
            Some((first, last)) => port(first).zip(port(last)).and_then(|(first, last)| Self::new(first, last)),
            None => port(text).map(Self::single),
        };
        range.ok_or_else(|| InvalidPorts { text: text.to_owned() })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl fmt::Display for InvalidPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no port and no range of ports (as 8080 or 8000-8080)", self.text)
    }
}

impl std::error::Error for InvalidPorts {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrong_entries_are_told_and_the_others_kept() {
        let (ranges, faults) = parse_list("4190, 4191,,80-,x,9-8,65536,+1,1-2-3,3000-3010");
        let texts: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["4190", "4191", "3000-3010"]);
        let wrong: Vec<_> = faults.iter().map(|fault| fault.text.as_str()).collect();
        assert_eq!(wrong, ["80-", "x", "9-8", "65536", "+1", "1-2-3"]);
        assert_eq!(faults[0].to_string(), "\"80-\" is no port and no range of ports (as 8080 or 8000-8080)");
    }

    #[test]
    fn a_range_of_one_port_is_that_port() {
        assert_eq!("80-80".parse(), Ok(PortRange::single(80)));
        assert_eq!("0-65535".parse(), Ok(PortRange { first: 0, last: 65535 }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(pairs in proptest::collection::vec((any::<u16>(), any::<u16>()), 0..40)) {
            let ranges: Vec<_> = pairs.iter().filter_map(|&(a, b)| PortRange::new(a.min(b), a.max(b))).collect();
            let text = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            prop_assert_eq!(parse_list(&text), (ranges, Vec::new()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let (ranges, faults) = parse_list(&text);
            let entries = text.split(',').filter(|entry| !entry.trim().is_empty()).count();
            prop_assert_eq!(ranges.len() + faults.len(), entries);
        }
    }
}
