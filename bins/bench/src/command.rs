//! The command line.

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

use crate::{
    floor::Floor,
    machine::Machine,
    measure::{self, Times},
    peer::{Lab, Peer, Servers, Setup, Topology},
    report::{Results, Row, table},
    scenario::{self, Scenario, Work},
    server::Server,
    syscalls,
    tools::Tools,
};

/// Meshkit side by side with Envoy, HAProxy, nginx and a bare floor.
#[derive(Debug, Parser)]
#[command(name = "meshkit-bench", version, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures
    Run(Run),
    /// Writes the page again, from what was measured before
    Page {
        /// The folder of `benchmarks.md`
        docs: PathBuf,
    },
    /// The server behind the proxies
    #[command(hide = true)]
    Server(Server),
    /// A proxy of the floor
    #[command(subcommand, hide = true)]
    Floor(Floor),
}

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// Scenarios [default: all]
    scenarios: Vec<String>,
    /// Who is compared
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::ALL)]
    peers: Vec<Peer>,
    /// A second for each measurement, one round, no installation: shows that it works, and measures nothing
    #[arg(long)]
    quick: bool,
    /// How often everyone has a turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn is, in seconds
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Takes `benchmarks.md` and its plots
    #[arg(long)]
    report: Option<PathBuf>,
    /// The mesh program [default: the one in the build folder, of the profile dist, release or dev]
    #[arg(long)]
    mesh: Option<PathBuf>,
    /// The build folder; tools are installed below it
    #[arg(long, default_value = "target")]
    target: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl Args {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.and_then(|runtime| {
            runtime.block_on(async {
                match self.command {
                    Command::Run(run) => run.run().await,
                    Command::Page { docs } => Results::read(&docs)?.write(&docs),
                    Command::Server(server) => server.run().await,
                    Command::Floor(floor) => floor.run().await,
                }
            })
        });
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("meshkit-bench: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Run {
    async fn run(self) -> io::Result<()> {
        // Whoever interrupts ends everything that was started: a dropped child is killed.
        let mut terminated = signal(SignalKind::terminate())?;
        let local = LocalSet::new();
        let results = tokio::select! {
            results = local.run_until(self.measure()) => results?,
            _ = tokio::signal::ctrl_c() => return Err(io::ErrorKind::Interrupted.into()),
            _ = terminated.recv() => return Err(io::ErrorKind::Interrupted.into()),
        };
        match self.output {
            Output::Table => print!("{}", table(&results)),
            Output::Json => println!("{}", serde_json::to_string_pretty(&results)?),
        }
        match &self.report {
            Some(docs) => results.write(docs),
            None => Ok(()),
        }
    }

    fn scenarios(&self) -> io::Result<Vec<&'static Scenario>> {
        let named = |name: &String| {
            let all = || scenario::ALL.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
            Scenario::named(name).ok_or_else(|| io::Error::other(format!("no scenario {name}; there are {}", all())))
        };
        if self.scenarios.is_empty() { Ok(scenario::ALL.iter().collect()) } else { self.scenarios.iter().map(named).collect() }
    }

    fn times(&self) -> (usize, Times) {
        let seconds = Duration::from_secs_f64(self.seconds.clamp(0.1, 60.0));
        match self.quick {
            true => (1, Times { warm: Duration::from_millis(300), window: Duration::from_secs(1) }),
            false => (self.rounds.max(1), Times { warm: Duration::from_secs(1), window: seconds }),
        }
    }

    async fn measure(&self) -> io::Result<Results> {
        let scenarios = self.scenarios()?;
        let target = std::path::absolute(&self.target)?;
        let mesh = self.mesh.as_deref().map(std::path::absolute).transpose()?;
        let tools = if self.quick { Tools::found(&target, mesh) } else { Tools::install(&target, mesh).await? };
        let mut results =
            Results { machine: Machine::this(tools.versions().await).await, missing: tools.missing.clone(), ..Results::default() };
        let lab = Lab::new(std::env::current_exe()?, tools)?;
        let mut setups: Vec<_> = scenarios.iter().map(|scenario| scenario.setup).collect();
        setups.sort_unstable();
        setups.dedup();
        for setup in setups {
            let servers = lab.servers(setup).await?;
            let here: Vec<_> = scenarios.iter().copied().filter(|scenario| scenario.setup == setup).collect();
            self.measure_setup(setup, &here, &lab, &servers, &mut results).await?;
            servers.stop().await;
        }
        Ok(results)
    }

    async fn measure_setup(
        &self,
        setup: Setup,
        scenarios: &[&'static Scenario],
        lab: &Lab,
        servers: &Servers,
        results: &mut Results,
    ) -> io::Result<()> {
        let (mut running, mut missing) = (Vec::new(), Vec::new());
        for peer in &self.peers {
            match peer.start(setup, lab, servers).await {
                Ok(topology) => running.push((*peer, topology)),
                Err(error) => {
                    eprintln!("== {peer} is left out: {error}");
                    missing.push((*peer, error.to_string()));
                }
            }
        }
        for scenario in scenarios {
            eprintln!("== {}: {}", scenario.name, scenario.title);
            let mut row = Row { missing: missing.iter().cloned().collect(), ..Row::default() };
            match scenario.work {
                Work::Load(..) => self.loads(scenario, &running, lab, &mut row).await?,
                Work::Idle(count) => self.idle(count, setup, lab, servers, &mut row).await?,
            }
            results.rows.insert(scenario.name.to_owned(), row);
        }
        for (_, topology) in running {
            topology.stop().await;
        }
        Ok(())
    }

    /// Everyone has a turn, then everyone again: what else happens on the machine happens to all.
    async fn loads(&self, scenario: &Scenario, running: &[(Peer, Topology)], lab: &Lab, row: &mut Row) -> io::Result<()> {
        let (rounds, times) = self.times();
        for _ in 0..rounds {
            for (peer, topology) in running {
                let Some(load) = scenario.work.load(topology) else {
                    row.missing.insert(*peer, "does not take this load".to_owned());
                    continue;
                };
                let sample = measure::load(load, topology, times).await?;
                row.samples.entry(*peer).or_default().push(sample);
            }
        }
        for (peer, topology) in running.iter().filter(|(peer, _)| *peer != Peer::Direct && !self.quick) {
            if let Some(load) = scenario.work.load(topology)
                && scenario.metric == scenario::Metric::CpuPerRequest
            {
                match syscalls::count(load, topology, &lab.dir).await {
                    Ok(calls) => drop(row.syscalls.insert(*peer, calls)),
                    Err(error) => eprintln!("== system calls of {peer} are not counted: {error}"),
                }
            }
        }
        Ok(())
    }

    /// Each time with new proxies: memory that was used once is used again.
    async fn idle(&self, count: usize, setup: Setup, lab: &Lab, servers: &Servers, row: &mut Row) -> io::Result<()> {
        let rounds = if self.quick { 1 } else { self.rounds.min(3) };
        for _ in 0..rounds {
            for peer in self.peers.iter().filter(|peer| **peer != Peer::Direct && !row.missing.contains_key(peer)) {
                let topology = peer.start(setup, lab, servers).await?;
                let sample = measure::idle(count, &topology).await?;
                row.samples.entry(*peer).or_default().push(sample);
                topology.stop().await;
            }
        }
        Ok(())
    }
}
