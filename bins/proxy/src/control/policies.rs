//! The policies of the workload's own ports.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures_util::StreamExt as _;
use ipnet::IpNet;
use meshkit_policy::{
    DefaultPolicy,
    inbound::{Policy, Protocol},
};
use meshkit_wire::client::{Watches, inbound_policy};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};
use tonic::transport::Channel;
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
    ports: Mutex<HashMap<u16, Weak<Port>>>,
    /// Ports that are watched from the beginning to the end.
    kept: Mutex<Vec<Arc<Port>>>,
}

/// One port's policy. The watch ends when the last user is gone.
#[derive(Debug)]
pub struct Port {
    policy: watch::Receiver<Arc<Policy>>,
    task: JoinHandle<()>,
}

impl Port {
    /// The policy, as it changes.
    #[must_use]
    pub fn policy(&self) -> watch::Receiver<Arc<Policy>> {
        self.policy.clone()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
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
        if let Some(known) = ports.get(&port).and_then(Weak::upgrade) {
            return known;
        }
        ports.retain(|_, known| known.strong_count() > 0);
        let (sender, policy) = watch::channel(Arc::new(self.0.defaults.of(port)));
        let task = self.0.control.spawn(self.clone().follow(port, sender));
        let made = Arc::new(Port { policy, task });
        ports.insert(port, Arc::downgrade(&made));
        made
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
