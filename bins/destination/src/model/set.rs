//! The endpoints of a name at one moment.

use std::{net::SocketAddr, sync::Arc};

use meshkit_core::{Endpoint, Update};

use super::{
    endpoint::{POD_LABEL, Side, labelled},
    view::Text,
};

/// Stands in for an address where facts are shared by endpoints that have others.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// Endpoints by address, with a digest by which two sides can tell whether they know the same.
///
/// What endpoints have in common is held once: one more is its address, the name of its Pod, and a reference. Clients of several zones share
/// it, too, although each sees its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSet {
    /// In the order of their addresses.
    entries: Arc<[Entry]>,
    /// Whose view of them it is.
    side: Side,
}

/// One endpoint of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    addr: SocketAddr,
    /// The name of its Pod, which is told as a label.
    pod: Option<Text>,
    /// Everything else that does not depend on the client.
    facts: Arc<Endpoint>,
}

/// What leads from one set to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Step {
    added: Box<[Entry]>,
    gone: Box<[SocketAddr]>,
    side: Side,
}

impl EndpointSet {
    /// Of several endpoints with one address the last counts.
    pub(super) fn new(mut entries: Vec<Entry>, side: Side) -> Self {
        entries.reverse();
        entries.sort_by_key(Entry::addr);
        entries.dedup_by_key(|entry| entry.addr);
        Self { entries: entries.into(), side }
    }

    /// The same set, which shares its endpoints with another if they are equal.
    pub(crate) fn like(self, other: &Self) -> Self {
        let entries = if self.entries == other.entries { Arc::clone(&other.entries) } else { self.entries };
        Self { entries, ..self }
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The digest of [`meshkit_balance::digest`]: a client that applied every update has the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let all: Vec<_> = self.iter().collect();
        meshkit_balance::digest(&all)
    }

    /// The endpoint at an address.
    #[must_use]
    pub fn get(&self, addr: SocketAddr) -> Option<Endpoint> {
        let found = self.entries.binary_search_by_key(&addr, |entry| entry.addr).ok()?;
        Some(self.entries[found].endpoint(&self.side))
    }

    /// The endpoints in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = Endpoint> {
        self.entries.iter().map(|entry| entry.endpoint(&self.side))
    }

    /// What leads from this set to the next: additions and changes first, so that there is never less than there could be.
    #[must_use]
    pub fn updates_to(&self, next: &Self) -> Vec<Update> {
        self.step_to(next).updates()
    }

    pub(crate) fn step_to(&self, next: &Self) -> Step {
        let (mut added, mut gone) = (Vec::new(), Vec::new());
        let (mut before, mut after) = (&*self.entries, &*next.entries);
        // Seen from elsewhere, an endpoint is another one.
        let is_same =
            |old: &Entry, new: &Entry| old == new && (self.side == next.side || old.endpoint(&self.side) == new.endpoint(&next.side));
        loop {
            match (before.split_first(), after.split_first()) {
                (None, None) => return Step { added: added.into(), gone: gone.into(), side: next.side.clone() },
                (Some((old, rest)), None) => {
                    gone.push(old.addr);
                    before = rest;
                }
                (Some((old, rest)), Some((new, _))) if old.addr < new.addr => {
                    gone.push(old.addr);
                    before = rest;
                }
                (old, Some((new, rest))) => {
                    let same_addr = old.filter(|(old, _)| old.addr == new.addr);
                    if same_addr.is_none_or(|(old, _)| !is_same(old, new)) {
                        added.push(new.clone());
                    }
                    before = same_addr.map_or(before, |(_, rest)| rest);
                    after = rest;
                }
            }
        }
    }
}

impl Entry {
    /// An endpoint of a Pod shares its facts with others of the same workload.
    pub(crate) fn new(addr: SocketAddr, pod: Option<Text>, facts: Arc<Endpoint>) -> Self {
        Self { addr, pod, facts }
    }

    /// What is told of an endpoint besides its address.
    pub(crate) fn facts(mut endpoint: Endpoint) -> Arc<Endpoint> {
        endpoint.addr = NOWHERE;
        Arc::new(endpoint)
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn endpoint(&self, side: &Side) -> Endpoint {
        let mut endpoint = side.sees(Endpoint::clone(&self.facts));
        endpoint.addr = self.addr;
        match &self.pod {
            Some(pod) => labelled(endpoint, POD_LABEL, pod),
            None => endpoint,
        }
    }
}

impl Step {
    /// The same step in the terms of the API.
    pub(crate) fn updates(&self) -> Vec<Update> {
        let add = (!self.added.is_empty()).then(|| Update::Add(self.added.iter().map(|entry| entry.endpoint(&self.side)).collect()));
        let remove = (!self.gone.is_empty()).then(|| Update::Remove(self.gone.to_vec()));
        add.into_iter().chain(remove).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::settings::ZoneWeights;

    fn set() -> impl Strategy<Value = EndpointSet> {
        let endpoint = (0u8..20, 8080u16..8082, proptest::option::of("[ab]")).prop_map(|(host, tagged, zone)| {
            let labels = zone.map(|zone| ("zone".to_owned(), zone)).into_iter().collect();
            let facts = Entry::facts(Endpoint::new(([10, 0, 0, host], 80).into()).labels(labels).tagged_port(tagged.try_into().unwrap()));
            Entry::new(([10, 0, 0, host], 80).into(), None, facts)
        });
        let weights = prop_oneof![Just(ZoneWeights::Equal), Just(ZoneWeights::PreferLocal)];
        let side = ("[ab]?", weights).prop_map(|(zone, weights)| Side { zone: zone.into(), weights });
        (vec(endpoint, 0..20), side).prop_map(|(entries, side)| EndpointSet::new(entries, side))
    }

    fn told(set: &EndpointSet) -> BTreeMap<SocketAddr, Endpoint> {
        set.iter().map(|e| (e.addr, e)).collect()
    }

    /// What a client does.
    fn apply(known: &EndpointSet, updates: Vec<Update>) -> BTreeMap<SocketAddr, Endpoint> {
        let mut all = told(known);
        for update in updates {
            match update {
                Update::Add(added) => all.extend(added.into_iter().map(|e| (e.addr, e))),
                Update::Remove(gone) => all.retain(|addr, _| !gone.contains(addr)),
                other => panic!("{other:?}"),
            }
        }
        all
    }

    proptest! {
        #[test]
        fn a_client_that_applies_the_updates_knows_the_next_set(before in set(), after in set()) {
            let updates = before.updates_to(&after);
            prop_assert_eq!(updates.is_empty(), told(&before) == told(&after));
            let changed: usize = updates.iter().map(|u| match u { Update::Remove(gone) => gone.len(), other => other.endpoints().len() }).sum();
            let same = before.iter().filter(|e| after.get(e.addr).as_ref() == Some(e)).count();
            prop_assert!(changed <= before.len() + after.len() - 2 * same, "no more is told than has changed");
            let reached = apply(&before, updates);
            prop_assert_eq!(meshkit_balance::digest(reached.values()), after.digest());
            prop_assert_eq!(reached, told(&after));
        }

        #[test]
        fn sets_that_share_are_what_they_were(one in set(), other in set()) {
            let shared = one.clone().like(&other);
            prop_assert_eq!(&shared, &one);
            prop_assert_eq!(Arc::ptr_eq(&shared.entries, &other.entries), one.entries == other.entries);
        }
    }

    #[test]
    fn of_several_endpoints_with_one_address_the_last_counts() {
        let entry = |tagged: u16| {
            let addr = "10.0.0.1:80".parse().unwrap();
            Entry::new(addr, None, Entry::facts(Endpoint::new(addr).tagged_port(tagged.try_into().unwrap())))
        };
        let set = EndpointSet::new(vec![entry(1), entry(3), entry(2)], Side::default());
        assert_eq!(set.iter().map(|e| e.tagged_port.unwrap().get()).collect::<Vec<_>>(), [2]);
    }
}
