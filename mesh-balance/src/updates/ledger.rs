use std::{collections::HashMap, net::SocketAddr};

use meshkit_core::{Endpoint, Update};

use crate::digest::part;

/// What a sequence of updates amounts to, as a digest: see [`digest`](crate::digest()). It keeps a number for each address, and no endpoint.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    parts: HashMap<SocketAddr, u64>,
    sum: u64,
}

impl Ledger {
    /// Takes an update down.
    pub fn apply(&mut self, update: &Update) {
        match update {
            Update::Add(endpoints) => endpoints.iter().for_each(|endpoint| self.add(endpoint)),
            Update::Remove(addrs) => addrs.iter().for_each(|addr| self.remove(addr)),
            Update::Reset(endpoints) => {
                *self = Self::default();
                endpoints.iter().for_each(|endpoint| self.add(endpoint));
            }
            Update::DoesNotExist => *self = Self::default(),
        }
    }

    /// The digest of what there is.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.sum
    }

    fn add(&mut self, endpoint: &Endpoint) {
        self.remove(&endpoint.addr);
        let part = part(endpoint);
        self.parts.insert(endpoint.addr, part);
        self.sum = self.sum.wrapping_add(part);
    }

    fn remove(&mut self, addr: &SocketAddr) {
        self.sum = self.sum.wrapping_sub(self.parts.remove(addr).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn updates() -> impl Strategy<Value = Update> {
        let endpoint = || (1u8..6, 1u32..4).prop_map(|(n, weight)| Endpoint::new(([10, 0, 0, n], 80).into()).weight(weight));
        let some = move || proptest::collection::vec(endpoint(), 0..4);
        prop_oneof![
            some().prop_map(Update::Add),
            some().prop_map(|gone| Update::Remove(gone.iter().map(|e| e.addr).collect())),
            some().prop_map(Update::Reset),
            Just(Update::DoesNotExist),
        ]
    }

    proptest! {
        #[test]
        fn a_ledger_has_the_digest_of_what_the_updates_leave(updates in proptest::collection::vec(updates(), 0..20)) {
            let (mut ledger, mut set) = (Ledger::default(), BTreeMap::new());
            for update in updates {
                ledger.apply(&update);
                match &update {
                    Update::Add(_) => {}
                    Update::Remove(gone) => set.retain(|addr, _| !gone.contains(addr)),
                    Update::Reset(_) | Update::DoesNotExist => set.clear(),
                }
                set.extend(update.endpoints().iter().map(|e| (e.addr, e.clone())));
                prop_assert_eq!(ledger.digest(), crate::digest(set.values()));
            }
        }
    }
}
