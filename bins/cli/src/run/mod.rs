//! `mesh run DIR`: a mesh on one machine, from a folder of manifests.
//!
//! The supervisor holds no policy. It starts one process for the control plane, one for each proxy, one for each container, ends them with
//! itself, and tells the control plane which replicas run and are ready. An edit of the folder starts, restarts and ends what it touches, and
//! nothing else.

pub mod child;
pub mod control_plane;
pub mod desired;
mod files;
pub mod names;
pub mod objects;
pub mod plan;
pub mod replica;
mod running;
pub mod substitute;
mod supervisor;

use std::{io, net::SocketAddr, path::Path, time::Duration};

use meshkit_core::{Dice, drain};
use meshkit_injector::Mesh;
use meshkit_manifest::{Cluster, Event, Folder, Object};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tracing::info;

use self::{
    child::{Restart, Spec},
    desired::{Desired, Surroundings},
    objects::Told,
    plan::Plan,
    running::Group,
    supervisor::Supervisor,
};

/// How long the control plane may take to come up.
const CONTROL_PLANE_LIMIT: Duration = Duration::from_secs(10);

/// A mesh that is running. Dropping it kills every process of it.
#[derive(Debug)]
pub struct Run {
    description: watch::Receiver<Description>,
    stop: drain::Signal,
    tasks: JoinSet<()>,
}

/// What runs, for people and for `mesh viz stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// One for each replica.
    pub replicas: Vec<Described>,
    /// URLs that people can open.
    pub urls: Vec<String>,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its namespace.
    pub namespace: String,
    /// Its Pod.
    pub pod: String,
    /// What it belongs to.
    pub workload: String,
    /// Who it is.
    pub identity: String,
    /// Its proxy's admin server.
    pub admin: SocketAddr,
}

/// Starts everything, or nothing: what is wrong is told before a process is started.
///
/// # Errors
/// Everything that is wrong, a line each.
pub async fn start(dir: &Path, state: &Path) -> Result<Run, Vec<String>> {
    let failed = |what: &Path, error: io::Error| vec![format!("{}: {error}", what.display())];
    let folder = Folder::open(dir).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    for (path, ignored) in folder.ignored() {
        info!("{}:{}: {} is not read by this version", path.display(), ignored.line, ignored.kind);
    }
    // In the same order as after an edit.
    let mut cluster = Cluster::default();
    cluster.apply(Event::Reset(folder.objects().cloned().collect()), |_| true);
    let objects: Vec<Object> = cluster.objects().cloned().collect();

    let mut plan = Plan::new(state);
    let program = std::env::current_exe().map_err(|e| vec![format!("this program cannot find itself: {e}")])?;
    let trust = files::prepare(state, &plan).map_err(|e| failed(state, e))?;
    let around = Surroundings { state: state.to_owned(), program, mesh: mesh(&plan, trust.authority.anchors_pem()) };
    let desired = Desired::new(&objects, &mut plan, &around)?;
    if desired.replicas.is_empty() {
        return Err(vec![format!("{}: there is no Deployment, StatefulSet or Job to run", dir.display())]);
    }
    let taken: Vec<_> = desired.replicas.iter().flat_map(|planned| supervisor::taken(&planned.replica)).collect();
    if !taken.is_empty() {
        return Err(taken);
    }
    // The control plane knows of every replica before its proxy asks, and believes nothing of an earlier run.
    let mut told = Told::default();
    told.adopt(desired.services.clone(), desired.replicas.iter());
    files::write_objects(state, &told).map_err(|e| failed(state, e))?;

    let dice = Dice::new(u64::from(std::process::id()));
    let (mut control_plane, drain) = Group::new();
    drop(control_plane.supervise(control_plane_spec(dir, &around, &plan), &drain, &dice));
    drop(drain);
    let api = SocketAddr::new(plan.control_plane().into(), names::POLICY_PORT);
    if timeout(CONTROL_PLANE_LIMIT, running::accepts(api)).await.is_err() {
        let log = names::logs_dir(state).join("control-plane.log");
        return Err(vec![format!("the control plane does not come up; see {}", log.display())]);
    }

    let (stop, signaled) = drain::channel();
    let (told, watched) = watch::channel(told);
    let (description, described) = watch::channel(Description::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(supervisor::tell(around.clone(), watched));
    let mut supervisor =
        Supervisor { around, plan, tokens: trust.tokens, dice, control_plane, told, description, running: Default::default() };
    supervisor.apply(desired, &signaled).await;
    tasks.spawn(supervisor.follow(folder, objects, signaled));
    Ok(Run { description: described, stop, tasks })
}

impl Description {
    /// What runs with its state in `state`.
    ///
    /// # Errors
    /// Nothing does.
    pub fn of_run(state: &Path) -> Result<Self, String> {
        let file = names::run_file(state);
        let text = std::fs::read_to_string(&file)
            .map_err(|e| format!("{}: {e}; is a mesh running? start one with `mesh run` or `mesh demo`", file.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
    }
}

impl Run {
    /// What runs now.
    #[must_use]
    pub fn description(&self) -> Description {
        self.description.borrow().clone()
    }

    /// Ends everything, applications first, so that what they still send arrives.
    pub async fn stop(mut self) {
        self.stop.drain().await;
        self.tasks.shutdown().await;
    }
}

fn mesh(plan: &Plan, trust_anchors: &str) -> Mesh {
    let at = |port: u16| format!("{}:{port}", plan.control_plane());
    Mesh {
        namespace: names::NAMESPACE.to_owned(),
        cluster_domain: names::DOMAIN.to_owned(),
        trust_domain: names::DOMAIN.to_owned(),
        destination: at(names::DESTINATION_PORT),
        policy: at(names::POLICY_PORT),
        identity: at(names::IDENTITY_PORT),
        trust_anchors: trust_anchors.to_owned(),
        cluster_networks: vec![plan.network().into()],
        default_inbound_policy: "all-unauthenticated".to_owned(),
        log: "warn,linkerd=info".to_owned(),
    }
}

fn control_plane_spec(dir: &Path, around: &Surroundings, plan: &Plan) -> Spec {
    let args = [
        "control-plane".to_owned(),
        format!("--dir={}", dir.display()),
        format!("--state={}", around.state.display()),
        format!("--listen={}", plan.control_plane()),
        format!("--network={}", plan.network()),
    ];
    Spec {
        name: "control-plane".to_owned(),
        program: around.program.clone(),
        args: args.into(),
        env: std::env::vars().filter(|(name, _)| name == "PATH" || name == "MESH_LOG").collect(),
        log: names::logs_dir(&around.state).join("control-plane.log"),
        restart: Restart::Always,
    }
}
