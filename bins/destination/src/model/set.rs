//! The endpoints of a name at one moment.

use std::{collections::BTreeMap, net::SocketAddr};

use meshkit_core::{Endpoint, Update};

/// Endpoints by address, with a digest by which two sides can tell whether they know the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSet {
    // First, for sets that differ almost always differ in it.
    digest: u64,
    endpoints: BTreeMap<SocketAddr, Endpoint>,
}

impl EndpointSet {
    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The digest of [`meshkit_balance::digest`]: a client that applied every update has the same.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// The endpoint at an address.
    #[must_use]
    pub fn get(&self, addr: SocketAddr) -> Option<&Endpoint> {
        self.endpoints.get(&addr)
    }

    /// The endpoints in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// What leads from this set to the next: additions and changes first, so that there is never less than there could be.
    #[must_use]
    pub fn updates_to(&self, next: &Self) -> Vec<Update> {
        let added: Vec<_> =
            next.endpoints.iter().filter(|(addr, e)| self.endpoints.get(*addr) != Some(*e)).map(|(_, e)| e.clone()).collect();
        let gone: Vec<_> = self.endpoints.keys().filter(|addr| !next.endpoints.contains_key(*addr)).copied().collect();
        let add = (!added.is_empty()).then_some(Update::Add(added));
        let remove = (!gone.is_empty()).then_some(Update::Remove(gone));
        add.into_iter().chain(remove).collect()
    }
}

impl FromIterator<Endpoint> for EndpointSet {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        let endpoints: BTreeMap<_, _> = endpoints.into_iter().map(|e| (e.addr, e)).collect();
        Self { digest: meshkit_balance::digest(endpoints.values()), endpoints }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn set() -> impl Strategy<Value = EndpointSet> {
        let endpoint = (0u8..20, 1u32..4).prop_map(|(host, weight)| Endpoint::new(([10, 0, 0, host], 80).into()).weight(weight));
        vec(endpoint, 0..20).prop_map(|all| all.into_iter().collect())
    }

    /// What a client does.
    fn apply(known: &EndpointSet, updates: Vec<Update>) -> EndpointSet {
        let mut all = known.endpoints.clone();
        for update in updates {
            match update {
                Update::Add(added) => all.extend(added.into_iter().map(|e| (e.addr, e))),
                Update::Remove(gone) => all.retain(|addr, _| !gone.contains(addr)),
                other => panic!("{other:?}"),
            }
        }
        all.into_values().collect()
    }

    proptest! {
        #[test]
        fn a_client_that_applies_the_updates_knows_the_next_set(before in set(), after in set()) {
            let updates = before.updates_to(&after);
            prop_assert_eq!(updates.is_empty(), before == after);
            let changed: usize = updates.iter().map(|u| match u { Update::Remove(gone) => gone.len(), other => other.endpoints().len() }).sum();
            let same = before.iter().filter(|e| after.get(e.addr) == Some(e)).count();
            prop_assert!(changed <= before.len() + after.len() - 2 * same, "no more is told than has changed");
            let reached = apply(&before, updates);
            prop_assert_eq!(reached.digest(), after.digest());
            prop_assert_eq!(reached, after);
        }
    }
}
