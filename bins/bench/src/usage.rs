//! What processes have used, from `/proc`.

use std::{collections::BTreeMap, fs, time::Duration};

/// Ticks of the kernel's reports to user space, per second: always this many on Linux.
const TICKS: u64 = 100;

/// CPU time of a process: its own, in user space and in the kernel, of all its threads.
#[must_use]
pub fn cpu(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    parse_cpu(&stat).unwrap_or_default()
}

/// CPU time of several.
#[must_use]
pub fn cpu_of(ids: &[u32]) -> Duration {
    ids.iter().map(|id| cpu(*id)).sum()
}

/// Resident memory of several, in KiB.
#[must_use]
pub fn resident(ids: &[u32]) -> u64 {
    let one = |id: &u32| -> u64 {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    ids.iter().map(one).sum()
}

/// Children of a process: their ids, and their environment.
#[must_use]
pub fn children(parent: u32) -> Vec<(u32, BTreeMap<String, String>)> {
    let child = |entry: fs::DirEntry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let of: u32 = after_name(&stat)?.nth(1)?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok().filter(|_| of == parent)?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let pairs = environment.split('\0').filter_map(|pair| pair.split_once('='));
        Some((id, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    };
    fs::read_dir("/proc").map(|all| all.flatten().filter_map(child).collect()).unwrap_or_default()
}

/// The fields behind a process's name, which may hold anything.
fn after_name(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

/// Fields 14 and 15, see proc_pid_stat(5).
fn parse_cpu(stat: &str) -> Option<Duration> {
    let mut fields = after_name(stat)?.skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_move_the_fields() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194560 101 0 0 0 7 5 99 99 20 0 1 0 1000 1 1";
        assert_eq!(parse_cpu(stat), Some(Duration::from_millis(120)));
        assert_eq!(parse_cpu("42 (x"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident(&[std::process::id()]) > 100);
        assert_eq!(resident(&[0]), 0);
    }
}
