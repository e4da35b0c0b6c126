use std::sync::Arc;

use meshkit_core::Dice;
use tokio::sync::watch;
use tower_layer::Layer;

use super::Policy;
use crate::{Client, inbound, rate_limit::InForce};

/// Makes [`Policy`] services for the requests of one client.
#[derive(Clone, Debug)]
pub struct PolicyLayer<O = ()> {
    policy: watch::Receiver<Arc<inbound::Policy>>,
    client: Arc<Client>,
    limits: InForce,
    dice: Dice,
    observe: O,
}

impl PolicyLayer {
    /// Enforces what `policy` says at the time of each request.
    #[must_use]
    pub fn new(policy: watch::Receiver<Arc<inbound::Policy>>, client: Client) -> Self {
        Self { policy, client: Arc::new(client), limits: InForce::default(), dice: Dice::new(0), observe: () }
    }
}

impl<O> PolicyLayer<O> {
    /// Counts against the rate limit together with everybody who has a clone of `limits`: the connections of one port. Without this, each
    /// layer counts for itself.
    #[must_use]
    pub fn limits(mut self, limits: InForce) -> Self {
        self.limits = limits;
        self
    }

    /// Decides which requests meet a planned failure. Without this, the sequence is the same for each layer.
    #[must_use]
    pub fn dice(mut self, dice: Dice) -> Self {
        self.dice = dice;
        self
    }

    /// Tells `observe` what becomes of requests.
    #[must_use]
    pub fn observe<P>(self, observe: P) -> PolicyLayer<P> {
        let Self { policy, client, limits, dice, observe: _ } = self;
        PolicyLayer { policy, client, limits, dice, observe }
    }
}

impl<S, O: Clone> Layer<S> for PolicyLayer<O> {
    type Service = Policy<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { policy, client, limits, dice, observe } = self.clone();
        Policy { inner, policy, client, limits, dice, observe }
    }
}
