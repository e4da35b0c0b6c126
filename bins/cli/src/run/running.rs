//! One replica while it runs.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use meshkit_core::{Dice, drain};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::warn;

use super::{
    child::{Spec, Status},
    desired::Planned,
    names,
    objects::{Readiness, Told},
    replica::Replica,
};

/// How often readiness is looked at.
const READINESS_INTERVAL: Duration = Duration::from_millis(50);
/// How long processes may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A replica's processes. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) planned: Planned,
    containers: Group,
    proxy: Option<Group>,
}

/// What a change restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restarted {
    Everything,
    Containers,
    Nothing,
}

/// Processes that begin and end together. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Group {
    signal: drain::Signal,
    tasks: JoinSet<()>,
}

impl Group {
    pub(super) fn new() -> (Self, drain::Watch) {
        let (signal, watch) = drain::channel();
        (Self { signal, tasks: JoinSet::new() }, watch)
    }

    /// Runs a process as a part of the group.
    pub(super) fn supervise(&mut self, spec: Spec, drain: &drain::Watch, dice: &Dice) -> watch::Receiver<Status> {
        let (status, watched) = watch::channel(Status::Waiting);
        self.tasks.spawn(spec.supervise(status, drain.clone(), dice.clone()));
        watched
    }

    /// Ends every process of it: gently at first.
    pub(super) async fn end(mut self) {
        if timeout(DRAIN_LIMIT, self.signal.drain()).await.is_err() {
            warn!("some processes did not end in time and are killed");
        }
        self.tasks.shutdown().await;
    }
}

impl Running {
    /// Starts the proxy, and the containers as soon as it is ready.
    pub(super) fn start(planned: Planned, told: &watch::Sender<Told>, dice: &Dice) -> Self {
        let proxy = planned.proxy.clone().map(|spec| {
            let (mut proxy, drain) = Group::new();
            drop(proxy.supervise(spec, &drain, dice));
            proxy
        });
        let containers = containers(&planned, told, dice);
        Self { planned, containers, proxy }
    }

    /// What the change to `planned` restarts.
    pub(super) fn restart_for(&self, planned: &Planned) -> Restarted {
        let before = &self.planned;
        if before.proxy != planned.proxy {
            Restarted::Everything
        } else if before.containers != planned.containers || before.replica.ports() != planned.replica.ports() {
            Restarted::Containers
        } else {
            Restarted::Nothing
        }
    }

    /// Takes over a plan that needs no restart.
    pub(super) fn take(self, planned: Planned) -> Self {
        Self { planned, ..self }
    }

    /// Ends the containers, and starts those of the new plan.
    pub(super) async fn renew(self, planned: Planned, told: &watch::Sender<Told>, dice: &Dice) -> Self {
        not_ready(&self.planned.replica, told);
        self.containers.end().await;
        let containers = containers(&planned, told, dice);
        Self { planned, containers, proxy: self.proxy }
    }

    /// Ends the containers, then the proxy, so that what they still send arrives.
    pub(super) async fn end(self, told: &watch::Sender<Told>) {
        not_ready(&self.planned.replica, told);
        self.containers.end().await;
        if let Some(proxy) = self.proxy {
            proxy.end().await;
        }
    }

    /// Ends the containers alone, and gives back the proxy.
    pub(super) async fn end_containers(self, told: &watch::Sender<Told>) -> Option<Group> {
        not_ready(&self.planned.replica, told);
        self.containers.end().await;
        self.proxy
    }
}

/// New requests go elsewhere while the last ones are answered.
fn not_ready(replica: &Replica, told: &watch::Sender<Told>) {
    set(replica, told, Readiness::NotReady);
}

fn set(replica: &Replica, told: &watch::Sender<Told>, now: Readiness) {
    told.send_if_modified(|told| match told.replicas.get_mut(&replica.name) {
        Some((_, readiness)) if *readiness != now => {
            *readiness = now;
            true
        }
        _ => false,
    });
}

fn containers(planned: &Planned, told: &watch::Sender<Told>, dice: &Dice) -> Group {
    let (mut group, drain) = Group::new();
    let follow = follow(planned.clone(), told.clone(), drain, dice.clone());
    group.tasks.spawn(follow);
    group
}

/// Starts a replica's containers once its proxy is ready, and follows whether it may be sent requests.
async fn follow(planned: Planned, told: watch::Sender<Told>, drain: drain::Watch, dice: Dice) {
    let Planned { replica, proxy, containers } = planned;
    let admin = SocketAddr::new(IpAddr::V4(replica.ip), names::PROXY_ADMIN_PORT);
    let stop = drain.clone().signaled();
    let mut stop = std::pin::pin!(stop);
    if proxy.is_some() {
        tokio::select! {
            () = is_ready(admin) => {}
            _held = &mut stop => return,
        }
    }
    let mut tasks = JoinSet::new();
    let mut statuses = Vec::new();
    for spec in containers {
        let (status, watched) = watch::channel(Status::Waiting);
        statuses.push(watched);
        tasks.spawn(spec.supervise(status, drain.clone(), dice.clone()));
    }
    let ports = replica.ports();
    let follow = async {
        loop {
            let running = statuses.iter().all(|s| matches!(*s.borrow(), Status::Running(_)));
            let mut accepting = running;
            for port in &ports {
                let addr = SocketAddr::new(IpAddr::V4(replica.ip), *port);
                accepting = accepting && TcpStream::connect(addr).await.is_ok();
            }
            set(&replica, &told, if accepting { Readiness::Ready } else { Readiness::NotReady });
            if statuses.iter().all(|s| matches!(*s.borrow(), Status::Ended(_))) {
                return std::future::pending().await;
            }
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
    set(&replica, &told, Readiness::NotReady);
    while tasks.join_next().await.is_some() {}
}

/// Waits until something listens.
pub(super) async fn accepts(addr: SocketAddr) {
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
