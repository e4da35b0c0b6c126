//! What runs beside a proxy in its image: `mesh await` and `mesh sleep`.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::ExitCode,
};

use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
    time::{Duration, sleep, timeout},
};

use crate::fetch;

/// The proxy did not become ready in time: `EX_UNAVAILABLE` of sysexits.
const EXIT_NOT_READY: u8 = 69;

/// `mesh await`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Await {
    /// The proxy's admin port
    #[arg(short, long, default_value_t = 4191)]
    port: u16,
    /// How long to wait between two questions
    #[arg(short, long, default_value = "1s", value_parser = crate::args::parse_duration)]
    backoff: Duration,
    /// How long to wait altogether [default: without an end]
    #[arg(short, long, value_parser = crate::args::parse_duration)]
    timeout: Option<Duration>,
    /// Ends the proxy when the command has ended
    #[arg(short = 'S', long)]
    shutdown: bool,
    /// Tells each failed question
    #[arg(short, long)]
    verbose: bool,
    /// Becomes this program as soon as the proxy is ready
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// `mesh sleep`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Sleep {
    /// How long
    seconds: u64,
}

impl Await {
    /// Waits until the proxy of this pod is ready, and becomes the command then. Its exit code is this program's.
    ///
    /// `disabled`: there is no proxy (`LINKERD_AWAIT_DISABLED` or `LINKERD_DISABLED` is set).
    pub(crate) async fn run(self, disabled: bool) -> ExitCode {
        if !disabled {
            let ready = timeout(self.timeout.unwrap_or(Duration::MAX), self.until_ready());
            if ready.await.is_err() {
                eprintln!("mesh: the proxy is not ready: see http://127.0.0.1:{}/ready", self.port);
                return ExitCode::from(EXIT_NOT_READY);
            }
        }
        match self.command.split_first() {
            None => ExitCode::SUCCESS,
            Some((program, arguments)) if self.shutdown && !disabled => {
                let status = supervise(program, arguments).await;
                // The proxy ends on its own time; whether it has heard is all that can be known.
                if let Err(error) = fetch::post(self.admin(), "/shutdown").await {
                    eprintln!("mesh: the proxy could not be told to shut down: {error}");
                }
                status
            }
            Some((program, arguments)) => {
                let error = std::process::Command::new(program).args(arguments).exec();
                failed(program, &error)
            }
        }
    }

    fn admin(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    async fn until_ready(&self) {
        loop {
            let why = match fetch::get(self.admin(), "/ready").await {
                Ok((200..=299, _)) => return,
                Ok((status, _)) => format!("status {status}"),
                Err(error) => error.to_string(),
            };
            if self.verbose {
                eprintln!("mesh: the proxy is not ready yet: {why}");
            }
            sleep(self.backoff).await;
        }
    }
}

impl Sleep {
    /// Does nothing, for some time.
    pub(crate) async fn run(self) -> ExitCode {
        sleep(Duration::from_secs(self.seconds)).await;
        ExitCode::SUCCESS
    }
}

/// Runs a program to its end; it hears the signals that this one is sent.
async fn supervise(program: &OsString, arguments: &[OsString]) -> ExitCode {
    let started = Command::new(program).args(arguments).spawn();
    let signals = signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    let (mut child, (mut terminate, mut interrupt)) = match started.and_then(|child| Ok((child, signals?))) {
        Ok(both) => both,
        Err(error) => return failed(program, &error),
    };
    loop {
        let heard = tokio::select! {
            ended = child.wait() => return match ended {
                // Shells say 128 and the signal's number.
                Ok(status) => {
                    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
                    ExitCode::from(u8::try_from(code).unwrap_or(1))
                }
                Err(error) => failed(program, &error),
            },
            _ = terminate.recv() => nix::sys::signal::Signal::SIGTERM,
            _ = interrupt.recv() => nix::sys::signal::Signal::SIGINT,
        };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended right now; then there is nobody to be told.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), heard);
        }
    }
}

fn failed(program: &OsString, error: &std::io::Error) -> ExitCode {
    eprintln!("mesh: {}: {error}", program.display());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// An admin server that is ready at the second question. Answers with the requests that it has heard.
    async fn admin(questions: usize) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            for n in 0..questions {
                let (mut io, _) = listener.accept().await.unwrap();
                let mut buf = vec![0; 1024];
                let len = io.read(&mut buf).await.unwrap();
                heard.push(String::from_utf8_lossy(&buf[..len]).lines().next().unwrap_or_default().to_owned());
                let status = if n == 0 { "503 Service Unavailable" } else { "200 OK" };
                io.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
            }
            heard
        });
        (port, heard)
    }

    fn of(port: u16, timeout: Option<Duration>, command: &[&str]) -> Await {
        let command = command.iter().map(OsString::from).collect();
        Await { port, backoff: Duration::from_millis(1), timeout, shutdown: true, verbose: false, command }
    }

    #[tokio::test]
    async fn waits_for_the_proxy_and_ends_it_after_the_command() {
        let (port, heard) = admin(3).await;
        let status = of(port, None, &["sh", "-c", "exit 7"]).run(false).await;
        assert_eq!(format!("{status:?}"), format!("{:?}", ExitCode::from(7)));
        assert_eq!(heard.await.unwrap(), ["GET /ready HTTP/1.1", "GET /ready HTTP/1.1", "POST /shutdown HTTP/1.1"]);
    }

    #[tokio::test]
    async fn a_proxy_that_is_never_ready_is_told_by_the_status() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let status = of(closed, Some(Duration::from_millis(50)), &["true"]).run(false).await;
        assert_eq!(format!("{status:?}"), format!("{:?}", ExitCode::from(EXIT_NOT_READY)));
        let status = of(closed, Some(Duration::from_millis(50)), &[]).run(true).await;
        assert_eq!(format!("{status:?}"), format!("{:?}", ExitCode::SUCCESS), "there is no proxy to wait for");
    }
}
