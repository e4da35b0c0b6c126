use std::{collections::HashSet, net::IpAddr, sync::Arc};

use super::pool::Text;

/// A Service, there or not.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceKey {
    pub(crate) namespace: Text,
    pub(crate) name: Text,
}

/// What may have another answer than before.
#[derive(Debug, Default)]
pub struct Changed {
    pub(crate) services: HashSet<Arc<ServiceKey>>,
    pub(crate) ips: HashSet<IpAddr>,
    /// Nodes that have another zone.
    pub(crate) nodes: HashSet<Text>,
}

impl Changed {
    /// Is everything as it was?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.ips.is_empty() && self.nodes.is_empty()
    }
}
