//! Layers and their instructions, as a file of lines.

use std::{collections::BTreeMap, fmt};

/// How much a layer may grow before somebody must say so: one part in so many.
const PART: u64 = 20;
/// What a few instructions more of a very small layer are.
const FREE: u64 = 4;

/// Instructions by the name of a layer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table(pub(crate) BTreeMap<String, u64>);

impl Table {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let line = |line: &str| -> Option<(String, u64)> {
            let (count, name) = line.trim_start().split_once("  ")?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let lines = text.lines().map(|text| line(text).ok_or_else(|| format!("not a count and a layer: {text:?}")));
        lines.collect::<Result<_, _>>().map(Self)
    }

    /// What is wrong with the numbers that were found, a line each.
    pub(crate) fn grown(&self, found: &Self) -> Vec<String> {
        let grown = self.0.iter().filter_map(|(name, stated)| match found.0.get(name) {
            None => Some(format!("{name}: is stated, and not counted any more")),
            Some(now) if *now > stated + (stated / PART).max(FREE) => Some(format!("{name}: {now} instructions, and {stated} are stated")),
            Some(_) => None,
        });
        let new = found.0.keys().filter(|name| !self.0.contains_key(*name)).map(|name| format!("{name}: is counted, and not stated"));
        grown.chain(new).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, count)| writeln!(f, "{count:>7}  {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lines: &[(&str, u64)]) -> Table {
        Table(lines.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect())
    }

    #[test]
    fn what_is_written_is_read() {
        let some = table(&[("balance: call among 10", 1234), ("retry: budget", 7)]);
        assert_eq!(Table::parse(&some.to_string()), Ok(some));
        assert!(Table::parse("many  balance: call").is_err());
    }

    #[test]
    fn a_twentieth_more_passes_and_more_does_not() {
        let stated = table(&[("a", 1000), ("small", 10)]);
        assert!(stated.grown(&table(&[("a", 1050), ("small", 14)])).is_empty());
        assert!(stated.grown(&table(&[("a", 1), ("small", 1)])).is_empty());
        assert_eq!(stated.grown(&table(&[("a", 1051), ("small", 15)])).len(), 2);
    }

    #[test]
    fn both_lists_name_the_same_layers() {
        assert_eq!(table(&[("a", 1)]).grown(&table(&[("b", 1)])).len(), 2);
    }
}
