//! Turns what runs into what the folder asks for, whenever that changes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use meshkit_core::{Dice, drain};
use meshkit_identity::Tokens;
use meshkit_manifest::{Cluster, Fault, Folder, Object};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use super::{
    Description,
    desired::{Desired, Planned, Surroundings},
    files, names,
    objects::{Readiness, Told},
    plan::{Name, Plan},
    replica::Replica,
    running::{Group, Restarted, Running},
};

/// Changes of a folder that wait to be applied.
const BACKLOG: usize = 64;
/// One edit may be several changes.
const REST: Duration = Duration::from_millis(50);
/// How long a restarted replica is waited for before the next one is restarted.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// Everything that a run holds.
pub(super) struct Supervisor {
    pub(super) around: Surroundings,
    pub(super) plan: Plan,
    pub(super) tokens: Tokens,
    pub(super) dice: Dice,
    pub(super) control_plane: Group,
    pub(super) told: watch::Sender<Told>,
    pub(super) description: watch::Sender<Description>,
    pub(super) running: BTreeMap<Name, Running>,
}

impl Supervisor {
    /// Follows the folder until the drain is signaled, then ends everything: applications first, so that what they still send arrives.
    pub(super) async fn follow(mut self, folder: Folder, objects: Vec<Object>, stop: drain::Watch) {
        let (sender, mut events) = mpsc::channel(BACKLOG);
        let watching = folder.watch(sender, |faults: &[Fault]| {
            faults.iter().for_each(|fault| error!("{fault}: the file's objects stay as they were"));
        });
        let mut signaled = Box::pin(stop.clone().signaled());
        let changing = async {
            let (mut cluster, mut before) = (Cluster::default(), objects);
            loop {
                // A change that has begun is finished first: it holds processes that are to end gently.
                let event = tokio::select! {
                    _held = &mut signaled => return,
                    event = events.recv() => event,
                };
                let Some(event) = event else { return };
                cluster.apply(event, |_| true);
                sleep(REST).await;
                while let Ok(event) = events.try_recv() {
                    cluster.apply(event, |_| true);
                }
                let now: Vec<_> = cluster.objects().cloned().collect();
                if now == before {
                    continue;
                }
                match Desired::new(&now, &mut self.plan, &self.around) {
                    Ok(desired) => self.apply(desired, &stop).await,
                    Err(faults) => faults.iter().for_each(|fault| error!("{fault}: everything runs on as it did")),
                }
                before = now;
            }
        };
        tokio::select! {
            () = watching => {}
            () = changing => {}
        }
        self.end().await;
    }

    /// Starts, restarts and ends replicas. Those that are restarted follow one another, so that a workload of several goes on serving.
    pub(super) async fn apply(&mut self, desired: Desired, stop: &drain::Watch) {
        let description = desired.describe();
        if let Err(error) = files::write_description(&self.around.state, &description) {
            warn!(%error, "`mesh viz stat` cannot be told what runs");
        }
        self.description.send_replace(description);

        let Desired { replicas, services } = desired;
        let mut wanted: BTreeMap<_, _> = replicas.into_iter().map(|planned| (planned.replica.name.clone(), planned)).collect();
        let gone: Vec<_> = self.running.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        let ended: Vec<_> = gone.iter().filter_map(|name| self.running.remove(name)).collect();
        join_all(ended.into_iter().map(|running| running.end(&self.told))).await;
        gone.iter().for_each(|name| info!(replica = %name, "ended, for the folder no longer has it"));

        self.told.send_modify(|told| told.adopt(services, wanted.values()));
        for (name, running) in std::mem::take(&mut self.running) {
            let Some(planned) = wanted.remove(&name) else { continue };
            let (restart, replica) = (running.restart_for(&planned), Arc::clone(&planned.replica));
            let running = match restart {
                Restarted::Everything => {
                    running.end(&self.told).await;
                    self.start(planned)
                }
                Restarted::Containers => Some(running.renew(planned, &self.told, &self.dice).await),
                Restarted::Nothing => Some(running.take(planned)),
            };
            self.running.extend(running.map(|running| (name.clone(), running)));
            if let Err(error) = files::write_listeners(&self.around.state, &replica) {
                warn!(replica = %name, %error, "its proxy cannot be told where to accept");
            }
            if restart != Restarted::Nothing {
                info!(replica = %name, "restarted, for what it runs has changed");
                self.ready(&replica, stop).await;
            }
        }
        for (name, planned) in wanted {
            if let Some(running) = self.start(planned) {
                self.running.insert(name, running);
            }
        }
    }

    fn start(&self, planned: Planned) -> Option<Running> {
        let name = planned.replica.name.clone();
        let taken = taken(&planned.replica);
        if !taken.is_empty() {
            taken.iter().for_each(|fault| error!("{fault}: the replica is not started"));
            return None;
        }
        if let Err(error) = files::write_replica(&self.around.state, &planned.replica, &self.tokens) {
            error!(replica = %name, %error, "not started: what its proxy reads cannot be written");
            return None;
        }
        Some(Running::start(planned, &self.told, &self.dice))
    }

    async fn ready(&self, replica: &Replica, stop: &drain::Watch) {
        let mut told = self.told.subscribe();
        let ready = told.wait_for(|told| told.replicas.get(&replica.name).is_some_and(|(_, now)| *now == Readiness::Ready));
        tokio::select! {
            waited = timeout(READY_LIMIT, ready) => {
                if waited.is_err() {
                    warn!(replica = %replica.name, logs = %names::logs_dir(&self.around.state).display(), "not ready yet; see its log");
                }
            }
            _held = stop.clone().signaled() => {}
        }
    }

    async fn end(self) {
        let Self { running, told, control_plane, around, .. } = self;
        let proxies = join_all(running.into_values().map(|running| running.end_containers(&told))).await;
        join_all(proxies.into_iter().flatten().map(Group::end)).await;
        control_plane.end().await;
        // Nothing runs that it could describe.
        let _ = std::fs::remove_file(names::run_file(&around.state));
    }
}

/// Ports that a replica's proxy will need, and that somebody has.
pub(super) fn taken(replica: &Replica) -> Vec<String> {
    let own = [names::PROXY_INBOUND_PORT, names::PROXY_CONTROL_PORT, names::PROXY_ADMIN_PORT]
        .map(|port| SocketAddr::new(IpAddr::V4(replica.ip), port));
    let published = replica.published.iter().map(|(listen, _)| *listen);
    let refused = |addr: SocketAddr| TcpListener::bind(addr).err().map(|e| format!("{}: cannot listen on {addr}: {e}", replica.name));
    own.into_iter().chain(published).filter_map(refused).collect()
}

/// Tells the control plane of every change.
pub(super) async fn tell(around: Surroundings, mut told: watch::Receiver<Told>) {
    while told.changed().await.is_ok() {
        let now = told.borrow_and_update().clone();
        if let Err(error) = files::write_objects(&around.state, &now) {
            warn!(%error, "the control plane cannot be told what runs");
        }
    }
}
