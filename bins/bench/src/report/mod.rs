//! What is told of the measurements: a table for the terminal, a page with plots, and JSON.

mod goals;
mod page;
mod plot;
mod table;

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

pub use self::table::table;
use crate::{
    machine::Machine,
    measure::Sample,
    peer::Peer,
    scenario::{self, Metric, Scenario},
    statistics::Spread,
    syscalls::Calls,
};

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// By the scenario's name.
    pub rows: BTreeMap<String, Row>,
    /// Who was left out, and why.
    pub missing: Vec<String>,
}

/// One scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// One sample for each round, in their order.
    pub samples: BTreeMap<Peer, Vec<Sample>>,
    /// System calls per request.
    pub syscalls: BTreeMap<Peer, Calls>,
    /// Why a peer is not there.
    pub missing: BTreeMap<Peer, String>,
}

impl Row {
    /// The compared values of a peer, one for each round.
    #[must_use]
    pub fn values(&self, peer: Peer, metric: Metric) -> Vec<Option<f64>> {
        let direct = self.samples.get(&Peer::Direct);
        let samples = self.samples.get(&peer).map_or(&[][..], Vec::as_slice);
        let value = |(round, sample): (usize, &Sample)| sample.value(metric, direct.and_then(|all| all.get(round)));
        samples.iter().enumerate().map(value).collect()
    }

    /// The compared value of a peer.
    #[must_use]
    pub fn value(&self, peer: Peer, metric: Metric) -> Option<Spread> {
        Spread::of(self.values(peer, metric).into_iter().flatten())
    }

    /// Ours divided by a peer's, of the same round.
    #[must_use]
    pub fn ratio(&self, peer: Peer, metric: Metric) -> Option<Spread> {
        let (ours, theirs) = (self.values(Peer::Ours, metric), self.values(peer, metric));
        let pairs = ours.into_iter().zip(theirs).filter_map(|(ours, theirs)| Some(ours? / theirs.filter(|value| *value > 0.0)?));
        Spread::of(pairs)
    }

    /// A number of a peer's samples.
    fn median(&self, peer: Peer, number: impl Fn(&Sample) -> f64) -> Option<f64> {
        Spread::of(self.samples.get(&peer)?.iter().map(number)).map(|spread| spread.median)
    }
}

impl Results {
    /// Scenarios that were measured, in the order of the report.
    fn measured(&self) -> impl Iterator<Item = (&'static Scenario, &Row)> {
        scenario::ALL.iter().filter_map(|scenario| Some((scenario, self.rows.get(scenario.name)?)))
    }

    /// What was written before.
    ///
    /// # Errors
    /// Nothing was, or it cannot be read.
    pub fn read(docs: &Path) -> io::Result<Self> {
        Ok(serde_json::from_str(&fs::read_to_string(docs.join("benchmarks/results.json"))?)?)
    }

    /// Writes `benchmarks.md` and its plots below a folder. Scenarios that were measured before and not now stay.
    ///
    /// # Errors
    /// A file cannot be written, or what is there cannot be read.
    pub fn write(mut self, docs: &Path) -> io::Result<()> {
        let dir = docs.join("benchmarks");
        fs::create_dir_all(&dir)?;
        let file = dir.join("results.json");
        if file.exists() {
            for (name, row) in Self::read(docs)?.rows {
                self.rows.entry(name).or_insert(row);
            }
        }
        fs::write(&file, serde_json::to_string(&self)? + "\n")?;
        for (scenario, row) in self.measured() {
            fs::write(dir.join(format!("{}.svg", scenario.name)), plot::bars(scenario, row))?;
        }
        fs::write(docs.join("benchmarks.md"), page::page(&self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_the_same_round() {
        let sample = |cpu: f64| Sample { requests: 1_000_000, outbound_cpu: cpu, ..Sample::default() };
        let mut row = Row::default();
        row.samples.insert(Peer::Ours, vec![sample(20.0), sample(60.0)]);
        row.samples.insert(Peer::Floor, vec![sample(10.0), sample(30.0), sample(1.0)]);
        let ratio = row.ratio(Peer::Floor, Metric::CpuPerRequest).unwrap();
        assert_eq!(ratio, Spread { least: 2.0, median: 2.0, most: 2.0 });
        assert_eq!(row.ratio(Peer::Envoy, Metric::CpuPerRequest), None);
    }
}
