//! What is around every controller: logs, an admin server, a reason to stop, and an end.

use std::{env, error::Error, io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use meshkit_core::{Clock, SystemClock, drain};
use meshkit_runtime::{
    admin::{Access, Admin, Latch, Readiness},
    logs,
    metrics::Registry,
    process::{self, BuildInfo},
    shutdown,
};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::{error, info, warn};

use super::flags::Logs;

/// Bad usage: `EX_USAGE` of sysexits.
const EXIT_USAGE: u8 = 64;
/// How long a series is kept after its last owner.
const RETAIN: Duration = Duration::from_secs(600);
/// How long requests in flight have when the program is told to stop. Watches never end by themselves: they are cut off then, and begun again elsewhere.
const GRACE: Duration = Duration::from_secs(3);

pub(super) type Fault = Box<dyn Error + Send + Sync>;

/// What a controller runs in.
pub(super) struct Program {
    pub(super) registry: Registry,
    pub(super) clock: Arc<dyn Clock>,
    /// The name of the pod.
    pub(super) pod: String,
    /// Whoever holds it is waited for.
    pub(super) drain: drain::Watch,
    /// What runs for as long as the program does. A part that ends ends the program: half a controller is worse than none.
    parts: JoinSet<(&'static str, Result<(), Fault>)>,
    /// Released once the controller answers.
    unready: Option<Latch>,
}

impl Program {
    /// Adds a part.
    pub(super) fn part(&mut self, name: &'static str, part: impl Future<Output = Result<(), Fault>> + Send + 'static) {
        self.parts.spawn(async move { (name, part.await) });
    }

    /// Adds a part that never ends.
    pub(super) fn endless(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.part(name, async move {
            part.await;
            Ok(())
        });
    }

    /// Says that the controller answers.
    pub(super) fn ready(&mut self) {
        if let Some(latch) = self.unready.take() {
            latch.release();
            info!("ready");
        }
    }
}

/// Runs a controller until it is told to stop, or cannot go on. `start` makes its parts and says when it is ready.
pub(super) fn run<F>(name: &'static str, logs: &Logs, admin: SocketAddr, start: F) -> ExitCode
where
    F: AsyncFnOnce(&mut Program) -> Result<(), Fault>,
{
    let level = match logs::install(&logs.filter(), logs.log_format) {
        Ok(level) => level,
        Err(error) => {
            eprintln!("mesh controller {name}: --log-level: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Fault::from).and_then(|runtime| {
        let ended = runtime.block_on(serve(level, admin, start));
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            error!("{}", chain(&*fault));
            ExitCode::FAILURE
        }
    }
}

async fn serve<F>(level: Option<logs::Level>, addr: SocketAddr, start: F) -> Result<(), Fault>
where
    F: AsyncFnOnce(&mut Program) -> Result<(), Fault>,
{
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (trigger, mut stop) = shutdown::listen()?;
    let (readiness, registry) = (Readiness::new(), Registry::new(RETAIN));
    let unready = Some(readiness.latch());
    process::register(&registry, Arc::clone(&clock));
    BuildInfo {
        git_sha: option_env!("MESH_GIT_SHA").unwrap_or_default().to_owned(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        vendor: "meshkit".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..BuildInfo::default()
    }
    .register(&registry);

    let admin = Admin::new(readiness, registry.clone())
        .logs(level)
        .shutdown(Some(trigger))
        .route("/ping", Access::Anyone, |_| async { Response::new(Full::new(Bytes::from_static(b"pong\n"))) });
    let listener = bind(addr).await?;
    let (signal, drain) = drain::channel();
    let pod = env::var("HOSTNAME").unwrap_or_default();
    let mut program = Program { registry, clock, pod, drain, parts: JoinSet::new(), unready };
    program.parts.spawn(async move { match admin.serve(listener).await {} });

    // Told to stop before it is ready, it stops.
    let started = tokio::select! {
        started = start(&mut program) => Some(started),
        reason = stop.received() => {
            info!(%reason, "stopping before anything was served");
            None
        }
    };
    let Some(started) = started else { return Ok(()) };
    started?;
    let Program { mut parts, drain, .. } = program;
    drop(drain);
    tokio::select! {
        reason = stop.received() => info!(%reason, "stopping"),
        Some(ended) = parts.join_next() => {
            let (part, ended) = ended.map_err(|panic| Fault::from(format!("a part of the controller has panicked: {panic}")))?;
            return Err(match ended {
                Ok(()) => format!("{part} has ended").into(),
                Err(fault) => format!("{part}: {}", chain(&*fault)).into(),
            });
        }
    }
    if let Err(elapsed) = shutdown::drain(signal, GRACE).await {
        info!(%elapsed, "watches are cut off");
    }
    Ok(())
}

/// Listens, or says where it cannot.
pub(super) async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(addr).await {
        // A kernel without IPv6.
        Err(error) if addr == SocketAddr::from(([0; 16], addr.port())) && error.kind() != io::ErrorKind::AddrInUse => {
            warn!(%error, "listening on IPv4 alone");
            let addr = SocketAddr::from(([0; 4], addr.port()));
            TcpListener::bind(addr).await.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}")))
        }
        bound => bound.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}"))),
    }
}

/// An error with all its reasons.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
