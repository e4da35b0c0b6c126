//! Command lines and exit codes.
//!
//! Bad usage exits with 64, failure with 1; the validator has a status of its own, and the CNI plugin answers as its specification says.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{ArgAction, Args, Parser, ValueEnum, builder::BoolishValueParser};
use ipnet::IpNet;
use meshkit_runtime::{logs, shutdown};
use tracing::{error, info};

use crate::{
    apply::Target,
    cni::{
        api::Api,
        install::{Installer, Settings},
        kubeconfig::Access,
        plugin::{Call, Refusal},
    },
    ports::{PortRange, parse_list},
    rules::{Redirect, iptables::Mode},
    validate::{self, Check},
};

/// Bytes of the configuration that the plugin reads.
const CONF_MAX: u64 = 4 << 20;
const USAGE_STATUS: u8 = 64;
const LEVELS: [&str; 8] = ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"];

/// Redirects the connections of this network namespace to the proxy
#[derive(Clone, Debug, Args)]
pub struct Init {
    /// Where incoming connections go
    #[arg(short = 'p', long, value_name = "PORT")]
    incoming_proxy_port: u16,
    /// Where outgoing connections go
    #[arg(short = 'o', long, value_name = "PORT")]
    outgoing_proxy_port: u16,
    /// The user whose connections are left alone
    #[arg(short = 'u', long, default_value_t = -1, allow_negative_numbers = true, value_name = "UID", value_parser = clap::value_parser!(i64).range(-1..=i64::from(u32::MAX)))]
    proxy_uid: i64,
    /// The group whose connections are left alone
    #[arg(short = 'g', long, default_value_t = -1, allow_negative_numbers = true, value_name = "GID", value_parser = clap::value_parser!(i64).range(-1..=i64::from(u32::MAX)))]
    proxy_gid: i64,
    /// Incoming ports to redirect [default: all]
    #[arg(short = 'r', long, value_delimiter = ',', value_name = "PORTS")]
    ports_to_redirect: Vec<u16>,
    /// Incoming ports and ranges (a-b) to leave alone
    #[arg(long, value_name = "PORTS")]
    inbound_ports_to_ignore: Vec<String>,
    /// Outgoing ports and ranges (a-b) to leave alone
    #[arg(long, value_name = "PORTS")]
    outbound_ports_to_ignore: Vec<String>,
    /// Networks whose connections are left alone when they come in
    #[arg(long, value_parser = subnets, value_name = "NETWORKS")]
    subnets_to_ignore: Vec<Subnets>,
    /// Logs the commands and runs none
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    simulate: bool,
    /// Works in the network namespace of this file
    #[arg(long, value_name = "FILE")]
    netns: Option<PathBuf>,
    /// Lets iptables wait for its lock
    #[arg(short = 'w', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    use_wait_flag: bool,
    /// Sets how long the kernel remembers connections that one side has closed; 0 leaves it
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    timeout_close_wait_secs: u32,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Plain)]
    log_format: LogFormat,
    /// What is logged
    #[arg(long, value_parser = LEVELS, default_value = "info", value_name = "LEVEL")]
    log_level: String,
    /// Which iptables; goes before --firewall-bin-path
    #[arg(long, value_parser = ["", "legacy", "nft", "plain"], default_value = "", hide_default_value = true, value_name = "MODE")]
    iptables_mode: String,
    /// The iptables program, which says the mode: iptables-legacy, iptables-nft or iptables
    #[arg(long, value_parser = ["", "iptables-legacy", "iptables-nft", "iptables"], default_value = "", hide_default_value = true, value_name = "PROGRAM")]
    firewall_bin_path: String,
    /// Follows from the mode; accepted and not used
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PROGRAM")]
    firewall_save_bin_path: String,
    /// Makes rules for IPv6, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    ipv6: bool,
}

/// Proves that the connections of this network namespace are redirected; exits with 95 if they are not
#[derive(Clone, Debug, Args)]
pub struct Validate {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Plain, env = "LINKERD_NETWORK_VALIDATOR_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged
    #[arg(long, default_value = "info", env = "LINKERD_NETWORK_VALIDATOR_LOG_LEVEL", value_name = "LEVEL")]
    log_level: String,
    /// Where a connection goes to, if nothing redirects it
    #[arg(long, default_value = "192.0.2.2:1404", value_name = "ADDR")]
    connect_addr: SocketAddr,
    /// Where it must arrive
    #[arg(long, default_value = "0.0.0.0:4140", value_name = "ADDR")]
    listen_addr: SocketAddr,
    /// How long it may take
    #[arg(long, default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

/// Installs the CNI plugin on a node and keeps it there, with settings from the environment
#[derive(Clone, Debug, Default, Args)]
pub struct InstallCni {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Plain,
    Json,
}

#[derive(Clone, Debug)]
struct Subnets(Vec<IpNet>);

#[derive(Parser)]
struct Alone<T: Args> {
    #[command(flatten)]
    args: T,
}

/// Runs the program that `name` is, if it is one of these: images and nodes call them by their own names.
///
/// `linkerd2-proxy-init`, `linkerd2-network-validator`, `linkerd-cni` and `install-cni`, with or without folders before.
#[must_use]
pub fn named(name: &OsStr, args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    match Path::new(name).file_name()?.to_str()? {
        "linkerd2-proxy-init" => Some(alone::<Init>(args).map_or_else(|status| status, Init::run)),
        "linkerd2-network-validator" => Some(alone::<Validate>(args).map_or_else(|status| status, Validate::run)),
        "install-cni" => Some(alone::<InstallCni>(args).map_or_else(|status| status, InstallCni::run)),
        crate::cni::NAME => Some(plugin()),
        _ => None,
    }
}

impl Init {
    /// Makes the rules.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if let Some(status) = install_logs(level(&self.log_level), self.log_format) {
            return status;
        }
        let target = self.target(env::var_os("PATH").unwrap_or_default());
        let redirect = self.redirect();
        finish(block_on(async { target.apply(&redirect).await }), "the rules could not be made")
    }

    /// What is to be redirected. Ports that are none are logged and passed over.
    fn redirect(&self) -> Redirect {
        let mut redirect = Redirect::new(self.incoming_proxy_port, self.outgoing_proxy_port).only_ports(self.ports_to_redirect.clone());
        // Negative means none.
        if let Ok(uid) = u32::try_from(self.proxy_uid) {
            redirect = redirect.proxy_uid(uid);
        }
        if let Ok(gid) = u32::try_from(self.proxy_gid) {
            redirect = redirect.proxy_gid(gid);
        }
        redirect
            .ignore_inbound(ranges(&self.inbound_ports_to_ignore, "inbound-ports-to-ignore"))
            .ignore_outbound(ranges(&self.outbound_ports_to_ignore, "outbound-ports-to-ignore"))
            .ignore_subnets(self.subnets_to_ignore.iter().flat_map(|Subnets(subnets)| subnets.iter().copied()))
    }

    fn target(&self, path: OsString) -> Target {
        let mut target = Target::new(self.mode(), path);
        if !self.ipv6 {
            target = target.without_ipv6();
        }
        if self.simulate {
            target = target.simulate();
        }
        if self.use_wait_flag {
            target = target.wait();
        }
        if let Some(netns) = &self.netns {
            target = target.netns(netns);
        }
        if self.timeout_close_wait_secs > 0 {
            target = target.close_wait(Duration::from_secs(self.timeout_close_wait_secs.into()));
        }
        target
    }

    fn mode(&self) -> Mode {
        // The parser lets nothing else through.
        match (self.iptables_mode.as_str(), self.firewall_bin_path.as_str()) {
            ("nft", _) | ("", "iptables-nft") => Mode::Nft,
            ("plain", _) | ("", "iptables") => Mode::Plain,
            _ => Mode::Legacy,
        }
    }
}

impl Validate {
    /// Tries a connection. Failure, silence and a signal exit with 95: in none of these cases may the pod start.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if let Some(status) = install_logs(&self.log_level, self.log_format) {
            return status;
        }
        let check = Check { connect: self.connect_addr, listen: self.listen_addr, limit: self.timeout };
        let result = block_on(async {
            let (_trigger, mut stop) = shutdown::listen().map_err(|error| error.to_string())?;
            tokio::select! {
                result = check.run() => result.map_err(|error| chain(&error)),
                reason = stop.received() => Err(format!("stopped by {reason} before a connection was redirected")),
            }
        });
        match result.and_then(|result| result.map_err(io::Error::other)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error!("{}", chain(&error));
                ExitCode::from(validate::EXIT_STATUS)
            }
        }
    }
}

impl InstallCni {
    /// Installs, stays, and cleans up when it is told to stop.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if let Some(status) = install_logs("info", LogFormat::Plain) {
            return status;
        }
        let settings = env::current_exe().map_err(|error| vec![error.to_string()]).and_then(|program| {
            Settings::from_env(env::vars_os(), program).map_err(|faults| faults.iter().map(ToString::to_string).collect())
        });
        let settings = match settings {
            Ok(settings) => settings,
            Err(faults) => {
                faults.iter().for_each(|fault| error!("{fault}"));
                return ExitCode::from(USAGE_STATUS);
            }
        };
        let result = block_on(async {
            let installer = Installer::new(settings).map_err(|error| io::Error::other(chain(&error)))?;
            let (_trigger, mut stop) = shutdown::listen()?;
            let stop = async move {
                let reason = stop.received().await;
                info!(%reason, "removing the plugin");
            };
            installer.run(stop).await.map_err(|error| io::Error::other(chain(&error)))
        });
        finish(result, "the plugin could not be installed")
    }
}

/// Answers a container runtime as the CNI plugin: its variables and standard input in, standard output out, logs on standard error.
#[must_use]
pub fn plugin() -> ExitCode {
    let call = Call::from_env(env::vars_os());
    let mut conf = Vec::new();
    let read = io::stdin().take(CONF_MAX).read_to_end(&mut conf);
    let log_level =
        serde_json::from_slice(&conf).ok().and_then(|conf: serde_json::Value| Some(level(conf.get("log_level")?.as_str()?).to_owned()));
    // A filter that is none must not keep a pod from starting.
    if let Ok((logs, _)) = logs::subscriber(log_level.as_deref().unwrap_or("info"), logs::Format::Plain, io::stderr) {
        let _ = tracing::dispatcher::set_global_default(logs);
    }
    let answer = block_on(async {
        read?;
        Ok::<_, io::Error>(call.answer(&conf, connect).await)
    });
    match answer.and_then(|answer| answer) {
        Ok(Ok(None)) => ExitCode::SUCCESS,
        Ok(Ok(Some(result))) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Ok(Err(refusal)) => {
            error!("{refusal}");
            println!("{}", refusal.to_json());
            ExitCode::FAILURE
        }
        Err(error) => {
            error!(%error, "cannot run");
            println!("{}", Refusal::from(error).to_json());
            ExitCode::FAILURE
        }
    }
}

fn connect(kubeconfig: &Path) -> Result<Api, io::Error> {
    let text =
        std::fs::read_to_string(kubeconfig).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", kubeconfig.display())))?;
    let access = Access::from_kubeconfig(&text).map_err(io::Error::other)?;
    Api::new(&access).map_err(|error| io::Error::other(chain(&error)))
}

fn alone<T: Args>(args: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    // The name of the program is the first argument.
    Alone::<T>::try_parse_from(args).map(|alone| alone.args).map_err(|error| {
        // Help is an answer, not an error.
        let status = if error.use_stderr() { ExitCode::from(USAGE_STATUS) } else { ExitCode::SUCCESS };
        let _ = error.print();
        status
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = runtime.block_on(future);
    // A resolver that hangs is left behind.
    runtime.shutdown_background();
    Ok(output)
}

fn finish<E: std::error::Error>(result: io::Result<Result<(), E>>, what: &str) -> ExitCode {
    let text = match result {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => chain(&error),
        Err(error) => chain(&error),
    };
    error!("{what}: {text}");
    ExitCode::FAILURE
}

fn install_logs(filter: &str, format: LogFormat) -> Option<ExitCode> {
    let format = match format {
        LogFormat::Plain => logs::Format::Plain,
        LogFormat::Json => logs::Format::Json,
    };
    let error = logs::install(filter, format).err()?;
    eprintln!("--log-level: {error}");
    Some(ExitCode::from(USAGE_STATUS))
}

/// Levels as Go programs name them. Any other word would be a filter that logs nothing.
fn level(name: &str) -> &str {
    match name {
        "panic" | "fatal" => "error",
        "warning" => "warn",
        other if LEVELS.contains(&other) => other,
        _ => "info",
    }
}

fn ranges(entries: &[String], flag: &str) -> Vec<PortRange> {
    let (ranges, faults) = parse_list(&entries.join(","));
    faults.iter().for_each(|fault| error!("--{flag}: {fault}: passed over"));
    ranges
}

fn subnets(text: &str) -> Result<Subnets, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let subnets: Result<_, _> =
        entries.map(|entry| entry.parse().map_err(|_| format!("{entry:?} is no network (as 10.0.0.0/8)"))).collect();
    subnets.map(Subnets)
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let wrong = || format!("{text:?} is no time (as 10s, 500ms or 1m)");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// An error and what is behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
