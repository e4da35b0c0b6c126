//! Readers of files under `/proc`, as pure functions. Source: proc(5).

/// Of `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) cpu_ticks: u64,
    pub(super) threads: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
}

/// Of `/proc/self/net/netstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

pub(super) fn stat(text: &str) -> Option<Stat> {
    // The second field is the program's name in brackets, and a name may hold both blanks and brackets.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 3 of the manual page, the state, is the first one here.
    let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    let cpu_ticks = field(14)?.checked_add(field(15)?)?;
    Some(Stat { cpu_ticks, threads: field(20)?, virtual_bytes: field(23)?, resident_pages: field(24)? })
}

/// The soft limit, of `/proc/self/limits`.
pub(super) fn max_fds(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

pub(super) fn network(text: &str) -> Option<Network> {
    // Pairs of lines: names, then values.
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (rows.next()?, rows.next()?);
    let value = |wanted| {
        let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        pairs.find_map(|(name, value)| (name == wanted).then(|| value.parse().ok())?)
    };
    Some(Network { received_bytes: value("InOctets")?, sent_bytes: value("OutOctets")? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 5 0 1000 8192000 250 18446744073709551615 1 1";
        assert_eq!(stat(line), Some(Stat { cpu_ticks: 42, threads: 5, virtual_bytes: 8_192_000, resident_pages: 250 }));
    }

    #[test]
    fn limits_and_octets_are_found_by_name() {
        let limits = "Limit  Soft  Hard  Units\nMax processes  1 2 processes\nMax open files            1024      524288     files\n";
        assert_eq!(max_fds(limits), Some(1024));
        let netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 77 88\n";
        assert_eq!(network(netstat), Some(Network { received_bytes: 77, sent_bytes: 88 }));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = (stat(&text), max_fds(&text), network(&text));
        }
    }
}
