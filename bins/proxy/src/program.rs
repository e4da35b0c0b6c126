//! The proxy as a program: settings from the environment, signals, exit codes.

use std::{env, process::ExitCode, sync::Arc, time::Duration};

use meshkit_core::SystemClock;
use meshkit_runtime::{
    logs,
    process::{BuildInfo, code},
    shutdown, threads,
};
use tokio::time::sleep;
use tracing::{debug, error, info};

use crate::{
    Config, Proxy,
    config::env::{EXIT_STATUS, log_settings},
};

/// By then a proxy has done what is done once.
const START: Duration = Duration::from_secs(5);

/// Runs a proxy until SIGTERM or SIGINT. Exits with 64 if a setting cannot be used, with 1 if the proxy cannot start.
#[must_use]
pub fn main() -> ExitCode {
    let (filter, format) = log_settings(env::vars_os());
    let level = match logs::install(&filter, format) {
        Ok(level) => level,
        Err(error) => {
            eprintln!("mesh proxy: {error}");
            return ExitCode::from(EXIT_STATUS);
        }
    };
    let checked = Config::from_env(env::vars_os()).and_then(|config| config.check_files().map(|()| config));
    let config = match checked {
        Ok(config) => config,
        Err(faults) => {
            faults.iter().for_each(|fault| error!("{fault}"));
            return ExitCode::from(EXIT_STATUS);
        }
    };
    let workers = config.runtime.worker_count(threads::available());
    let runtime = match threads::runtime("proxy", workers) {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "the runtime cannot be started");
            return ExitCode::FAILURE;
        }
    };
    let vars = env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    let ended = runtime.block_on(async {
        let (trigger, mut requested) = shutdown::listen()?;
        let proxy = Proxy::bind(config, Arc::new(SystemClock))?.logs(level).environment(vars).build_info(build_info());
        let stop = async move {
            let reason = requested.received().await;
            info!(%reason, "shutting down");
        };
        tokio::spawn(release_code());
        proxy.run(stop, Some(trigger)).await
    });
    // A resolver that hangs is left behind.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "the proxy cannot run");
            ExitCode::FAILURE
        }
    }
}

/// Of the code that started the proxy, most is not run again: 14 MiB resident become 5.
async fn release_code() {
    sleep(START).await;
    match code::release() {
        Ok(bytes) => debug!(bytes, "code of the start given back"),
        Err(error) => debug!(%error, "code of the start is kept"),
    }
}

fn build_info() -> BuildInfo {
    let known = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
    BuildInfo {
        date: known(option_env!("LINKERD2_PROXY_BUILD_DATE")),
        git_sha: known(option_env!("MESH_GIT_SHA")),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        vendor: known(option_env!("LINKERD2_PROXY_VENDOR")),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
