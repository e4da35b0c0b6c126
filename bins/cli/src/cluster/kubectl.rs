//! The API through `kubectl`: whoever installs a mesh has it, with every way to log in that their cluster asks for.

use std::{ffi::OsString, io, process::Stdio};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::{Duration, timeout},
};

use super::{Answer, Cluster, Failed};
use crate::access::Access;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The API through `kubectl`.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    pub(super) flags: Vec<OsString>,
}

impl Kubectl {
    /// The cluster that flags name.
    pub(crate) fn new(access: &Access) -> Self {
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: OsString| {
            let mut flag = OsString::from(name);
            flag.push(value);
            flags.push(flag);
        };
        if let Some(path) = &access.kubeconfig {
            flag("--kubeconfig=", path.into());
        }
        if let Some(context) = &access.context {
            flag("--context=", context.into());
        }
        if let Some(user) = &access.as_user {
            flag("--as=", user.into());
        }
        access.as_group.iter().for_each(|group| flag("--as-group=", group.into()));
        Self { flags }
    }

    pub(super) async fn run(&self, words: &[&str], input: Option<&Value>) -> Result<Option<Value>, Failed> {
        let started = Command::new("kubectl")
            .args(words)
            .args(&self.flags)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let child = started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failed("kubectl is not on the PATH: install it, so that the cluster can be asked".to_owned()),
            _ => Failed(format!("kubectl: {error}")),
        })?;
        let output = timeout(LIMIT, exchange(child, input)).await;
        let output = output.map_err(|_| Failed(format!("the cluster did not answer within {} s", LIMIT.as_secs())))?;
        let output = output.map_err(|error| Failed(format!("kubectl: {error}")))?;
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).map(Some).map_err(|error| Failed(format!("the answer of the cluster: {error}")));
        }
        let told = String::from_utf8_lossy(&output.stderr);
        match told.lines().last().map(str::trim) {
            Some(line) if line.contains("(NotFound)") => Ok(None),
            Some(line) if !line.is_empty() => Err(Failed(line.to_owned())),
            _ => Err(Failed(format!("kubectl ended with {}", output.status))),
        }
    }
}

async fn exchange(mut child: Child, input: Option<&Value>) -> io::Result<std::process::Output> {
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.to_string().as_bytes()).await?;
    }
    child.wait_with_output().await
}

impl Cluster for Kubectl {
    fn get<'a>(&'a self, path: &'a str) -> Answer<'a> {
        Box::pin(async move { self.run(&["get", "--raw", path], None).await })
    }

    fn ask<'a>(&'a self, path: &'a str, question: &'a Value) -> Answer<'a> {
        Box::pin(async move { self.run(&["create", "--raw", path, "-f", "-"], Some(question)).await })
    }
}
