//! Where it was measured.

use std::{fs, process::Stdio};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// A machine, and a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many there are.
    pub processors: usize,
    /// The kernel.
    pub kernel: String,
    /// The day.
    pub date: String,
    /// How much others used of the machine when it began: the kernel's load average of a minute.
    pub load: String,
    /// Programs, a line each.
    pub versions: Vec<String>,
}

impl Machine {
    /// This one, now.
    pub async fn this(versions: Vec<String>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let name = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|line| line.split_once(':'));
        Self {
            processor: name.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: date().await,
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            versions,
        }
    }
}

async fn date() -> String {
    let output = Command::new("date").args(["-u", "+%F"]).stdin(Stdio::null()).output().await;
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
