//! The examples as processes.

use std::{path::PathBuf, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Far more than any of them takes: a hang must not hang the tests.
const LIMIT: Duration = Duration::from_secs(60);

/// A running example. It ends with the test.
pub(crate) struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// How an example ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        let mut child = command(name, args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that holds `part`.
    pub(crate) async fn line(&mut self, part: &str) -> String {
        let found = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.contains(part) {
                    return line;
                }
            }
            panic!("it ended without saying {part:?}");
        };
        timeout(LIMIT, found).await.unwrap()
    }

    /// Ctrl-C, as a terminal sends it.
    pub(crate) async fn interrupt(mut self) -> Ended {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let rest = async {
            self.lines.get_mut().read_to_string(&mut stdout).await.unwrap();
            self.child.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let code = timeout(LIMIT, rest).await.unwrap().code();
        Ended { code, stdout, stderr }
    }
}

/// Runs an example to its end.
pub(crate) async fn run(name: &str, args: &[&str]) -> Ended {
    let output = timeout(LIMIT, command(name, args).output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What curl says: the status, and the body.
pub(crate) async fn curl(args: &[&str]) -> (String, String) {
    let output = Command::new("curl").args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"]).args(args).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.trim_end().to_owned())
}

/// Where cargo has put an example: it builds those of a package before its tests run, beside the folder that this test lies in.
pub(crate) fn path(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run `cargo test -p meshkit-examples`, which does it", path.display());
    path
}

fn command(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(path(name));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}
