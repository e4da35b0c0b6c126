use std::time::Duration;

use meshkit_kube::{Client, Lease, lease::Terms};
use meshkit_manifest::Kind;
use tokio::time::sleep;
use tracing::warn;

use super::writer::MANAGER;

/// The lease that the writer of statuses holds.
const LEASE: &str = "policy-controller-write";
/// The part of the control plane that the lease is of.
const COMPONENT: &str = "destination";
/// The Deployment is asked for again after so long.
const PAUSE: Duration = Duration::from_secs(2);

/// One of several replicas, who would write statuses: it wants the lease `policy-controller-write`.
#[derive(Clone, Debug)]
pub struct Candidate {
    namespace: String,
    deployment: String,
    identity: String,
    terms: Terms,
}

impl Candidate {
    /// A replica in the control plane's namespace, by the name of its pod (`HOSTNAME`). The Deployment owns the lease: it goes with it.
    /// `None` without a name: a lease that nobody holds by name is free to all.
    #[must_use]
    pub fn new(namespace: &str, deployment: &str, identity: &str) -> Option<Self> {
        let is_named = !identity.is_empty();
        is_named.then(|| Self {
            namespace: namespace.to_owned(),
            deployment: deployment.to_owned(),
            identity: identity.to_owned(),
            terms: Terms::default(),
        })
    }

    /// Sets how long the lease lasts, and when it is renewed. Default: 30 s, renewed every 10 s, given up by itself after 25 s.
    #[must_use]
    pub const fn terms(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// A write that is sent while the lease is held has to end within this time: then it ends before somebody else may write.
    pub(super) const fn grace(&self) -> Duration {
        self.terms.grace
    }

    /// The lease, with the Deployment as its owner. Where there is none, or nobody may look, it has no owner.
    pub(super) async fn lease(&self, client: &Client) -> Lease {
        let lease = Lease::new(&self.namespace, LEASE, &self.identity, MANAGER)
            .terms(self.terms)
            .label("linkerd.io/control-plane-component", COMPONENT)
            .label("linkerd.io/control-plane-ns", &self.namespace);
        loop {
            match client.get(Kind::Deployment, &self.namespace, &self.deployment).await {
                Ok(Some(found)) => match &found.metadata().uid {
                    Some(uid) => return lease.owned_by(&self.deployment, uid),
                    None => return lease,
                },
                Ok(None) => {
                    warn!(deployment = self.deployment, namespace = self.namespace, "there is no such Deployment: the lease has no owner");
                    return lease;
                }
                Err(error) if error.is_uncertain() => {
                    warn!(%error, "the Deployment that owns the lease cannot be read yet");
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    warn!(%error, deployment = self.deployment, "the Deployment cannot be read: the lease has no owner");
                    return lease;
                }
            }
        }
    }
}
