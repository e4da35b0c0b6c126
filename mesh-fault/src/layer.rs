use std::{fmt, sync::Arc};

use http::Extensions;
use meshkit_core::{Dice, Identity};
use tokio::sync::watch;
use tower_layer::Layer;

use crate::{Counts, Faults, Faulty};

/// Makes a [`Faulty`] of a service. All of them share the dice and the counts.
///
/// The same seed and the same requests in the same order give the same trouble.
pub struct FaultLayer<O = Counts> {
    shared: Arc<Shared<O>>,
}

/// Where faults come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// They stay as they are.
    Fixed(Faults),
    /// They change while requests pass; each request meets the latest.
    Watched(watch::Receiver<Arc<Faults>>),
}

/// What the services of a layer have in common.
#[derive(Clone)]
pub(crate) struct Shared<O> {
    pub(crate) source: Source,
    pub(crate) dice: Dice,
    pub(crate) caller: Caller,
    pub(crate) observe: O,
}

/// How to tell who asks.
#[derive(Clone)]
pub(crate) enum Caller {
    Told(fn(&Extensions) -> Option<&Identity>),
    Always(Identity),
}

impl FaultLayer {
    /// Makes this trouble, for the requests that the dice say.
    #[must_use]
    pub fn new(faults: impl Into<Source>, dice: Dice) -> Self {
        let caller = Caller::Told(Extensions::get::<Identity>);
        Self { shared: Arc::new(Shared { source: faults.into(), dice, caller, observe: Counts::default() }) }
    }

    /// How often trouble was made.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.shared.observe
    }
}

impl<O: Clone> FaultLayer<O> {
    /// Says how to tell who asks, from the extensions of a request. By default an [`Identity`] among them.
    #[must_use]
    pub fn caller(self, caller: fn(&Extensions) -> Option<&Identity>) -> Self {
        self.told_by(Caller::Told(caller))
    }

    /// Says that all requests come from this workload, as on its way out.
    #[must_use]
    pub fn sole_caller(self, caller: Identity) -> Self {
        self.told_by(Caller::Always(caller))
    }

    /// Tells what happens, in place of counting it.
    #[must_use]
    pub fn observe<P>(self, observe: P) -> FaultLayer<P> {
        let Shared { source, dice, caller, .. } = Arc::unwrap_or_clone(self.shared);
        FaultLayer { shared: Arc::new(Shared { source, dice, caller, observe }) }
    }

    fn told_by(mut self, caller: Caller) -> Self {
        Arc::make_mut(&mut self.shared).caller = caller;
        self
    }
}

impl<S, O> Layer<S> for FaultLayer<O> {
    type Service = Faulty<S, O>;

    fn layer(&self, inner: S) -> Faulty<S, O> {
        Faulty { inner, shared: Arc::clone(&self.shared) }
    }
}

impl Caller {
    pub(crate) fn of<'a>(&'a self, extensions: &'a Extensions) -> Option<&'a Identity> {
        match self {
            Self::Told(caller) => caller(extensions),
            Self::Always(caller) => Some(caller),
        }
    }
}

impl<T: Into<Faults>> From<T> for Source {
    fn from(faults: T) -> Self {
        Self::Fixed(faults.into())
    }
}

impl From<watch::Receiver<Arc<Faults>>> for Source {
    fn from(faults: watch::Receiver<Arc<Faults>>) -> Self {
        Self::Watched(faults)
    }
}

impl<O> Clone for FaultLayer<O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<O> fmt::Debug for FaultLayer<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultLayer").field("source", &self.shared.source).finish_non_exhaustive()
    }
}
