//! All Pods, those that exist and those that slices only mention.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hashbrown::HashTable;

use super::{
    Pod, State,
    changed::{Changed, ServiceKey},
    pool::Text,
};

/// The place of a Pod among the others. It stays for as long as the Pod exists or a slice mentions it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PodId(u32);

/// Pods by name and address.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    slots: Vec<Option<Box<Slot>>>,
    free: Vec<u32>,
    names: HashTable<u32>,
    v4: HashTable<u32>,
    v6: HashTable<u32>,
    hosts: HashMap<SocketAddr, Vec<u32>>,
    hasher: RandomState,
}

/// A Pod that exists, or one that is only mentioned.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) namespace: Text,
    pub(crate) name: Text,
    pub(crate) pod: Option<Pod>,
    mentions: Mentions,
}

/// The Services whose slices mention a Pod, once for each mention.
#[derive(Debug, Default)]
enum Mentions {
    #[default]
    None,
    One(Arc<ServiceKey>),
    // Two pointers are less than an empty list, and most Pods are mentioned once.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<Arc<ServiceKey>>>),
}

impl Pods {
    /// The Pod that exists at a place.
    pub(crate) fn get(&self, id: PodId) -> Option<(&Slot, &Pod)> {
        let slot = self.slot(id.0)?;
        Some((slot, slot.pod.as_ref()?))
    }

    /// The Pod of a name.
    pub(crate) fn named(&self, namespace: &str, name: &str) -> Option<(&Slot, &Pod)> {
        self.get(self.find(namespace, name)?)
    }

    /// Pods that have the address for themselves.
    pub(crate) fn at(&self, ip: IpAddr) -> Vec<(&Slot, &Pod)> {
        let table = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        let same_hash = table.iter_hash(self.hasher.hash_one(ip)).filter_map(|id| self.get(PodId(*id)));
        let mut found: Vec<_> = same_hash.filter(|(_, pod)| pod.own_ips().any(|own| own == ip)).collect();
        found.sort_unstable_by_key(|(slot, _)| (&slot.namespace, &slot.name));
        keep_staying(&mut found);
        found
    }

    /// Pods that listen on a port of their node.
    pub(crate) fn at_host(&self, addr: SocketAddr) -> Vec<(&Slot, &Pod)> {
        let mut found: Vec<_> = self.hosts.get(&addr).into_iter().flatten().filter_map(|id| self.get(PodId(*id))).collect();
        found.sort_unstable_by_key(|(slot, _)| (&slot.namespace, &slot.name));
        found.dedup_by_key(|(slot, _)| (&slot.namespace, &slot.name));
        keep_staying(&mut found);
        found
    }

    /// The Pods that exist.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PodId, &Slot, &Pod)> {
        (0..).zip(&self.slots).filter_map(|(id, slot)| {
            let slot = slot.as_deref()?;
            Some((PodId(id), slot, slot.pod.as_ref()?))
        })
    }

    /// Says what a Pod is now.
    pub(super) fn set(&mut self, namespace: &Text, name: &str, pod: Option<Pod>, changed: &mut Changed) {
        let id = match (&pod, self.find(namespace, name)) {
            (_, Some(id)) => id,
            (None, None) => return,
            (Some(_), None) => self.add(namespace, name.into()),
        };
        let Some(slot) = self.slots[id.0 as usize].as_deref_mut() else { return };
        if slot.pod == pod {
            return;
        }
        let before = mem::replace(&mut slot.pod, pod);
        if let Some(before) = &before {
            self.forget_addrs(id, before);
        }
        self.touch(id, changed);
        let mut all: Vec<_> = before.iter().chain(self.slot(id.0).and_then(|slot| slot.pod.as_ref())).flat_map(addrs).collect();
        all.sort_unstable();
        changed.ips.extend(all);
        self.add_addrs(id);
        self.forget_unused(id);
    }

    /// A slice of a Service mentions the Pod.
    pub(super) fn mention(&mut self, namespace: &Text, name: &str, by: &Arc<ServiceKey>) -> PodId {
        let id = self.find(namespace, name).unwrap_or_else(|| self.add(namespace, name.into()));
        if let Some(slot) = self.slots[id.0 as usize].as_deref_mut() {
            slot.mentions.add(Arc::clone(by));
        }
        id
    }

    /// A slice of a Service does not mention the Pod any more.
    pub(super) fn unmention(&mut self, id: PodId, by: &Arc<ServiceKey>) {
        if let Some(slot) = self.slots[id.0 as usize].as_deref_mut() {
            slot.mentions.remove(by);
        }
        self.forget_unused(id);
    }

    /// Who mentions the Pod may have another answer, and who asks for its addresses.
    pub(super) fn touch(&self, id: PodId, changed: &mut Changed) {
        let Some(slot) = self.slot(id.0) else { return };
        changed.services.extend(slot.mentions.as_slice().iter().cloned());
        changed.ips.extend(slot.pod.iter().flat_map(addrs));
    }

    /// The name that the Pod has here, for those who would hold it a second time.
    pub(super) fn name(&self, id: PodId) -> Option<&Text> {
        self.slot(id.0).map(|slot| &slot.name)
    }

    fn slot(&self, id: u32) -> Option<&Slot> {
        self.slots.get(id as usize)?.as_deref()
    }

    fn find(&self, namespace: &str, name: &str) -> Option<PodId> {
        let is_it = |id: &u32| self.slot(*id).is_some_and(|slot| *slot.name == *name && *slot.namespace == *namespace);
        self.names.find(self.hasher.hash_one((namespace, name)), is_it).map(|id| PodId(*id))
    }

    fn add(&mut self, namespace: &Text, name: Text) -> PodId {
        let slot = Slot { namespace: Arc::clone(namespace), name, pod: None, mentions: Mentions::None };
        let hash = self.hasher.hash_one((&*slot.namespace, &*slot.name));
        let slot = Some(Box::new(slot));
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("there are fewer than four thousand million Pods")
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.names.insert_unique(hash, id, |id| {
            slots[*id as usize].as_deref().map_or(0, |slot| hasher.hash_one((&*slot.namespace, &*slot.name)))
        });
        PodId(id)
    }

    fn add_addrs(&mut self, id: PodId) {
        let (slots, hasher) = (&self.slots, &self.hasher);
        let Some(pod) = slots[id.0 as usize].as_deref().and_then(|slot| slot.pod.as_ref()) else { return };
        for ip in pod.own_ips() {
            let table = if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
            // A Pod has one address of a family, and stands in the table only as long as it has that one.
            let again = |id: &u32| {
                let known = slots[*id as usize].as_deref().and_then(|slot| slot.pod.as_ref());
                known.into_iter().flat_map(Pod::own_ips).find(|known| known.is_ipv4() == ip.is_ipv4()).map_or(0, |ip| hasher.hash_one(ip))
            };
            table.insert_unique(hasher.hash_one(ip), id.0, again);
        }
        for (ip, port) in pod.host_ports() {
            self.hosts.entry(SocketAddr::new(ip, port)).or_default().push(id.0);
        }
    }

    fn forget_addrs(&mut self, id: PodId, pod: &Pod) {
        for ip in pod.own_ips() {
            let table = if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
            if let Ok(entry) = table.find_entry(self.hasher.hash_one(ip), |of| *of == id.0) {
                entry.remove();
            }
        }
        for (ip, port) in pod.host_ports() {
            let addr = SocketAddr::new(ip, port);
            if let Some(ids) = self.hosts.get_mut(&addr) {
                ids.retain(|of| *of != id.0);
                if ids.is_empty() {
                    self.hosts.remove(&addr);
                }
            }
        }
    }

    fn forget_unused(&mut self, id: PodId) {
        let Some(slot) = self.slots[id.0 as usize].take_if(|slot| slot.pod.is_none() && slot.mentions.as_slice().is_empty()) else {
            return;
        };
        let hash = self.hasher.hash_one((&*slot.namespace, &*slot.name));
        if let Ok(entry) = self.names.find_entry(hash, |of| *of == id.0) {
            entry.remove();
        }
        self.free.push(id.0);
    }
}

/// A Pod that leaves gives way to one that has its address already.
fn keep_staying(found: &mut Vec<(&Slot, &Pod)>) {
    if found.iter().any(|(_, pod)| pod.state != State::Leaving) {
        found.retain(|(_, pod)| pod.state != State::Leaving);
    }
}

fn addrs(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    pod.ips().chain(pod.place.host.filter(|_| pod.host_ports().next().is_some()))
}

impl Mentions {
    fn as_slice(&self) -> &[Arc<ServiceKey>] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }

    fn add(&mut self, by: Arc<ServiceKey>) {
        *self = match mem::take(self) {
            Self::None => Self::One(by),
            Self::One(first) => Self::Many(Box::new(vec![first, by])),
            Self::Many(mut all) => {
                all.push(by);
                Self::Many(all)
            }
        };
    }

    fn remove(&mut self, by: &Arc<ServiceKey>) {
        *self = match mem::take(self) {
            Self::One(only) if only == *by => Self::None,
            Self::Many(mut all) => {
                all.iter().position(|known| known == by).map(|position| all.swap_remove(position));
                match <[_; 1]>::try_from(*all) {
                    Ok([only]) => Self::One(only),
                    Err(all) => Self::Many(Box::new(all)),
                }
            }
            other => other,
        };
    }
}
