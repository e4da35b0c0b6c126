//! Children: started with what they print in a file, ended with their owner, even if that is killed.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long a child may take to end.
const GRACE: Duration = Duration::from_secs(8);

/// A running child. Dropping it kills it; its own children die with it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    id: u32,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, printing into `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<S: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = S>, log: &Path) -> io::Result<Self> {
        let file = File::create(log)?;
        // Nothing of the standard library binds a child's life to its parent's; setpriv becomes the program, and keeps its id.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
        let id = child.id().unwrap_or(0);
        Ok(Self { child, id, name: program.display().to_string(), log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Says if it has ended.
    ///
    /// # Errors
    /// It has.
    pub fn lives(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!("{} ended: {status}; it said: {}", self.name, self.said()))),
        }
    }

    /// The last lines that it has printed.
    #[must_use]
    pub fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Asks it to end by a signal, and waits until it has.
    pub async fn stop(mut self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.id)
            && kill(Pid::from_raw(id), signal).is_ok()
        {
            // Whatever is left then is killed by the drop.
            let _ = timeout(GRACE, self.child.wait()).await;
        }
    }
}
