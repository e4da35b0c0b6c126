//! The policies of the workload's own ports.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use ipnet::IpNet;
use meshkit_policy::{
    DefaultPolicy,
    inbound::{Policy, Protocol},
};
use meshkit_wire::{
    Channel,
    client::{Watches, inbound_policy},
    extension::{FaultPlan, inbound_faults},
};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle, time::Instant};
use tracing::{debug, info, warn};

/// What decides where the control plane has not answered yet.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Who may call.
    pub policy: DefaultPolicy,
    /// Networks of the cluster.
    pub cluster: Vec<IpNet>,
    /// How long detection takes.
    pub detect_timeout: Duration,
    /// How long a policy is kept while nobody uses it.
    pub idle_timeout: Duration,
    /// Ports whose bytes are not looked at.
    pub opaque_ports: Vec<std::ops::RangeInclusive<u16>>,
}

/// The policies of the workload's ports, watched for as long as somebody uses them, and for a while after.
#[derive(Clone, Debug)]
pub struct Policies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    channel: Channel,
    watches: Watches,
    workload: Arc<str>,
    defaults: Defaults,
    /// Runs the watches: the control thread.
    control: Handle,
    ports: Mutex<HashMap<u16, Known>>,
    /// Ports that are watched from the beginning to the end.
    kept: Mutex<Vec<Arc<Port>>>,
}

#[derive(Debug)]
struct Known {
    port: Arc<Port>,
    used_at: Instant,
}

/// One port's policy, and its planned trouble. The watches end when the port has had no user for a while.
#[derive(Debug)]
pub struct Port {
    policy: watch::Receiver<Arc<Policy>>,
    faults: watch::Receiver<Arc<FaultPlan>>,
    tasks: [JoinHandle<()>; 2],
}

impl Port {
    /// The policy, as it changes.
    #[must_use]
    pub fn policy(&self) -> watch::Receiver<Arc<Policy>> {
        self.policy.clone()
    }

    /// The planned trouble now.
    #[must_use]
    pub fn faults(&self) -> Arc<FaultPlan> {
        Arc::clone(&self.faults.borrow())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Policies {
    /// Watches nothing yet.
    #[must_use]
    pub fn new(channel: Channel, watches: Watches, workload: Arc<str>, defaults: Defaults, control: Handle) -> Self {
        let inner = Inner { channel, watches, workload, defaults, control, ports: Mutex::default(), kept: Mutex::default() };
        Self(Arc::new(inner))
    }

    /// Watches these ports for good.
    pub fn keep(&self, ports: impl IntoIterator<Item = u16>) {
        let ports: Vec<_> = ports.into_iter().map(|port| self.port(port)).collect();
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).extend(ports);
    }

    /// A port's policy: the default until the control plane answers.
    #[must_use]
    pub fn port(&self, port: u16) -> Arc<Port> {
        let mut ports = self.0.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        ports.retain(|_, known| {
            if Arc::strong_count(&known.port) > 1 {
                known.used_at = now;
            }
            now.saturating_duration_since(known.used_at) < self.0.defaults.idle_timeout
        });
        let make = || {
            let (policies, policy) = watch::channel(Arc::new(self.0.defaults.of(port)));
            let (plans, faults) = watch::channel(Arc::default());
            let control = &self.0.control;
            let tasks = [control.spawn(self.clone().follow(port, policies)), control.spawn(self.clone().follow_faults(port, plans))];
            Known { port: Arc::new(Port { policy, faults, tasks }), used_at: now }
        };
        let known = ports.entry(port).or_insert_with(make);
        known.used_at = now;
        Arc::clone(&known.port)
    }

    async fn follow_faults(self, port: u16, sender: watch::Sender<Arc<FaultPlan>>) {
        let Inner { channel, watches, workload, .. } = &*self.0;
        let mut plans = std::pin::pin!(inbound_faults(channel.clone(), watches, Arc::clone(workload), port));
        while let Some(plan) = plans.next().await {
            info!(port, is_empty = plan.is_empty(), "planned trouble");
            sender.send_replace(Arc::new(plan));
        }
    }

    async fn follow(self, port: u16, sender: watch::Sender<Arc<Policy>>) {
        let Inner { channel, watches, workload, .. } = &*self.0;
        let mut updates = std::pin::pin!(inbound_policy(channel.clone(), watches, Arc::clone(workload), port));
        while let Some(update) = updates.next().await {
            match update {
                Ok(Ok(policy)) => {
                    debug!(port, server = %policy.server, "inbound policy");
                    sender.send_if_modified(|known| {
                        let changed = **known != policy;
                        *known = Arc::new(policy);
                        changed
                    });
                }
                Ok(Err(invalid)) => {
                    warn!(port, error = %invalid, "the policy cannot be understood: every request is refused");
                    sender.send_replace(Arc::new(refuse_all(&sender.borrow())));
                }
                Err(refused) => {
                    info!(port, error = %refused, "no policy for this port: the default holds");
                    return;
                }
            }
        }
    }
}

/// Admits nobody, in the protocol that was known: what cannot be understood must not open a port.
fn refuse_all(known: &Policy) -> Policy {
    Policy {
        protocol: Protocol::Detect { timeout: Duration::from_secs(10), routes: [].into(), rate_limit: None },
        server: known.server.clone(),
        authorizations: [].into(),
    }
}

impl Defaults {
    fn of(&self, port: u16) -> Policy {
        let mut policy = self.policy.policy(&self.cluster, self.detect_timeout);
        if self.opaque_ports.iter().any(|range| range.contains(&port)) {
            policy.protocol = Protocol::Opaque;
        }
        policy
    }
}
