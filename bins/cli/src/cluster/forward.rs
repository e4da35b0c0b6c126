//! Ports of pods, brought to this machine.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Duration, timeout},
};

use super::{Failed, Kubectl};

/// How long it may take until a port is there.
const LIMIT: Duration = Duration::from_secs(30);
/// As much of what went wrong is read.
const TOLD_MAX: u64 = 4096;

/// A port of a pod, on this machine. It is there for as long as this is.
#[derive(Debug)]
pub(crate) struct Forward {
    addr: SocketAddr,
    _child: Child,
    /// Who writes to a pipe that nobody holds is ended.
    _stdout: BufReader<ChildStdout>,
}

impl Forward {
    /// Where the port is.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    async fn start(mut command: Command) -> Result<Self, Failed> {
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
        let failed = |error: &dyn fmt::Display| Failed(format!("kubectl port-forward: {error}"));
        let mut child = started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failed("kubectl is not on the PATH: install it, so that the cluster can be asked".to_owned()),
            _ => failed(&error),
        })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(&"it has no output"));
        };
        let mut stdout = BufReader::new(stdout);
        let first = timeout(LIMIT, async {
            let mut line = String::new();
            while stdout.read_line(&mut line).await? > 0 {
                if let Some(addr) = told(&line) {
                    return Ok(Some(addr));
                }
                line.clear();
            }
            Ok::<_, io::Error>(None)
        });
        match first.await {
            Err(_) => Err(failed(&format_args!("there was no port within {} s", LIMIT.as_secs()))),
            Ok(Err(error)) => Err(failed(&error)),
            Ok(Ok(Some(addr))) => Ok(Self { addr, _child: child, _stdout: stdout }),
            Ok(Ok(None)) => {
                let mut text = Vec::new();
                // What it said helps, where it can be read.
                let _ = timeout(LIMIT, stderr.take(TOLD_MAX).read_to_end(&mut text)).await;
                let text = String::from_utf8_lossy(&text);
                Err(failed(&text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it ended without a word")))
            }
        }
    }
}

impl Kubectl {
    /// Brings a port of a pod to this machine, to an address that only this machine reaches.
    ///
    /// # Errors
    /// The pod is not there, does not run, or may not be reached.
    ///
    /// # Cancel safety
    /// Dropping the future ends what was begun.
    pub(crate) async fn forward(&self, namespace: &str, pod: &str, port: u16) -> Result<Forward, Failed> {
        let mut command = Command::new("kubectl");
        let (namespace, pod, port) = (format!("--namespace={namespace}"), format!("pod/{pod}"), format!(":{port}"));
        command.args(["port-forward", "--address=127.0.0.1", &namespace, &pod, &port]).args(&self.flags);
        Forward::start(command).await
    }
}

/// The address of a line such as `Forwarding from 127.0.0.1:40123 -> 4191`.
fn told(line: &str) -> Option<SocketAddr> {
    let (addr, _) = line.trim().strip_prefix("Forwarding from ")?.split_once(" -> ")?;
    addr.parse().ok().filter(|addr: &SocketAddr| addr.ip() == Ipv4Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_port_is_where_the_first_line_says() {
        let script = "echo starting; echo 'Forwarding from 127.0.0.1:40123 -> 4191'; exec sleep 600";
        let forward = Forward::start(shell(script)).await.unwrap();
        assert_eq!(forward.addr(), "127.0.0.1:40123".parse().unwrap());
    }

    #[tokio::test]
    async fn what_went_wrong_is_told() {
        let failed = Forward::start(shell("echo 'error: unable to forward port' >&2; echo 'pods \"web\" not found' >&2; exit 1")).await;
        assert_eq!(failed.unwrap_err().to_string(), "kubectl port-forward: pods \"web\" not found");
        let failed = Forward::start(shell("exit 0")).await.unwrap_err().to_string();
        assert_eq!(failed, "kubectl port-forward: it ended without a word");
    }

    #[test]
    fn only_lines_with_an_address_of_this_machine_are_taken() {
        assert_eq!(told("Forwarding from 127.0.0.1:1 -> 4191\n"), Some("127.0.0.1:1".parse().unwrap()));
        for other in ["Forwarding from [::1]:1 -> 4191", "Handling connection for 1", "Forwarding from 10.0.0.1:1 -> 4191", ""] {
            assert_eq!(told(other), None, "{other}");
        }
    }
}
