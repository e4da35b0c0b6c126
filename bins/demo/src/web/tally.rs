//! What web remembers of voting's versions, so that a split is visible and the leaderboard adds up.

use std::collections::{BTreeMap, VecDeque};

use crate::{proto::voting::VotingResult, voting::Results};

/// Votes over which the split is shown.
const WINDOW: usize = 200;

/// Versions whose counts are kept; later ones are ignored.
const VERSION_LIMIT: usize = 16;

/// The newest counts of each version, and which versions took the last votes.
///
/// Each version of voting counts for itself. Behind a split, one answer has the counts of one version; the leaderboard is the sum of
/// the newest answer of each.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<String, Vec<VotingResult>>,
    last: VecDeque<String>,
}

impl Tally {
    /// Takes one answer in and returns the sum, most votes first.
    pub(super) fn results(&mut self, answer: Results) -> Vec<(String, i64)> {
        let version = answer.version.unwrap_or_default();
        if self.counts.len() < VERSION_LIMIT || self.counts.contains_key(&version) {
            self.counts.insert(version, answer.results);
        }
        let mut sums = BTreeMap::<&str, i64>::new();
        for result in self.counts.values().flatten() {
            *sums.entry(&result.shortcode).or_default() += i64::from(result.votes);
        }
        let mut sums: Vec<_> = sums.into_iter().map(|(shortcode, votes)| (shortcode.to_owned(), votes)).collect();
        // Stable, so that equals stay in the order of their names.
        sums.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
        sums
    }

    /// Remembers who took a vote, counted or refused.
    pub(super) fn voted(&mut self, version: String) {
        if self.last.len() == WINDOW {
            self.last.pop_front();
        }
        self.last.push_back(version);
    }

    /// Versions, and how many of the last votes each took.
    pub(super) fn split(&self) -> BTreeMap<&str, usize> {
        let mut split = BTreeMap::new();
        for version in &self.last {
            *split.entry(version.as_str()).or_default() += 1;
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: &str, votes: &[(&str, i32)]) -> Results {
        let results = votes.iter().map(|(shortcode, votes)| VotingResult { shortcode: (*shortcode).to_owned(), votes: *votes });
        Results { version: Some(version.to_owned()), results: results.collect() }
    }

    #[test]
    fn the_leaderboard_is_the_sum_of_the_newest_of_each_version() {
        let mut tally = Tally::default();
        tally.results(answer("v1", &[(":joy:", 3), (":poop:", 4)]));
        tally.results(answer("v2", &[(":joy:", 2)]));
        let sums = tally.results(answer("v1", &[(":joy:", 5), (":poop:", 4)]));
        assert_eq!(sums, [(":joy:".to_owned(), 7), (":poop:".to_owned(), 4)]);
    }

    #[test]
    fn the_split_is_over_the_last_votes() {
        let mut tally = Tally::default();
        for version in std::iter::repeat_n("v1", 300).chain(std::iter::repeat_n("v2", 50)) {
            tally.voted(version.to_owned());
        }
        assert_eq!(tally.split(), BTreeMap::from([("v1", 150), ("v2", 50)]));
    }

    #[test]
    fn versions_are_bounded() {
        let mut tally = Tally::default();
        for version in 0..100 {
            tally.results(answer(&format!("v{version}"), &[(":joy:", 1)]));
        }
        assert_eq!(tally.results(answer("v0", &[(":joy:", 1)])), [(":joy:".to_owned(), 16)]);
    }
}
