//! Values that many objects have, held once.

use std::{collections::HashSet, hash::Hash, sync::Arc};

/// What nobody holds any more is looked for when there are this many values, and again when their number has doubled.
const FEW: usize = 64;

/// A text that many objects have.
pub(crate) type Text = Arc<str>;

/// Equal values as one.
#[derive(Debug)]
pub(crate) struct Pool<T: ?Sized> {
    all: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized + Hash + Eq> Pool<T> {
    /// The value that is equal to this one.
    fn keep(&mut self, value: Arc<T>) -> Arc<T> {
        if self.all.len() >= self.sweep_at {
            self.all.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = FEW.max(2 * self.all.len());
            self.all.shrink_to(self.sweep_at);
        }
        self.all.insert(Arc::clone(&value));
        value
    }
}

impl<T: Hash + Eq> Pool<T> {
    pub(crate) fn share(&mut self, value: T) -> Arc<T> {
        match self.all.get(&value) {
            Some(known) => Arc::clone(known),
            None => self.keep(Arc::new(value)),
        }
    }
}

impl Pool<str> {
    pub(crate) fn text(&mut self, text: &str) -> Text {
        match self.all.get(text) {
            Some(known) => Arc::clone(known),
            None => self.keep(text.into()),
        }
    }

    pub(crate) fn texts<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Box<[(Text, Text)]> {
        pairs.into_iter().map(|(key, value)| (self.text(key), self.text(value))).collect()
    }
}

impl<T: Hash + Eq> Pool<[T]> {
    pub(crate) fn list(&mut self, list: Vec<T>) -> Arc<[T]> {
        match self.all.get(list.as_slice()) {
            Some(known) => Arc::clone(known),
            None => self.keep(list.into()),
        }
    }
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { all: HashSet::new(), sweep_at: FEW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_for_as_long_as_somebody_has_them() {
        let mut pool = Pool::<str>::default();
        let (one, same, other) = (pool.text("one"), pool.text("one"), pool.text("other"));
        assert!(Arc::ptr_eq(&one, &same) && *other == *"other");
        for number in 0..100 * FEW {
            pool.text(&number.to_string());
        }
        assert!(pool.all.len() <= FEW && Arc::ptr_eq(&one, &pool.text("one")), "{} are kept", pool.all.len());
    }
}
