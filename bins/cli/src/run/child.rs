//! One child process: started, restarted when it ends, ended with its supervisor.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use meshkit_core::{Backoff, Dice, drain};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    sync::watch,
    time::{Instant, timeout},
};
use tracing::{info, warn};

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// A child that ran this long starts afresh: its next restart does not wait longer than the first.
const STEADY: Duration = Duration::from_secs(10);
/// A log file is renamed to `NAME.1` when it has grown this large; an older `NAME.1` is lost.
const LOG_LIMIT: u64 = 8 << 20;

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// For logs: `emojivoto/web-0 web`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Takes what it prints.
    pub log: PathBuf,
    /// What to do when it ends.
    pub restart: Restart,
}

/// What to do with a child that ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Start it again.
    Always,
    /// Start it again unless it succeeded.
    OnFailure,
    /// Leave it.
    Never,
}

/// What a child is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Between two runs, or not yet started.
    Waiting,
    /// Running under this process id.
    Running(u32),
    /// Ended for good: successfully, or not.
    Ended(Exit),
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With status zero.
    Success,
    /// With another status, or by a signal.
    Failure,
}

impl Spec {
    /// Runs the child until it ends for good or the drain is signaled, then ends it: SIGTERM, and SIGKILL after five seconds.
    pub async fn supervise(self, status: watch::Sender<Status>, drain: drain::Watch, dice: Dice) {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), 0.1).expect("the bounds are in order");
        let mut stop = Box::pin(drain.clone().signaled());
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let exit = match self.start() {
                Ok(mut child) => {
                    let id = child.id();
                    status.send_replace(id.map_or(Status::Waiting, Status::Running));
                    tokio::select! {
                        _held = &mut stop => {
                            end(&mut child).await;
                            status.send_replace(Status::Ended(Exit::Success));
                            return;
                        }
                        exit = child.wait() => self.report(exit),
                    }
                }
                Err(error) => {
                    warn!(child = %self.name, program = %self.program.display(), %error, "cannot be started");
                    Exit::Failure
                }
            };
            let again = match self.restart {
                Restart::Always => true,
                Restart::OnFailure => exit == Exit::Failure,
                Restart::Never => false,
            };
            if !again {
                status.send_replace(Status::Ended(exit));
                return;
            }
            status.send_replace(Status::Waiting);
            failures = if started.elapsed() > STEADY { 0 } else { failures + 1 };
            tokio::select! {
                _held = &mut stop => return,
                () = tokio::time::sleep(backoff.delay(failures, &dice)) => {}
            }
        }
    }

    fn start(&self) -> io::Result<Child> {
        // Started through this binary, which asks the kernel to end the child with its parent before it becomes the program.
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("exec-child")
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            // A group of its own: Ctrl-C goes to the supervisor, which ends the children in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(copy(stdout, self.log.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(copy(stderr, self.log.clone()));
        }
        Ok(child)
    }

    fn report(&self, exit: io::Result<std::process::ExitStatus>) -> Exit {
        match exit {
            Ok(status) if status.success() => {
                info!(child = %self.name, "ended");
                Exit::Success
            }
            Ok(status) => {
                warn!(child = %self.name, %status, log = %self.log.display(), "ended; see its log");
                Exit::Failure
            }
            Err(error) => {
                warn!(child = %self.name, %error, "cannot be waited for");
                Exit::Failure
            }
        }
    }
}

async fn end(child: &mut Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It may have ended in the meantime: then there is nobody to signal.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Appends what a child prints to its log, within the limit. Ends with the child's output.
async fn copy(mut from: impl AsyncRead + Unpin, log: PathBuf) {
    let mut buffer = vec![0; 8 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if let Err(error) = append(&log, &buffer[..read]).await {
            warn!(log = %log.display(), %error, "cannot be written");
            return;
        }
    }
}

async fn append(log: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tokio::fs::OpenOptions::new().append(true).create(true).open(log).await?;
    if file.metadata().await?.len() > LOG_LIMIT {
        tokio::fs::rename(log, log.with_added_extension("1")).await?;
        file = tokio::fs::OpenOptions::new().append(true).create(true).open(log).await?;
    }
    file.write_all(bytes).await?;
    file.flush().await
}

/// Becomes `program`, to end when the parent does. Returns only if that fails.
#[must_use]
pub fn exec(program: &str, args: &[String]) -> io::Error {
    use std::os::unix::process::CommandExt as _;
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM) {
        return error.into();
    }
    // The parent may have gone before the request was made.
    if nix::unistd::getppid() == Pid::from_raw(1) {
        return io::Error::other("the supervisor is gone");
    }
    std::process::Command::new(program).args(args).exec()
}
