//! `mesh run DIR`: a mesh on one machine, from a folder of manifests.
//!
//! The supervisor holds no policy. It starts one process for the control plane, one for each proxy, one for each container, ends them with
//! itself, and tells the control plane which replicas run and are ready.

pub mod child;
pub mod control_plane;
pub mod names;
pub mod objects;
pub mod plan;
pub mod replica;
pub mod substitute;

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use meshkit_core::{Dice, drain};
use meshkit_identity::{Tokens, authority::Authority, token::ServiceAccount};
use meshkit_injector::Mesh;
use meshkit_manifest::{Folder, Object};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use self::{
    child::{Restart, Spec, Status},
    objects::Readiness,
    plan::{Name, Plan},
    replica::Replica,
};

/// How long the control plane may take to come up.
const CONTROL_PLANE_LIMIT: Duration = Duration::from_secs(10);
/// How often readiness is looked at.
const READINESS_INTERVAL: Duration = Duration::from_millis(50);
/// How long ending everything may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// A mesh that is running.
#[derive(Debug)]
pub struct Run {
    description: Description,
    apps: drain::Signal,
    proxies: drain::Signal,
    control: drain::Signal,
    tasks: JoinSet<()>,
    state: PathBuf,
}

/// What runs, for people and for `mesh viz stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    let one = |error: String| vec![error];
    let folder = Folder::open(dir).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    for (path, ignored) in folder.ignored() {
        info!("{}:{}: {} is not read by this version", path.display(), ignored.line, ignored.kind);
    }
    let objects: Vec<Object> = folder.objects().cloned().collect();
    let mut plan = Plan::new(state);
    let replicas = replica::replicas(&objects, &mut plan).map_err(|e| one(e.to_string()))?;
    if replicas.is_empty() {
        return Err(one(format!("{}: there is no Deployment, StatefulSet or Job to run", dir.display())));
    }
    let program = std::env::current_exe().map_err(|e| one(format!("this program cannot find itself: {e}")))?;
    let prepared = prepare(state, &plan).map_err(|e| one(format!("{}: {e}", state.display())))?;
    let mesh = mesh(&plan, &prepared);

    let (mut specs, mut faults) = (Vec::new(), Vec::new());
    for replica in &replicas {
        match (replica.proxy(&mesh, state, &program), replica.containers(state, &program)) {
            (Ok(proxy), Ok(containers)) => specs.push((proxy, containers)),
            (proxy, containers) => faults.extend(proxy.err().into_iter().chain(containers.err())),
        }
        faults.extend(taken(replica));
    }
    faults.extend(missing(&specs));
    if !faults.is_empty() {
        return Err(faults);
    }

    let description = describe(&replicas);
    write_files(state, &replicas, &prepared.tokens, &description).map_err(|e| one(format!("{}: {e}", state.display())))?;
    let services: Vec<_> = services(&objects, &mut plan).map_err(|e| one(e.to_string()))?;
    let replicas: Vec<_> = replicas.into_iter().map(Arc::new).collect();
    let (ready, watched) = watch::channel(replicas.iter().map(|r| (Arc::clone(r), Readiness::NotReady)).collect::<Vec<_>>());
    write_objects(state, &services, &watched.borrow()).map_err(|e| one(format!("{}: {e}", state.display())))?;

    let dice = Dice::new(u64::from(std::process::id()));
    let (apps, app_watch) = drain::channel();
    let (proxies, proxy_watch) = drain::channel();
    let (control, control_watch) = drain::channel();
    let mut tasks = JoinSet::new();
    let controller = control_plane_spec(dir, state, &plan, &program);
    let (status, _) = watch::channel(Status::Waiting);
    tasks.spawn(controller.supervise(status, control_watch, dice.clone()));
    let api = SocketAddr::new(plan.control_plane().into(), names::POLICY_PORT);
    if timeout(CONTROL_PLANE_LIMIT, accepts(api)).await.is_err() {
        let log = names::logs_dir(state).join("control-plane.log");
        return Err(one(format!("the control plane does not come up; see {}", log.display())));
    }

    for (index, (replica, (proxy, containers))) in replicas.iter().zip(specs).enumerate() {
        let (status, _) = watch::channel(Status::Waiting);
        tasks.spawn(proxy.supervise(status, proxy_watch.clone(), dice.clone()));
        let (replica, ready, drain, dice) = (Arc::clone(replica), ready.clone(), app_watch.clone(), dice.clone());
        tasks.spawn(run_replica(index, replica, containers, ready, drain, dice));
    }
    drop((app_watch, proxy_watch));
    tasks.spawn(tell(state.to_owned(), services, watched));
    Ok(Run { description, apps, proxies, control, tasks, state: state.to_owned() })
}

impl Run {
    /// What runs.
    #[must_use]
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Ends everything, applications first, so that what they still send arrives.
    pub async fn stop(mut self) {
        let ended = timeout(DRAIN_LIMIT, async {
            self.apps.drain().await;
            self.proxies.drain().await;
            self.control.drain().await;
        });
        if ended.await.is_err() {
            warn!("some processes did not end in time and are killed");
        }
        self.tasks.shutdown().await;
        // Nothing runs that it could describe.
        let _ = fs::remove_file(names::run_file(&self.state));
    }
}

struct Prepared {
    authority: Authority,
    tokens: Tokens,
}

fn prepare(state: &Path, plan: &Plan) -> io::Result<Prepared> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(state)?;
    for dir in [names::objects_dir(state), names::logs_dir(state)] {
        private.create(dir)?;
    }
    // Another run with this state, or another block of addresses that is the same by chance.
    let probe = SocketAddr::new(plan.control_plane().into(), names::IDENTITY_PORT);
    drop(
        TcpListener::bind(probe)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {probe}: {e}; does another `mesh run` use it?")))?,
    );
    let now = meshkit_core::Clock::now(&meshkit_core::SystemClock);
    let authority = Authority::load_or_generate(&names::identity_dir(state), names::NAMESPACE, names::DOMAIN, now)?;
    Ok(Prepared { authority, tokens: Tokens::load_or_generate(&names::token_key(state))? })
}

fn mesh(plan: &Plan, prepared: &Prepared) -> Mesh {
    let at = |port: u16| format!("{}:{port}", plan.control_plane());
    Mesh {
        namespace: names::NAMESPACE.to_owned(),
        cluster_domain: names::DOMAIN.to_owned(),
        trust_domain: names::DOMAIN.to_owned(),
        destination: at(names::DESTINATION_PORT),
        policy: at(names::POLICY_PORT),
        identity: at(names::IDENTITY_PORT),
        trust_anchors: prepared.authority.anchors_pem().to_owned(),
        cluster_networks: vec![plan.network().into()],
        default_inbound_policy: "all-unauthenticated".to_owned(),
        log: "warn,linkerd=info".to_owned(),
    }
}

/// Ports that the replica's proxy will need, and that somebody has.
fn taken(replica: &Replica) -> Vec<String> {
    let own = [names::PROXY_INBOUND_PORT, names::PROXY_ADMIN_PORT].map(|port| SocketAddr::new(IpAddr::V4(replica.ip), port));
    let published = replica.published.iter().map(|(listen, _)| *listen);
    let refused = |addr: SocketAddr| TcpListener::bind(addr).err().map(|e| format!("{}: cannot listen on {addr}: {e}", replica.name));
    own.into_iter().chain(published).filter_map(refused).collect()
}

/// Commands that are not there.
fn missing(specs: &[(Spec, Vec<Spec>)]) -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let exists = |program: &Path| match program.components().count() {
        1 => std::env::split_paths(&path).any(|dir| dir.join(program).is_file()),
        _ => program.is_file(),
    };
    let absent = specs.iter().flat_map(|(_, containers)| containers).filter(|spec| !exists(&spec.program));
    absent.map(|spec| format!("{}: the command {} does not exist", spec.name, spec.program.display())).collect()
}

fn services(objects: &[Object], plan: &mut Plan) -> Result<Vec<(Arc<meshkit_manifest::core::Service>, Ipv4Addr)>, plan::Exhausted> {
    let mut all = Vec::new();
    for object in objects {
        if let Object::Service(service) = object {
            let name = Name::new(&service.metadata.namespace, &service.metadata.name);
            all.push((Arc::clone(service), plan.service(&name)?));
        }
    }
    Ok(all)
}

fn describe(replicas: &[Replica]) -> Description {
    let described = |replica: &Replica| Described {
        namespace: replica.name.namespace.clone(),
        pod: replica.name.name.clone(),
        workload: replica.workload.clone(),
        identity: replica.identity(),
        admin: SocketAddr::new(IpAddr::V4(replica.ip), names::PROXY_ADMIN_PORT),
    };
    let urls = replicas.iter().flat_map(|r| &r.published).map(|(listen, _)| format!("http://{listen}"));
    Description { replicas: replicas.iter().map(described).collect(), urls: urls.collect() }
}

fn write_files(state: &Path, replicas: &[Replica], tokens: &Tokens, description: &Description) -> io::Result<()> {
    for replica in replicas {
        let dir = names::replica_dir(state, &replica.name.namespace, &replica.name.name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join("identity"))?;
        let account = ServiceAccount::new(&replica.name.namespace, replica.spec.service_account())
            .ok_or_else(|| io::Error::other(format!("{}: the service account's name is not a DNS label", replica.name)))?;
        replace(&dir.join("token"), &tokens.issue(&account))?;
        replace(&dir.join("listeners"), &replica.listeners())?;
    }
    replace(&names::run_file(state), &serde_json::to_string_pretty(description)?)
}

/// Readers see the old text or the new one, never a part.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_added_extension("part");
    fs::write(&part, text)?;
    fs::rename(part, path)
}

fn write_objects(
    state: &Path,
    services: &[(Arc<meshkit_manifest::core::Service>, Ipv4Addr)],
    replicas: &[(Arc<Replica>, Readiness)],
) -> io::Result<()> {
    let items = objects::objects(services, replicas);
    let items = items.iter().map(Object::to_json).collect::<Result<Vec<_>, _>>()?;
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    replace(&names::objects_dir(state).join("objects.json"), &list.to_string())
}

/// Tells the control plane of every change of readiness.
async fn tell(
    state: PathBuf,
    services: Vec<(Arc<meshkit_manifest::core::Service>, Ipv4Addr)>,
    mut replicas: watch::Receiver<Vec<(Arc<Replica>, Readiness)>>,
) {
    while replicas.changed().await.is_ok() {
        let now = replicas.borrow_and_update().clone();
        if let Err(error) = write_objects(&state, &services, &now) {
            warn!(%error, "the control plane cannot be told what runs");
        }
    }
}

fn control_plane_spec(dir: &Path, state: &Path, plan: &Plan, program: &Path) -> Spec {
    let args = [
        "control-plane".to_owned(),
        format!("--dir={}", dir.display()),
        format!("--state={}", state.display()),
        format!("--listen={}", plan.control_plane()),
        format!("--network={}", plan.network()),
    ];
    Spec {
        name: "control-plane".to_owned(),
        program: program.to_owned(),
        args: args.into(),
        env: std::env::vars().filter(|(name, _)| name == "PATH" || name == "MESH_LOG").collect(),
        log: names::logs_dir(state).join("control-plane.log"),
        restart: Restart::Always,
    }
}

/// Starts a replica's containers once its proxy is ready, and follows whether it may be sent requests.
async fn run_replica(
    index: usize,
    replica: Arc<Replica>,
    containers: Vec<Spec>,
    ready: watch::Sender<Vec<(Arc<Replica>, Readiness)>>,
    drain: drain::Watch,
    dice: Dice,
) {
    let admin = SocketAddr::new(IpAddr::V4(replica.ip), names::PROXY_ADMIN_PORT);
    let stop = drain.clone().signaled();
    let mut stop = std::pin::pin!(stop);
    tokio::select! {
        () = is_ready(admin) => {}
        _held = &mut stop => return,
    }
    let mut tasks = JoinSet::new();
    let mut statuses = Vec::new();
    for spec in containers {
        let (status, watched) = watch::channel(Status::Waiting);
        statuses.push(watched);
        tasks.spawn(spec.supervise(status, drain.clone(), dice.clone()));
    }
    let set = |now: Readiness| {
        ready.send_if_modified(|all| {
            let changed = all[index].1 != now;
            all[index].1 = now;
            changed
        });
    };
    let ports = replica.ports();
    let follow = async {
        loop {
            let running = statuses.iter().all(|s| matches!(*s.borrow(), Status::Running(_)));
            let mut accepting = running;
            for port in &ports {
                let addr = SocketAddr::new(IpAddr::V4(replica.ip), *port);
                accepting = accepting && TcpStream::connect(addr).await.is_ok();
            }
            set(if accepting { Readiness::Ready } else { Readiness::NotReady });
            // Once it accepts, only its processes tell.
            match accepting {
                false => sleep(READINESS_INTERVAL).await,
                true => {
                    let changes = statuses.iter_mut().map(|s| Box::pin(s.changed()));
                    drop(futures_util::future::select_all(changes).await);
                }
            }
        }
    };
    tokio::select! {
        () = follow => {}
        _held = &mut stop => {}
    }
    // New requests go elsewhere while the last ones are answered.
    set(Readiness::NotReady);
    while tasks.join_next().await.is_some() {}
}

async fn accepts(addr: SocketAddr) {
    while TcpStream::connect(addr).await.is_err() {
        sleep(READINESS_INTERVAL).await;
    }
}

async fn is_ready(admin: SocketAddr) {
    loop {
        if matches!(crate::fetch::get(admin, "/ready").await, Ok((200, _))) {
            return;
        }
        sleep(READINESS_INTERVAL).await;
    }
}
