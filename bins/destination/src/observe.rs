//! What an index tells whoever measures it.

use std::fmt;

use crate::{
    index::Endpoints,
    target::{Name, Target},
};

/// Hears what an index does. Every method does nothing by default.
///
/// How many wait for what, and how many endpoints it has, is asked for with [`Index::watched`](crate::Index::watched): such numbers belong to
/// questions, and go with them.
pub trait Observe: fmt::Debug + Send + Sync + 'static {
    /// The clients on a node that wait for the endpoints of a name are told others.
    fn endpoints(&self, name: &Name, node: &str, now: &Endpoints) {
        let _ = (name, node, now);
    }

    /// The clients in a namespace that wait for a profile are told another.
    fn profile(&self, target: &Target, namespace: &str) {
        let _ = (target, namespace);
    }

    /// A client was refused because of the bound that a setting of this name sets.
    fn refused(&self, setting: &'static str) {
        let _ = setting;
    }
}

impl Observe for () {}
