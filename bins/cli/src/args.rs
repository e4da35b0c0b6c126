//! The command line.

use std::{net::Ipv4Addr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use meshkit_runtime::{logs, shutdown};

use crate::{
    STATE_DIR, demo,
    run::{self, child, control_plane},
    stat,
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
    },
    /// What a running mesh does
    #[command(subcommand)]
    Viz(Viz),
    /// Who calls whom in a running local mesh (short for `viz stat`)
    Stat(Stat),
    /// Prints the version
    Version,
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

/// Runs the command. Bad usage exits with 64, failure to start with 1.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
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
        Command::Version => {
            println!("Client version: {}", env!("CARGO_PKG_VERSION"));
            println!("Server version: unavailable");
            ExitCode::SUCCESS
        }
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
        Command::Demo { dir, length, output } => {
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

type StopFuture = std::pin::Pin<Box<dyn Future<Output = ()>>>;

fn parse_duration(text: &str) -> Result<Duration, String> {
    meshkit_proxy::config::syntax::duration(text).map_err(|e| e.to_string())
}
