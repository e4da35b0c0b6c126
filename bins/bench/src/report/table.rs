//! For the terminal.

use std::fmt::Write as _;

use super::{Results, Row};
use crate::{
    peer::Peer,
    scenario::{Metric, Scenario},
};

/// A block for each scenario.
#[must_use]
pub fn table(results: &Results) -> String {
    let mut text = String::new();
    for (scenario, row) in results.measured() {
        text += &block(scenario, row);
    }
    for line in &results.missing {
        let _ = writeln!(text, "left out: {line}");
    }
    text
}

/// One scenario.
pub(crate) fn block(scenario: &Scenario, row: &Row) -> String {
    let mut text = format!("\n{}: {}\n", scenario.name, scenario.title);
    let _ = writeln!(
        text,
        "{:>8} {:>26} {:>18} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "",
        scenario.metric.title(),
        "ours is times",
        "per second",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "RSS MiB",
        "calls",
        "failed"
    );
    for peer in Peer::ALL {
        let Some(samples) = row.samples.get(&peer) else {
            if let Some(why) = row.missing.get(&peer) {
                let _ = writeln!(text, "{peer:>8} left out: {why}", peer = peer.to_string());
            }
            continue;
        };
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let number = |of: fn(&crate::measure::Sample) -> f64| shown(row.median(peer, of).filter(|n| *n > 0.0).map(|n| format!("{n:.0}")));
        let rate = if scenario.metric == Metric::CpuPerGib {
            shown(row.median(peer, |s| s.byte_rate() / f64::from(1 << 20)).map(|mib| format!("{mib:.0} MiB")))
        } else {
            number(|s| s.rate)
        };
        let _ = writeln!(
            text,
            "{:>8} {:>26} {:>18} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
            peer.to_string(),
            shown(row.value(peer, scenario.metric).map(|value| value.to_string())),
            shown(row.ratio(peer, scenario.metric).filter(|_| peer != Peer::Ours).map(|ratio| ratio.to_string())),
            rate,
            number(|s| s.p50),
            number(|s| s.p99),
            number(|s| s.p999),
            number(|s| s.memory as f64 / 1024.0),
            shown(row.syscalls.get(&peer).map(|calls| format!("{:.2}", calls.values().sum::<f64>()))),
            samples.iter().map(|sample| sample.failures).sum::<u64>(),
        );
    }
    text
}
