use std::{fmt, sync::Arc};

use meshkit_core::Dice;
use tower_layer::Layer;

use super::{ByConditions, Retry};
use crate::{Budget, Plan};

/// Makes a [`Retry`] of a service. All of them share the budget, the dice and the observer.
pub struct RetryLayer<J = ByConditions, O = ()> {
    pub(super) shared: Arc<Shared<J, O>>,
}

/// What all requests of a route have in common.
#[derive(Clone)]
pub(super) struct Shared<J, O> {
    pub(super) plan: Arc<Plan>,
    pub(super) dice: Dice,
    pub(super) budget: Option<Budget>,
    pub(super) unsent: Unsent,
    pub(super) deadlines: Deadlines,
    pub(super) judge: J,
    pub(super) observe: O,
}

/// What happens to a request of which nothing was sent, where no retry is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    Fail,
    Resend,
}

/// What is done with the time that a gRPC client gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadlines {
    Ignored,
    HandedOn,
}

impl RetryLayer {
    /// Follows the plan; the dice spread the waits between tries.
    #[must_use]
    pub fn new(plan: impl Into<Arc<Plan>>, dice: Dice) -> Self {
        Self {
            shared: Arc::new(Shared {
                plan: plan.into(),
                dice,
                budget: None,
                unsent: Unsent::Fail,
                deadlines: Deadlines::Ignored,
                judge: ByConditions,
                observe: (),
            }),
        }
    }
}

impl<J: Clone, O: Clone> RetryLayer<J, O> {
    /// Takes each retry from the budget, which other routes may share. Without one, only the plan bounds the number.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        Arc::make_mut(&mut self.shared).budget = Some(budget);
        self
    }

    /// Sends a request that was [not sent](crate::NotSent) to another endpoint even where no retry is planned. This costs such a route a copy of
    /// each request's head; where retries are planned, it is so in any case.
    #[must_use]
    pub fn resend_unsent(mut self) -> Self {
        Arc::make_mut(&mut self.shared).unsent = Unsent::Resend;
        self
    }

    /// Takes the time that a gRPC client gives for a limit, and tells each server how much of it is left. See [`deadline`](crate::deadline).
    #[must_use]
    pub fn hand_on_deadlines(mut self) -> Self {
        Arc::make_mut(&mut self.shared).deadlines = Deadlines::HandedOn;
        self
    }

    /// Decides which responses are worth another try: a closure from status and gRPC code, or a [`Judge`](super::Judge).
    #[must_use]
    pub fn judge<K>(self, judge: K) -> RetryLayer<K, O> {
        let Shared { plan, dice, budget, unsent, deadlines, observe, .. } = Arc::unwrap_or_clone(self.shared);
        RetryLayer { shared: Arc::new(Shared { plan, dice, budget, unsent, deadlines, judge, observe }) }
    }

    /// Tells what happens.
    #[must_use]
    pub fn observe<P>(self, observe: P) -> RetryLayer<J, P> {
        let Shared { plan, dice, budget, unsent, deadlines, judge, .. } = Arc::unwrap_or_clone(self.shared);
        RetryLayer { shared: Arc::new(Shared { plan, dice, budget, unsent, deadlines, judge, observe }) }
    }
}

impl<S, J, O> Layer<S> for RetryLayer<J, O> {
    type Service = Retry<S, J, O>;

    fn layer(&self, inner: S) -> Retry<S, J, O> {
        Retry { inner, shared: Arc::clone(&self.shared) }
    }
}

impl<J, O> Clone for RetryLayer<J, O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J, O> fmt::Debug for RetryLayer<J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("plan", &self.shared.plan).field("budget", &self.shared.budget).finish_non_exhaustive()
    }
}
