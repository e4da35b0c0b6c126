//! The application on loopback addresses of its own, and curl as the stranger that calls it.

use std::{
    collections::HashMap,
    process::{Command, Output},
    time::Duration,
};

use meshkit_demo::{Component, Error, run_until};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

/// A component that runs until it is stopped.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Gives the stop, and returns the task that drains.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), Error>> {
        let _ = self.stop.send(());
        self.task
    }

    /// The task, which is expected to end without a stop.
    pub(crate) async fn ended(self) -> Result<Result<(), Error>, tokio::task::JoinError> {
        let Self { stop, task } = self;
        let ended = task.await;
        drop(stop);
        ended
    }
}

/// An address in 127.0.0.0/8 that no other test uses, of this process or of another.
pub(crate) fn address(test: u8, component: u8) -> String {
    let process = std::process::id();
    format!("127.{}.{}.{}", 64 + process % 128, (process / 128) % 256, test * 16 + component)
}

pub(crate) fn start(component: Component, env: &[(&str, &str)]) -> Running {
    let env: HashMap<String, String> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (stop, stopped) = oneshot::channel();
    let until = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(run_until(component, move |name| env.get(name).cloned(), until));
    Running { stop, task }
}

/// Runs curl and returns what it said.
pub(crate) async fn curl(args: &[&str]) -> Output {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    spawn_blocking(move || {
        Command::new("curl").args(["--silent", "--show-error", "--max-time", "20"]).args(args).output().expect("curl is installed")
    })
    .await
    .expect("curl does not panic")
}

/// Status, headers and body of a GET.
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

pub(crate) async fn get(url: &str) -> Got {
    let output = curl(&["--include", url]).await;
    let text = String::from_utf8(output.stdout).expect("the answer is text");
    let (headers, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Got { status, headers: headers.to_ascii_lowercase(), body: body.to_owned() }
}

/// Asks until the answer is the wanted one.
pub(crate) async fn eventually(url: &str, wanted: impl Fn(&Got) -> bool) -> Got {
    timeout(Duration::from_secs(30), async {
        loop {
            let got = get(url).await;
            if wanted(&got) {
                return got;
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{url} never gave the wanted answer"))
}
