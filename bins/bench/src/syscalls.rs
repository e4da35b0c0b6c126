//! System calls of the proxies, counted by strace in a run of its own: it makes everything slower, and changes nothing in number but how much is
//! batched.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::{load::Load, peer::Topology, process::Process, tools};

/// Calls per request, by name.
pub type Calls = BTreeMap<String, f64>;

/// Counts while a load runs.
///
/// # Errors
/// strace is not there, or may not look.
pub async fn count(load: Load, topology: &Topology, dir: &Path) -> io::Result<Calls> {
    let strace = tools::on_path("strace").ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "strace is not installed"))?;
    let output = dir.join("strace.txt");
    let mut args = ["-c", "-f", "-q", "-o", &output.display().to_string()].map(str::to_owned).to_vec();
    args.extend(topology.proxies().iter().map(|id| format!("--attach={id}")));
    let mut tracer = Process::start(&strace, args, &dir.join("strace.log"))?;
    sleep(Duration::from_millis(500)).await;
    tracer.lives()?;
    let running = load.start()?;
    sleep(Duration::from_secs(2)).await;
    let requests = running.take().requests;
    running.stop().await;
    tracer.stop(Signal::SIGINT).await;
    let text = fs::read_to_string(&output)?;
    Ok(parse(&text).into_iter().map(|(name, count)| (name, count as f64 / requests.max(1) as f64)).collect())
}

/// Rows of strace's table: share, seconds, microseconds per call, calls, errors if any, name.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let [share, _, _, count, .., name] = words.as_slice()
            && share.parse::<f64>().is_ok()
            && *name != "total"
            && let Ok(count) = count.parse::<u64>()
        {
            *calls.entry((*name).to_owned()).or_default() += count;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_and_without_errors() {
        let text = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000003           1         3         1 recvfrom
 40.00    0.000002           0        12           sendto
------ ----------- ----------- --------- --------- ----------------
100.00    0.000005           0        15         1 total
";
        assert_eq!(parse(text), BTreeMap::from([("recvfrom".to_owned(), 3), ("sendto".to_owned(), 12)]));
    }
}
