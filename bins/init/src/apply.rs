//! Runs what makes the rules.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::rules::{
    Family, Redirect,
    iptables::{self, Command, Existing, Mode},
    nft,
};

/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// How long the kernel remembers a connection that one side has closed.
const CLOSE_WAIT: &str = "net.netfilter.nf_conntrack_tcp_timeout_close_wait";
/// As much of a command's output as is read. The rules of a pod take a few KiB.
const OUTPUT_MAX: u64 = 4 << 20;
/// What iptables exits with while another one holds its lock.
const LOCK_HELD: i32 = 4;
/// How often, and how far apart, it is tried again then.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// Where and how rules are made.
#[derive(Clone, Debug)]
pub struct Target {
    mode: Mode,
    ipv6: bool,
    simulate: bool,
    wait: bool,
    netns: Option<PathBuf>,
    close_wait: Option<Duration>,
    path: OsString,
}

/// The rules could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApplyError {
    /// Neither iptables in any of its modes nor nft is on `PATH`.
    Missing {
        /// The program that was asked for.
        wanted: &'static str,
    },
    /// A setting of the kernel could not be changed.
    Setting {
        /// Its name, as sysctl has it.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A command could not be started.
    Start {
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// A command failed.
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// A command took too long.
    Elapsed {
        /// The command.
        command: String,
        /// How long it had.
        limit: Duration,
    },
}

/// What makes rules on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Iptables(Mode),
    Nft,
}

impl Target {
    /// This network namespace, both families, with the programs that `path` (as in the variable `PATH`) leads to.
    #[must_use]
    pub fn new(mode: Mode, path: impl Into<OsString>) -> Self {
        Self { mode, ipv6: true, simulate: false, wait: false, netns: None, close_wait: None, path: path.into() }
    }

    /// Makes no rules for IPv6.
    #[must_use]
    pub const fn without_ipv6(mut self) -> Self {
        self.ipv6 = false;
        self
    }

    /// Logs the commands and runs none.
    #[must_use]
    pub const fn simulate(mut self) -> Self {
        self.simulate = true;
        self
    }

    /// Lets iptables wait for its lock (`-w`). Without it a held lock is tried again for some seconds.
    #[must_use]
    pub const fn wait(mut self) -> Self {
        self.wait = true;
        self
    }

    /// Works in the network namespace of this file, through `nsenter`.
    #[must_use]
    pub fn netns(mut self, path: impl Into<PathBuf>) -> Self {
        self.netns = Some(path.into());
        self
    }

    /// Sets how long the kernel remembers connections that one side has closed.
    #[must_use]
    pub const fn close_wait(mut self, timeout: Duration) -> Self {
        self.close_wait = Some(timeout);
        self
    }

    /// Makes the rules, instead of what rules of ours there are.
    ///
    /// # Errors
    /// No program can make them, or a command failed. The rules are then half made: the caller must not let traffic flow.
    ///
    /// # Cancel safety
    /// The command that runs is killed; the rules stay half made. Applying again puts them right.
    pub async fn apply(&self, redirect: &Redirect) -> Result<(), ApplyError> {
        if let Some(timeout) = self.close_wait {
            self.set_close_wait(timeout).await?;
        }
        for family in self.families() {
            match self.tool(family)? {
                Tool::Iptables(mode) => {
                    let existing = self.existing(mode, family).await?;
                    for command in iptables::install(redirect, mode, family, &existing) {
                        self.change(command).await?;
                    }
                    self.run(iptables::save(mode, family), None).await?;
                }
                Tool::Nft => {
                    let ruleset = nft::ruleset(redirect, family);
                    info!("{ruleset}");
                    self.run(Command::new("nft", &["-f", "-"]), Some(&ruleset)).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes the rules away.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    ///
    /// # Cancel safety
    /// As [`apply`](Self::apply).
    pub async fn remove(&self) -> Result<(), ApplyError> {
        for family in self.families() {
            match self.tool(family)? {
                Tool::Iptables(mode) => {
                    let existing = self.existing(mode, family).await?;
                    for command in iptables::remove(mode, family, &existing) {
                        self.change(command).await?;
                    }
                }
                Tool::Nft => {
                    self.run(Command::new("nft", &["-f", "-"]), Some(&nft::removal(family))).await?;
                }
            }
        }
        Ok(())
    }

    /// As `sysctl` does, which small images lack. Another namespace's settings are only seen from within it.
    async fn set_close_wait(&self, timeout: Duration) -> Result<(), ApplyError> {
        let value = timeout.as_secs().to_string();
        let command = Command::new("sysctl", &["-w", &format!("{CLOSE_WAIT}={value}")]);
        if self.netns.is_some() || self.simulate {
            return self.run(command, None).await.map(drop);
        }
        info!("{command}");
        let path = format!("/proc/sys/{}", CLOSE_WAIT.replace('.', "/"));
        std::fs::write(path, value).map_err(|source| ApplyError::Setting { name: CLOSE_WAIT, source })
    }

    fn families(&self) -> impl Iterator<Item = Family> + use<> {
        [Family::V4, Family::V6].into_iter().take(if self.ipv6 { 2 } else { 1 })
    }

    async fn existing(&self, mode: Mode, family: Family) -> Result<Existing, ApplyError> {
        Ok(Existing::parse(&self.run(iptables::save(mode, family), None).await?))
    }

    /// A change is tried again while another process changes rules: on a node, pods start side by side and share one lock.
    async fn change(&self, command: Command) -> Result<String, ApplyError> {
        let command = if self.wait { command.args(&["-w"]) } else { command };
        let mut tries = 1;
        loop {
            match self.run(command.clone(), None).await {
                Err(ApplyError::Failed { status, said, .. })
                    if status.code() == Some(LOCK_HELD) && !is_denied(&said) && tries < LOCK_TRIES =>
                {
                    tries += 1;
                    sleep(LOCK_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    /// The mode asked for, else one that is there.
    fn tool(&self, family: Family) -> Result<Tool, ApplyError> {
        // What would be run is what was asked for, on whatever machine it is looked at.
        if self.simulate {
            return Ok(Tool::Iptables(self.mode));
        }
        let there = |mode: Mode| self.find(mode.program(family)) && self.find(mode.save_program(family));
        if there(self.mode) {
            return Ok(Tool::Iptables(self.mode));
        }
        let wanted = self.mode.program(family);
        if let Some(mode) = [Mode::Nft, Mode::Plain, Mode::Legacy].into_iter().find(|&mode| there(mode)) {
            warn!("{wanted} or {} is not on PATH: falling back to {}", self.mode.save_program(family), mode.program(family));
            return Ok(Tool::Iptables(mode));
        }
        if self.find("nft") {
            warn!("{wanted} is not on PATH, nor is any other iptables: falling back to nft");
            return Ok(Tool::Nft);
        }
        Err(ApplyError::Missing { wanted })
    }

    fn find(&self, program: &str) -> bool {
        std::env::split_paths(&self.path).any(|folder| {
            std::fs::metadata(folder.join(program)).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
    }

    async fn run(&self, command: Command, input: Option<&str>) -> Result<String, ApplyError> {
        let command = match &self.netns {
            Some(netns) => command.run_by(Command::new("nsenter", &[&format!("--net={}", netns.display()), "--"])),
            None => command,
        };
        let text = command.to_string();
        info!("{text}");
        if self.simulate {
            return Ok(String::new());
        }
        let output = run(&command, &self.path, input).await?;
        if !output.is_empty() {
            info!("{}", output.trim_end());
        }
        Ok(output)
    }
}

async fn run(command: &Command, path: &OsStr, input: Option<&str>) -> Result<String, ApplyError> {
    let start = |source| ApplyError::Start { command: command.to_string(), source };
    let mut child = process::Command::new(&command.program)
        .args(&command.args)
        .env("PATH", path)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some((mut stdin, input)) = stdin.zip(input) {
            // A program that does not want to read says why itself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ended = timeout(COMMAND_LIMIT, async { tokio::join!(write, read(stdout), read(stderr), child.wait()) }).await;
    match ended {
        Err(_) => Err(ApplyError::Elapsed { command: command.to_string(), limit: COMMAND_LIMIT }),
        Ok((_, _, _, Err(source))) => Err(start(source)),
        Ok(((), stdout, _, Ok(status))) if status.success() => Ok(stdout),
        Ok(((), stdout, stderr, Ok(status))) => {
            let said = if stderr.trim().is_empty() { stdout } else { stderr };
            Err(ApplyError::Failed { command: command.to_string(), status, said: said.trim().to_owned() })
        }
    }
}

fn is_denied(said: &str) -> bool {
    said.contains("Permission denied") || said.contains("must be root") || said.contains("Operation not permitted")
}

/// A program that says more than is read meets a closed pipe.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(OUTPUT_MAX).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { wanted } => {
                write!(f, "neither {wanted} nor another iptables nor nft is on PATH: install one of them, or use another image")
            }
            Self::Setting { name, .. } => write!(f, "cannot set {name}: the container must be privileged for that"),
            Self::Start { command, .. } => write!(f, "`{command}` cannot be started"),
            Self::Failed { command, status, said } => {
                write!(f, "`{command}` failed ({status})")?;
                if !said.is_empty() {
                    write!(f, ": {said}")?;
                }
                if is_denied(said) {
                    f.write_str("; it needs the capabilities NET_ADMIN and NET_RAW")?;
                }
                Ok(())
            }
            Self::Elapsed { command, limit } => write!(f, "`{command}` took more than {} s", limit.as_secs()),
        }
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Setting { source, .. } | Self::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}
