//! `openssl s_client` and `s_server` as processes.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::ca::{Ca, Leaf};

/// No test waits longer than this for the other end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of PEM files for one test.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new(anchors: &[&Ca]) -> Self {
        let files = Self(TempDir::new().unwrap());
        let bundle: String = anchors.iter().map(|ca| ca.pem.as_str()).collect();
        files.write("anchors.pem", bundle);
        files
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The arguments that present this certificate.
    pub(crate) fn present(&self, leaf: &Leaf) -> [String; 4] {
        let certificate = self.write("cert.pem", leaf.certificate.pem());
        let key = self.write("key.pem", leaf.key.serialize_pem());
        ["-cert".to_owned(), text(&certificate), "-key".to_owned(), text(&key)]
    }

    /// The arguments that trust the anchors, and insist.
    pub(crate) fn trust(&self) -> [String; 3] {
        ["-CAfile".to_owned(), text(&self.path("anchors.pem")), "-verify_return_error".to_owned()]
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What one short command says.
pub(crate) async fn openssl(args: &[&str], input: &[u8]) -> (ExitStatus, String) {
    let mut child = command(args.iter().map(ToString::to_string)).spawn().expect("openssl is installed");
    child.stdin.take().unwrap().write_all(input).await.unwrap();
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("openssl answers").unwrap();
    (output.status, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn command(args: impl IntoIterator<Item = String>) -> Command {
    let mut command = Command::new("openssl");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A running `s_client` or `s_server`. It is killed with this value.
pub(crate) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub(crate) fn start(args: impl IntoIterator<Item = String>) -> Self {
        let mut child = command(args).spawn().expect("openssl is installed");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, stdin, lines: BufReader::new(stdout).lines() }
    }

    pub(crate) async fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// The next line that has this in it; `None` if there is none before the end.
    pub(crate) async fn hears(&mut self, part: &str) -> Option<String> {
        self.until(part).await.map(|said| said.lines().last().unwrap_or_default().to_owned())
    }

    /// All lines up to the next that has this in it; `None` if there is none before the end.
    pub(crate) async fn until(&mut self, part: &str) -> Option<String> {
        let mut said = String::new();
        let search = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                said += &line;
                if line.contains(part) {
                    return true;
                }
                said.push('\n');
            }
            false
        };
        timeout(PATIENCE, search).await.expect("openssl says something or ends").then_some(said)
    }

    /// Waits for the end, and gives what was said until then.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        drop(self.stdin.take());
        let mut said = String::new();
        let rest = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                said += &line;
                said.push('\n');
            }
            self.child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let status = timeout(PATIENCE, rest).await.expect("openssl ends");
        (status, said)
    }
}
