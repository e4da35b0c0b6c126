use meshkit_manifest::Kind;

use crate::Failure;

/// Hears how a [`Source`](super::Source) fares. Every method does nothing by default.
pub trait Observe: Send + Sync + 'static {
    /// A watch was opened.
    fn connected(&self, kind: Kind) {
        let _ = kind;
    }
    /// All objects of a kind were read; `again` if not for the first time. Their number.
    fn listed(&self, kind: Kind, again: bool, count: usize) {
        let _ = (kind, again, count);
    }
    /// A list or a watch failed. It is tried again.
    fn failed(&self, kind: Kind, failure: &Failure) {
        let _ = (kind, failure);
    }
    /// An object cannot be used, and is passed over: `why` says which one and what is wrong.
    fn passed_over(&self, kind: Kind, why: &str) {
        let _ = (kind, why);
    }
    /// How many objects of a kind are known now.
    fn known(&self, kind: Kind, count: usize) {
        let _ = (kind, count);
    }
}

impl Observe for () {}
