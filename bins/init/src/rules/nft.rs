//! The rules as one ruleset of nftables, for machines that have no iptables.

use std::fmt::Write as _;

use super::{Chain, Family, Hook, Match, Redirect, Rule, Verdict};
use crate::ports::PortRange;

/// The table. A name of our own: `nat` belongs to iptables.
pub const TABLE: &str = "proxy_init";

/// What `nft -f -` is to read. It replaces what it made before, all at once.
#[must_use]
pub fn ruleset(redirect: &Redirect, family: Family) -> String {
    let family_name = name(family);
    // Adding first makes the deletion work where there is no such table.
    let mut text = format!("add table {family_name} {TABLE}\ndelete table {family_name} {TABLE}\ntable {family_name} {TABLE} {{\n");
    for Chain { name, hook, rules } in redirect.chains(family) {
        let _ = writeln!(text, "\tchain {name} {{");
        for rule in &rules {
            let _ = writeln!(text, "\t\t{}", line(rule, family));
        }
        let hooked = match hook {
            Hook::Prerouting => "prerouting",
            Hook::Output => "output",
        };
        // The priority of destination NAT, as iptables has it.
        let _ = writeln!(text, "\t}}\n\tchain {} {{\n\t\ttype nat hook {hooked} priority -100; policy accept;", hook.name());
        let _ = writeln!(text, "\t\tjump {name} comment \"proxy-init/{}\"\n\t}}", hook.comment());
    }
    text.push_str("}\n");
    text
}

/// What `nft -f -` is to read to take the rules away.
#[must_use]
pub fn removal(family: Family) -> String {
    let family = name(family);
    format!("add table {family} {TABLE}\ndelete table {family} {TABLE}\n")
}

const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn line(rule: &Rule, family: Family) -> String {
    let matches = match &rule.matches {
        Match::Ports(ranges) => {
            let ports: Vec<_> = disjoint(ranges).iter().map(ToString::to_string).collect();
            format!("tcp dport {{ {} }}", ports.join(", "))
        }
        Match::Port(port) => format!("tcp dport {port}"),
        Match::Source(net) => format!("{} saddr {net}", name(family)),
        Match::Uid(uid) => format!("meta skuid {uid}"),
        Match::Gid(gid) => format!("meta skgid {gid}"),
        Match::Loopback => "oifname \"lo\"".to_owned(),
        Match::Tcp => "meta l4proto tcp".to_owned(),
    };
    let verdict = match rule.verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
    };
    format!("{matches} {verdict} comment \"proxy-init/{}\"", rule.comment)
}

/// The same ports without overlaps, which nft refuses in a set.
fn disjoint(ranges: &[PortRange]) -> Vec<PortRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.first());
    let mut merged: Vec<PortRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        let joined = merged
            .last()
            .filter(|last| range.first() <= last.last())
            .and_then(|last| PortRange::new(last.first(), last.last().max(range.last())));
        if let Some((last, joined)) = merged.last_mut().zip(joined) {
            *last = joined;
        } else {
            merged.push(range);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn merged_ranges_hold_the_same_ports_and_do_not_overlap(ends in proptest::collection::vec((0u16..300, 0u16..40), 0..20), port in 0u16..400) {
            let ranges: Vec<_> = ends.iter().filter_map(|&(a, more)| PortRange::new(a, a + more)).collect();
            let merged = disjoint(&ranges);
            let holds = |ranges: &[PortRange]| ranges.iter().any(|range| (range.first()..=range.last()).contains(&port));
            prop_assert_eq!(holds(&ranges), holds(&merged));
            prop_assert!(merged.windows(2).all(|pair| pair[0].last() < pair[1].first()));
        }
    }
}
