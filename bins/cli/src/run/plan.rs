//! Which address of 127.0.0.0/8 stands for what.
//!
//! One run owns one block `127.A.0.0/16`:
//!
//! | range | stands for |
//! |---|---|
//! | `127.A.0.1` | the control plane |
//! | `127.A.1.0` to `127.A.15.255` | cluster IPs of Services |
//! | `127.A.16.0` to `127.A.63.255` | replicas: their pods' IPs |
//! | `127.A.64.0` to `127.A.255.255` | a Service as one replica sees it: where that replica's own proxy accepts for it |
//!
//! A name keeps its address for as long as the plan lives, and gets the same one again in a new plan unless another name took it first: the
//! address is the name's hash, moved on while taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
    path::Path,
};

use ipnet::Ipv4Net;

/// Blocks that a run may take: the low ones are in use on many machines, the highest is broadcast-like.
const BLOCKS: std::ops::Range<u8> = 16..250;
const SERVICES: (u16, u16) = (0x0100, 0x0fff);
const REPLICAS: (u16, u16) = (0x1000, 0x3fff);
const PAIRS: (u16, u16) = (0x4000, 0xffff);

/// A namespace and a name in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Name {
    /// Joins the two.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The addresses of one run.
#[derive(Debug)]
pub struct Plan {
    block: u8,
    services: Range,
    replicas: Range,
    pairs: Range,
}

/// A range has no address left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    what: &'static str,
    limit: usize,
}

#[derive(Debug)]
struct Range {
    what: &'static str,
    first: u16,
    last: u16,
    by_name: BTreeMap<String, u16>,
    taken: BTreeSet<u16>,
}

impl Plan {
    /// The plan of a state folder: its block follows from the folder's path, so that two runs on one machine rarely meet.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        let span = u64::from(BLOCKS.end - BLOCKS.start);
        let offset = hash(state.to_string_lossy().as_bytes()) % span;
        Self::in_block(BLOCKS.start + u8::try_from(offset).expect("smaller than the span of blocks"))
    }

    fn in_block(block: u8) -> Self {
        let range = |what, (first, last)| Range { what, first, last, by_name: BTreeMap::new(), taken: BTreeSet::new() };
        Self {
            block,
            services: range("Services", SERVICES),
            replicas: range("replicas", REPLICAS),
            pairs: range("Services as seen by replicas", PAIRS),
        }
    }

    /// Every address of the plan: the cluster's networks.
    #[must_use]
    pub fn network(&self) -> Ipv4Net {
        Ipv4Net::new(Ipv4Addr::new(127, self.block, 0, 0), 16).expect("16 is a prefix length")
    }

    /// Where the control plane listens.
    #[must_use]
    pub const fn control_plane(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.block, 0, 1)
    }

    /// The cluster IP of a Service.
    ///
    /// # Errors
    /// There are more Services than addresses.
    pub fn service(&mut self, service: &Name) -> Result<Ipv4Addr, Exhausted> {
        let host = self.services.assign(&service.to_string())?;
        Ok(self.address(host))
    }

    /// The pod IP of a replica.
    ///
    /// # Errors
    /// There are more replicas than addresses.
    pub fn replica(&mut self, pod: &Name) -> Result<Ipv4Addr, Exhausted> {
        let host = self.replicas.assign(&pod.to_string())?;
        Ok(self.address(host))
    }

    /// Where a replica reaches a Service.
    ///
    /// # Errors
    /// There are more pairs than addresses.
    pub fn pair(&mut self, pod: &Name, service: &Name) -> Result<Ipv4Addr, Exhausted> {
        let host = self.pairs.assign(&format!("{pod} {service}"))?;
        Ok(self.address(host))
    }

    const fn address(&self, host: u16) -> Ipv4Addr {
        let [high, low] = host.to_be_bytes();
        Ipv4Addr::new(127, self.block, high, low)
    }
}

impl Range {
    fn assign(&mut self, name: &str) -> Result<u16, Exhausted> {
        if let Some(host) = self.by_name.get(name) {
            return Ok(*host);
        }
        let limit = usize::from(self.last - self.first) + 1;
        if self.taken.len() == limit {
            return Err(Exhausted { what: self.what, limit });
        }
        let offset = u16::try_from(hash(name.as_bytes()) % limit as u64).expect("a range is at most 65536 long");
        let mut host = self.first + offset;
        while !self.taken.insert(host) {
            host = if host == self.last { self.first } else { host + 1 };
        }
        self.by_name.insert(name.to_owned(), host);
        Ok(host)
    }
}

/// FNV-1a: the same on every machine and in every version, unlike the standard library's.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} {} do not fit on one machine's loopback addresses", self.limit, self.what)
    }
}

impl std::error::Error for Exhausted {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_gets_it_again() {
        let (mut one, mut two) = (Plan::in_block(40), Plan::in_block(40));
        let web = Name::new("emojivoto", "web-svc");
        let address = one.service(&web).unwrap();
        assert_eq!(one.service(&web), Ok(address));
        assert_eq!(two.service(&web), Ok(address));
        assert!(one.network().contains(&address));
    }

    #[test]
    fn a_full_range_is_said_to_be_full() {
        let mut plan = Plan::in_block(40);
        let assign = |plan: &mut Plan, n: u32| plan.service(&Name::new("ns", &format!("svc-{n}")));
        let limit = u32::from(SERVICES.1 - SERVICES.0) + 1;
        for n in 0..limit {
            assign(&mut plan, n).unwrap();
        }
        let full = assign(&mut plan, limit).unwrap_err();
        assert_eq!(full.to_string(), "more than 3840 Services do not fit on one machine's loopback addresses");
    }

    proptest! {
        #[test]
        fn no_address_stands_for_two_things(names in proptest::collection::btree_set("[a-c]{1,3}", 1..30), block in BLOCKS) {
            let mut plan = Plan::in_block(block);
            let mut seen = BTreeSet::from([plan.control_plane()]);
            for name in &names {
                let name = Name::new("ns", name);
                prop_assert!(seen.insert(plan.service(&name).unwrap()));
                prop_assert!(seen.insert(plan.replica(&name).unwrap()));
                prop_assert!(seen.insert(plan.pair(&name, &name).unwrap()));
            }
        }
    }
}
