use std::sync::Arc;

use meshkit_core::Dice;
use tower_layer::Layer;

use super::{Filter, Kind};

/// Makes [`Filter`] services. `F` is [`http::Filter`](crate::http::Filter) or [`grpc::Filter`](crate::grpc::Filter), and says what rules match by.
#[derive(Debug)]
pub struct FilterLayer<F: Kind> {
    filters: Arc<[F]>,
    matches: Arc<[F::Match]>,
    dice: Dice,
}

impl<F: Kind> FilterLayer<F> {
    /// Applies these filters, in their order. `matches` are those of the rule: a filter that replaces the matched prefix looks for it there.
    #[must_use]
    pub fn new(filters: impl Into<Arc<[F]>>, matches: impl Into<Arc<[F::Match]>>) -> Self {
        Self { filters: filters.into(), matches: matches.into(), dice: Dice::new(0) }
    }

    /// Decides which requests meet a planned failure. Without this, the sequence is the same for each layer.
    #[must_use]
    pub fn dice(mut self, dice: Dice) -> Self {
        self.dice = dice;
        self
    }
}

// By hand: a derived one would ask the filters to be `Clone`, too.
impl<F: Kind> Clone for FilterLayer<F> {
    fn clone(&self) -> Self {
        Self { filters: Arc::clone(&self.filters), matches: Arc::clone(&self.matches), dice: self.dice.clone() }
    }
}

impl<S, F: Kind> Layer<S> for FilterLayer<F> {
    type Service = Filter<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { filters, matches, dice } = self.clone();
        Filter { inner, filters, matches, dice }
    }
}
