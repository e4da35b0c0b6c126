//! What is known of a destination: its profile, and its endpoints.

use std::sync::Arc;

use futures_util::StreamExt as _;
use ipnet::IpNet;
use meshkit_balance::updates;
use meshkit_core::Authority;
use meshkit_wire::{
    Channel,
    client::{self, Watches},
    extension::{FaultPlan, outbound_faults},
    outbound::{Policy, Target},
    profile::Profile,
};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use super::Digests;
use crate::config::DnsSuffix;

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
    /// What may have a profile.
    pub profiles: Arc<MayHaveProfile>,
    /// Notices updates that were lost.
    pub digests: Digests,
    /// Runs the watches: the control thread.
    pub control: Handle,
}

/// Names and addresses that may have a profile. The API is not asked about others.
#[derive(Clone, Debug)]
pub struct MayHaveProfile {
    /// Names.
    pub suffixes: Vec<DnsSuffix>,
    /// Addresses.
    pub networks: Vec<IpNet>,
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

    /// May there be a profile, as far as the settings say?
    #[must_use]
    pub fn may_have_profile(&self, target: &Target) -> bool {
        match target {
            Target::Addr(addr) => self.profiles.networks.iter().any(|network| network.contains(&addr.ip())),
            Target::Authority(name) => Authority::parse(name, 80)
                .is_ok_and(|name| name.name().is_some_and(|name| self.profiles.suffixes.iter().any(|suffix| suffix.contains(name)))),
        }
    }

    /// The profile of a name or address. Where the API has none, or is not to be asked, there is none.
    #[must_use]
    pub fn profile(&self, target: &Target) -> Watching<watch::Receiver<ProfileState>> {
        let (sender, values) = watch::channel(None);
        if !self.may_have_profile(target) {
            sender.send_replace(Some(None));
            let task = self.control.spawn(async move { sender.closed().await });
            return Watching { values, task };
        }
        let target = match target {
            Target::Addr(addr) => addr.to_string(),
            Target::Authority(name) => name.clone(),
        };
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
        let endpoints = self.digests.endpoints(self.channel.clone(), self.watches.clone(), authority, Arc::clone(&self.context));
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
