//! What is known of a destination: its profile, and its endpoints.

use std::sync::Arc;

use futures_util::StreamExt as _;
use meshkit_balance::updates;
use meshkit_wire::{
    client::{self, Watches},
    extension::{FaultPlan, outbound_faults},
    outbound::{Policy, Target},
    profile::Profile,
};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};
use tonic::transport::Channel;

/// Updates that may wait for a worker: a burst of them, not a backlog.
const BACKLOG: usize = 16;

/// Asks the destination API, and the outbound policy API.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// To the destination API.
    pub channel: Channel,
    /// To the policy API.
    pub policies: Channel,
    /// How watches come back.
    pub watches: Watches,
    /// Whose policies are asked for.
    pub workload: Arc<str>,
    /// Who asks.
    pub context: Arc<str>,
    /// Runs the watches: the control thread.
    pub control: Handle,
}

/// A watch that ends when it is dropped.
#[derive(Debug)]
pub struct Watching<T> {
    values: T,
    task: JoinHandle<()>,
}

/// What is known of a destination's profile: `None` until the first answer, then the profile or its absence.
pub type ProfileState = Option<Option<Arc<Profile>>>;

/// What is known of a destination's policy: `None` until the first answer, then the policy or its absence.
pub type PolicyState = Option<Option<Arc<Policy>>>;

impl Discovery {
    /// The policy of an address or name. Where there is none, or it cannot be understood, the newest one that could is kept.
    #[must_use]
    pub fn policy(&self, target: Target) -> Watching<watch::Receiver<PolicyState>> {
        let (sender, values) = watch::channel(None);
        let policies = client::outbound_policy(self.policies.clone(), &self.watches, Arc::clone(&self.workload), &target);
        let task = self.control.spawn(async move {
            let mut policies = std::pin::pin!(policies);
            while let Some(policy) = policies.next().await {
                match policy {
                    Ok(Ok(policy)) => drop(sender.send_replace(Some(Some(Arc::new(policy))))),
                    Ok(Err(invalid)) => {
                        tracing::warn!(?target, error = %invalid, "an outbound policy cannot be understood and is passed over");
                        sender.send_if_modified(|known| known.is_none() && known.replace(None).is_none());
                    }
                    Err(refused) => {
                        tracing::debug!(?target, error = %refused, "no outbound policy");
                        sender.send_replace(Some(None));
                    }
                }
            }
            // The last answer stays.
            sender.closed().await;
        });
        Watching { values, task }
    }

    /// The planned trouble of an address or name; none, where the API does not know of such things.
    #[must_use]
    pub fn faults(&self, target: &Target) -> Watching<watch::Receiver<Arc<FaultPlan>>> {
        let (sender, values) = watch::channel(Arc::default());
        let plans = outbound_faults(self.policies.clone(), &self.watches, &self.workload, target);
        let task = self.control.spawn(async move {
            let mut plans = std::pin::pin!(plans);
            while let Some(plan) = plans.next().await {
                sender.send_replace(Arc::new(plan));
            }
            // The last plan stays.
            sender.closed().await;
        });
        Watching { values, task }
    }

    /// The profile of a name or address. Where the API has none, or cannot be asked, there is none.
    #[must_use]
    pub fn profile(&self, target: String) -> Watching<watch::Receiver<ProfileState>> {
        let (sender, values) = watch::channel(None);
        let profiles = client::profile(self.channel.clone(), &self.watches, target.clone(), Arc::clone(&self.context));
        let task = self.control.spawn(async move {
            let mut profiles = std::pin::pin!(profiles);
            while let Some(profile) = profiles.next().await {
                match profile {
                    Ok(profile) => drop(sender.send_replace(Some(Some(Arc::new(profile))))),
                    Err(refused) => {
                        tracing::debug!(target, error = %refused, "no profile");
                        sender.send_replace(Some(None));
                    }
                }
            }
            // The last answer stays.
            sender.closed().await;
        });
        Watching { values, task }
    }

    /// The endpoints of a name.
    #[must_use]
    pub fn endpoints(&self, authority: String) -> updates::Receiver {
        let (sender, receiver) = updates::channel(BACKLOG);
        let endpoints = client::endpoints(self.channel.clone(), &self.watches, authority, Arc::clone(&self.context));
        // It ends with the receiver, which the balancer's driver holds.
        self.control.spawn(async move {
            let mut endpoints = std::pin::pin!(endpoints);
            loop {
                let update = tokio::select! {
                    update = endpoints.next() => update,
                    () = sender.closed() => return,
                };
                let Some(update) = update else { return sender.closed().await };
                if sender.send(update).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

impl<T> Watching<T> {
    /// The values.
    pub const fn values(&self) -> &T {
        &self.values
    }
}

impl<T> Drop for Watching<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
