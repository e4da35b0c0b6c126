//! The command line.

use std::{net::Ipv4Addr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use meshkit_runtime::{logs, shutdown};

use crate::{
    STATE_DIR,
    answer::answer,
    chart, check, controller, demo, identity, inject, install, profile,
    run::{self, child, control_plane},
    sidecar, stat, tap, version, words,
};

/// A service mesh in one program.
#[derive(Debug, Parser)]
#[command(name = "mesh", version, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the workloads of a folder of manifests in a mesh on this machine
    Run {
        /// The folder
        dir: PathBuf,
    },
    /// Runs the emoji voting application in a mesh on this machine
    Demo {
        /// Takes the manifests, to be edited [default: mesh-demo in the temporary folder]
        #[arg(long)]
        dir: Option<PathBuf>,
        /// How long to run, as 30s, 5m or 1h [default: until Ctrl-C]
        #[arg(long = "for", value_parser = parse_duration)]
        length: Option<Duration>,
        /// What to print
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        /// Prints the manifests and runs nothing, for `kubectl apply -f -`
        #[arg(long, conflicts_with_all = ["dir", "length", "output"])]
        manifests: bool,
    },
    /// What a running mesh does
    #[command(subcommand)]
    Viz(Viz),
    /// Who calls whom in a running local mesh (short for `viz stat`)
    Stat(Stat),
    /// Live requests of a workload of a running local mesh (short for `viz tap`)
    Tap(Box<tap::Tap>),
    /// Prints the versions of this program, of the mesh, and of its proxies
    Version(version::Version),
    /// Writes the objects of a mesh, for `kubectl apply -f -`
    Install(Box<install::Install>),
    /// Writes the objects of the CNI plugin, for `kubectl apply -f -`
    InstallCni(Box<install::InstallCni>),
    /// Writes what is known of the routes of a service, for `kubectl apply -f -`
    Profile(profile::Profile),
    /// Writes the objects of a mesh that is there, as this version makes them, for `kubectl apply -f -`
    Upgrade(Box<install::Upgrade>),
    /// Writes objects that this version does not make any more, for `kubectl delete -f -`
    Prune(install::Prune),
    /// Writes the objects of a mesh, for `kubectl delete -f -`
    Uninstall(install::Uninstall),
    /// Says whether everything is as it must be, and what to do if not
    Check(Box<check::Check>),
    /// Shows the certificates of proxies
    Identity(identity::Identity),
    /// Lets workloads have proxies
    Inject(Box<inject::Inject>),
    /// Takes away what `mesh inject` has added
    Uninject(inject::Uninject),
    /// Prints what completes commands in a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Writes the objects of `mesh install` as Helm charts
    #[command(hide = true)]
    Chart(chart::Chart),
    /// Redirects the connections of a pod to its proxy
    #[command(hide = true)]
    Init(meshkit_init::program::Init),
    /// Proves that the connections of a pod are redirected
    #[command(hide = true)]
    Validate(meshkit_init::program::Validate),
    /// Installs the CNI plugin on a node
    #[command(name = "install-cni-plugin", hide = true)]
    InstallCniPlugin(meshkit_init::program::InstallCni),
    /// Waits until the proxy of this pod is ready
    #[command(hide = true)]
    Await(sidecar::Await),
    /// Does nothing for some seconds
    #[command(hide = true)]
    Sleep(sidecar::Sleep),
    /// Runs a controller of a mesh on Kubernetes
    #[command(subcommand, hide = true)]
    Controller(controller::Controller),
    /// Runs a proxy, with settings from the environment
    Proxy,
    /// Runs the control plane of a local mesh
    #[command(name = "control-plane", hide = true)]
    ControlPlane {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        state: PathBuf,
        #[arg(long)]
        listen: Ipv4Addr,
        #[arg(long)]
        network: Ipv4Net,
    },
    /// Runs a part of the demo application
    #[command(name = "demo-app", hide = true)]
    DemoApp { component: String },
    /// Becomes another program that ends with its parent
    #[command(name = "exec-child", hide = true)]
    ExecChild {
        program: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Viz {
    /// Who calls whom in a running local mesh
    Stat(Stat),
    /// Live requests of a workload of a running local mesh
    Tap(Box<tap::Tap>),
}

#[derive(Debug, clap::Args)]
struct Stat {
    /// The folder that `mesh run` or `mesh demo` was started with [default: the demo's]
    dir: Option<PathBuf>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Runs the command. Bad usage exits with 64, failure to start with 1.
#[must_use]
pub fn main() -> ExitCode {
    // Nodes and images call some programs by names of their own.
    let words: Vec<_> = std::env::args_os().collect();
    if let Some(status) = words.first().and_then(|name| meshkit_init::program::named(name, words.iter().cloned())) {
        return status;
    }
    let args = match Args::try_parse_from(words::ordered(words)) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are answers, not errors.
            let status = if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return status;
        }
    };
    match args.command {
        Command::Proxy => meshkit_proxy::program::main(),
        Command::ExecChild { program, args } => {
            eprintln!("{program}: {}", child::exec(&program, &args));
            ExitCode::FAILURE
        }
        Command::Version(version) => local(async move |_| version.run().await),
        Command::Install(install) => local(async move |_| install.run().await),
        Command::InstallCni(install) => local(async move |_| install.run()),
        Command::Profile(profile) => local(async move |_| profile.run().await),
        Command::Upgrade(upgrade) => local(async move |_| upgrade.run().await),
        Command::Prune(prune) => local(async move |_| prune.run().await),
        Command::Uninstall(uninstall) => local(async move |_| uninstall.run().await),
        Command::Check(check) => local(async move |_| if check.run().await? { Ok(()) } else { Err(vec![]) }),
        Command::Identity(identity) => local(async move |_| identity.run().await),
        Command::Inject(inject) => local(async move |_| inject.run().await),
        Command::Uninject(uninject) => local(async move |_| uninject.run()),
        Command::Completion { shell } => local(async move |_| answer(&completion(shell))),
        Command::Chart(chart) => local(async move |_| chart.run()),
        Command::Controller(controller) => controller.run(),
        Command::Init(init) => init.run(),
        Command::Validate(validate) => validate.run(),
        Command::InstallCniPlugin(install) => install.run(),
        Command::Await(wait) => {
            let disabled =
                ["LINKERD_AWAIT_DISABLED", "LINKERD_DISABLED"].iter().any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
            beside(wait.run(disabled))
        }
        Command::Sleep(sleep) => beside(sleep.run()),
        Command::Run { dir } => local(async move |stop| {
            let state = dir.join(STATE_DIR);
            let running = run::start(&dir, &state).await?;
            for replica in &running.description().replicas {
                println!("{}/{} as {}", replica.namespace, replica.pod, replica.identity);
            }
            for url in &running.description().urls {
                println!("open {url}");
            }
            println!("logs in {}; Ctrl-C ends it", state.join("logs").display());
            stop.await;
            running.stop().await;
            Ok(())
        }),
        Command::Demo { manifests: true, .. } => local(async move |_| answer(&demo::manifests())),
        Command::Demo { dir, length, output, manifests: false } => {
            let output = if output == Output::Json { demo::Output::Json } else { demo::Output::Rows };
            local(async move |stop| demo::run(&demo::Settings { dir, length, output }, stop).await)
        }
        Command::Viz(Viz::Stat(of)) | Command::Stat(of) => local(async move |_| {
            let dir = of.dir.unwrap_or_else(|| std::env::temp_dir().join("mesh-demo"));
            let summary = stat::of_run(&dir.join(STATE_DIR)).await.map_err(|e| vec![e])?;
            match of.output {
                Output::Table => print!("{summary}"),
                Output::Json => println!("{}", serde_json::to_string(&summary).map_err(|e| vec![e.to_string()])?),
            }
            Ok(())
        }),
        Command::Viz(Viz::Tap(tap)) | Command::Tap(tap) => local(async move |stop| tap.run(stop).await),
        Command::ControlPlane { dir, state, listen, network } => local(async move |stop| {
            let settings = control_plane::Settings { dir, state, listen, network };
            tokio::select! {
                served = control_plane::serve(&settings) => served.map_err(|e| vec![e.to_string()]),
                () = stop => Ok(()),
            }
        }),
        Command::DemoApp { component } => local(async move |_| {
            let component = component.parse().map_err(|e| vec![format!("{e}")])?;
            meshkit_demo::run(component, |name| std::env::var(name).ok()).await.map_err(|e| vec![e.to_string()])
        }),
    }
}

/// Runs a task of this machine until it ends; it is told of SIGINT and SIGTERM.
fn local<F>(task: F) -> ExitCode
where
    F: AsyncFnOnce(StopFuture) -> Result<(), Vec<String>>,
{
    let filter = std::env::var("MESH_LOG").unwrap_or_else(|_| "warn,meshkit=info".to_owned());
    // Standard output is for what the command answers.
    match logs::subscriber(&filter, logs::Format::Plain, std::io::stderr) {
        // It fails only where somebody has set one up before, who hears everything then.
        Ok((dispatch, _level)) => drop(tracing::dispatcher::set_global_default(dispatch)),
        Err(error) => {
            eprintln!("mesh: MESH_LOG: {error}");
            return ExitCode::from(64);
        }
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mesh: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let (trigger, mut requested) = shutdown::listen().map_err(|e| vec![e.to_string()])?;
        let stop: StopFuture = Box::pin(async move {
            let _kept = trigger;
            requested.received().await;
        });
        task(stop).await
    });
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("mesh: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs what stands beside a proxy: it has an exit code of its own, and logs nothing.
fn beside(task: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(task),
        Err(error) => {
            eprintln!("mesh: {error}");
            ExitCode::FAILURE
        }
    }
}

fn completion(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "mesh", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

type StopFuture = std::pin::Pin<Box<dyn Future<Output = ()>>>;

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    meshkit_proxy::config::syntax::duration(text).map_err(|e| e.to_string())
}
