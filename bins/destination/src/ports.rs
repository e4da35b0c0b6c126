//! Lists of ports, as annotations write them.

use std::ops::RangeInclusive;

/// Ports and ranges of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// Reads a list such as `25,8000-8010,db`. A name stands for every port in `named` that has it, and a name that looks like a number is
    /// still a name. What is neither name, port nor range is passed over: the rest of the list still holds.
    #[must_use]
    pub fn parse<'a>(list: &str, named: impl IntoIterator<Item = (&'a str, u16)> + Clone) -> Self {
        let mut ranges = Vec::new();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let known = ranges.len();
            ranges.extend(named.clone().into_iter().filter(|(name, _)| *name == item).map(|(_, port)| port..=port));
            if ranges.len() == known {
                ranges.extend(range(item));
            }
        }
        Self(ranges)
    }

    /// Is the port among them?
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

fn range(item: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    match item.split_once('-') {
        Some((low, high)) => Some(number(low)?..=number(high)?).filter(|range| !range.is_empty()),
        None => number(item).map(|port| port..=port),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_has_numbers_ranges_and_names() {
        let ports = Ports::parse("25, 8000-8002,db,,x-y,9-3,0,70000", [("db", 5432), ("db", 5433), ("http", 80)]);
        for port in [25, 8000, 8001, 8002, 5432, 5433] {
            assert!(ports.contains(port), "{port}");
        }
        for port in [0, 24, 3, 9, 80, 7999, 8003] {
            assert!(!ports.contains(port), "{port}");
        }
        assert_eq!(Ports::parse("", [("", 80)]), Ports::default(), "an empty list has no ports");
        assert!(Ports::parse("80", [("80", 81)]).contains(81), "names come before numbers");
    }

    proptest! {
        #[test]
        fn any_text_is_a_list(text in "\\PC{0,40}", port: u16) {
            let _ = Ports::parse(&text, [("x", 1)]).contains(port);
        }

        #[test]
        fn a_range_has_exactly_its_ports(a in 1u16.., b in 1u16.., port: u16) {
            prop_assert_eq!(Ports::parse(&format!("{a}-{b}"), []).contains(port), a <= port && port <= b);
        }
    }
}
