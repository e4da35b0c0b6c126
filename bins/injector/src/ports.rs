//! Lists of ports, as annotations have them: numbers, ranges `a-b`, and names.

use std::fmt;

/// Ports of protocols in which the server speaks first.
pub const DEFAULT_OPAQUE: &str = "25,587,3306,4444,5432,6379,9300,11211";

/// A port, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: u16,
    last: u16,
}

impl Range {
    /// Reads `80` or `80-90`; nothing if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some(Self { first, last })
    }

    /// Is this port one of them?
    #[must_use]
    pub const fn holds(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// The items of a list, without blanks and empty ones.
pub(crate) fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// A list with names replaced by numbers, and without what is neither a port, a range nor a known name.
#[must_use]
pub fn resolve(list: &str, named: &[(String, u16)]) -> String {
    let resolved = items(list).flat_map(|item| match Range::parse(item) {
        Some(range) => vec![range.to_string()],
        None => named.iter().filter(|(name, _)| name == item).map(|(_, port)| port.to_string()).collect(),
    });
    resolved.collect::<Vec<_>>().join(",")
}

/// Those of the ports that are in the list, in their order.
#[must_use]
pub fn within(ports: impl IntoIterator<Item = u16>, list: &str) -> Vec<u16> {
    let ranges: Vec<_> = items(list).filter_map(Range::parse).collect();
    let mut found: Vec<u16> = Vec::new();
    for port in ports {
        if ranges.iter().any(|range| range.holds(port)) && !found.contains(&port) {
            found.push(port);
        }
    }
    found
}

/// Ports with commas between.
pub(crate) fn join(ports: &[u16]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Are these ports and ranges, and nothing else?
pub(crate) fn is_list(list: &str) -> bool {
    items(list).all(|item| Range::parse(item).is_some())
}

/// Ports, ranges, or names as containers give them to their ports.
pub(crate) fn is_list_with_names(list: &str) -> bool {
    let name = |item: &str| {
        item.len() <= 15 && item.bytes().any(|b| b.is_ascii_alphabetic()) && item.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    items(list).all(|item| Range::parse(item).is_some() || name(item))
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_numbers_and_nonsense_goes_away() {
        let named = [("mysql".to_owned(), 3306), ("mysql".to_owned(), 3307)];
        assert_eq!(resolve(" 25, mysql,80-90,,what,9-3,70000", &named), "25,3306,3307,80-90");
        assert!(is_list("") && is_list("1,2-3") && !is_list("http") && is_list_with_names("http,1") && !is_list_with_names("9-3,a_b"));
    }

    #[test]
    fn ports_are_found_in_ranges_once() {
        assert_eq!(within([3306, 80, 3306, 25], DEFAULT_OPAQUE), [3306, 25]);
        assert_eq!(within([81, 91], "80-90"), [81]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            let resolved = resolve(&text, &[]);
            prop_assert!(is_list(&resolved));
            prop_assert_eq!(resolve(&resolved, &[]), resolved);
        }
    }
}
