//! Who lives where: names, addresses and ranges of one cluster, as functions of its number.
//!
//! Cluster `n` owns three ranges, so that ten of them fit on one machine and can be routed to each other:
//! `10.(80+n).0.0/16` for pods (one `/24` a node), `10.(100+n).0.0/16` for services, `10.(120+n).0.0/24` for the wire that joins nodes and host.

use std::fmt;

/// How many clusters and how many nodes in each the address plan has room for.
pub(crate) const MOST: u8 = 10;

/// The shape of one cluster. Everything else about it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// Below [`MOST`], unlike that of any other cluster on this machine.
    pub(crate) number: u8,
    /// From one to [`MOST`].
    pub(crate) nodes: u8,
}

impl Plan {
    /// The names of all nodes. The first one also runs the control plane.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = u8> + use<> {
        0..self.nodes
    }

    pub(crate) fn node(&self, node: u8) -> String {
        format!("{}-{node}", self.name)
    }

    /// The value of `topology.kubernetes.io/zone`: one zone for each node.
    pub(crate) fn zone(&self, node: u8) -> String {
        format!("zone-{}", char::from(b'a' + node))
    }

    /// The node's own address, on the wire.
    pub(crate) fn node_address(&self, node: u8) -> String {
        format!("10.{}.0.{}", 120 + self.number, 1 + node)
    }

    /// The host's address on the wire.
    pub(crate) fn host_address(&self) -> String {
        format!("10.{}.0.254", 120 + self.number)
    }

    /// The pods of one node.
    pub(crate) fn pod_range(&self, node: u8) -> String {
        format!("10.{}.{node}.0/24", 80 + self.number)
    }

    /// The node's address among its pods.
    pub(crate) fn pod_gateway(&self, node: u8) -> String {
        format!("10.{}.{node}.1", 80 + self.number)
    }

    /// The pods of all nodes.
    pub(crate) fn cluster_range(&self) -> String {
        format!("10.{}.0.0/16", 80 + self.number)
    }

    pub(crate) fn service_range(&self) -> String {
        format!("10.{}.0.0/16", 100 + self.number)
    }

    /// The address of the Service `kubernetes`.
    pub(crate) fn api_service(&self) -> String {
        format!("10.{}.0.1", 100 + self.number)
    }

    /// The address of the Service `kube-dns`.
    pub(crate) fn dns_service(&self) -> String {
        format!("10.{}.0.10", 100 + self.number)
    }

    /// The API server as clients on the host and on any node reach it.
    pub(crate) fn api_server(&self) -> String {
        format!("https://{}:6443", self.node_address(0))
    }

    /// The folder in each cgroup hierarchy under which a kubelet puts its pods. Two kubelets that share one remove each other's pods:
    /// the number tells apart clusters of one name in two checkouts.
    pub(crate) fn cgroup(&self, node: u8) -> String {
        format!("meshkit-{}-{}", self.number, self.node(node))
    }

    /// The one network interface that the cluster adds to the host.
    pub(crate) fn host_link(&self) -> String {
        format!("mesh{}", self.number)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name={}\nnumber={}\nnodes={}", self.name, self.number, self.nodes)
    }
}

/// Reads what `Display` wrote.
pub(crate) fn parse(text: &str) -> Option<Plan> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Some(Plan { name: value("name")?.to_owned(), number: value("number")?.parse().ok()?, nodes: value("nodes")?.parse().ok()? })
}

/// A name must fit into those of nodes, cgroups and DNS.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=20).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits { Ok(()) } else { Err(format!("a cluster is named by 1 to 20 of a-z, 0-9 and -, beginning with a letter, not {name:?}")) }
}

/// The lowest number that is not `taken` and none of whose ranges appears in `routes`, the host's addresses and routes as `ip` prints them.
pub(crate) fn free_number(taken: &[u8], routes: &str) -> Option<u8> {
    let used = |number: u8| {
        [80, 100, 120].iter().any(|base| {
            let prefix = format!("10.{}.", base + number);
            routes.split_whitespace().any(|word| word.starts_with(&prefix))
        })
    };
    (0..MOST).find(|number| !taken.contains(number) && !used(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn plan(number: u8, nodes: u8) -> Plan {
        Plan { name: "mesh".into(), number, nodes }
    }

    #[test]
    fn no_two_clusters_share_a_range_or_an_address() {
        let mut seen = BTreeSet::new();
        for number in 0..MOST {
            let plan = plan(number, MOST);
            assert!(seen.insert(plan.service_range()) && seen.insert(plan.cluster_range()) && seen.insert(plan.host_address()));
            for node in plan.nodes() {
                assert!(seen.insert(plan.pod_range(node)) && seen.insert(plan.pod_gateway(node)) && seen.insert(plan.node_address(node)));
            }
        }
    }

    #[test]
    fn addresses_follow_from_the_number() {
        let plan = plan(2, 3);
        assert_eq!(plan.node(1), "mesh-1");
        assert_eq!(plan.zone(2), "zone-c");
        assert_eq!(plan.pod_range(1), "10.82.1.0/24");
        assert_eq!(plan.dns_service(), "10.102.0.10");
        assert_eq!(plan.api_server(), "https://10.122.0.1:6443");
        assert_eq!(plan.cgroup(0), "meshkit-2-mesh-0");
    }

    #[test]
    fn a_plan_is_read_back_as_it_was_written() {
        let plan = plan(7, 3);
        assert_eq!(parse(&plan.to_string()), Some(plan));
        assert_eq!(parse("name=x\nnumber=300\nnodes=1\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_number_is_free_when_nobody_has_it_and_the_host_routes_none_of_its_ranges() {
        assert_eq!(free_number(&[], ""), Some(0));
        assert_eq!(free_number(&[0, 2], "default via 192.0.2.1 dev eth0"), Some(1));
        assert_eq!(free_number(&[], "10.80.0.0/24 via 10.0.0.1 dev x\n10.101.3.0/24 dev y\n inet 10.122.0.254/24 scope global"), Some(3));
        assert_eq!(free_number(&[], "10.8.0.0/16 dev tun0"), Some(0));
        assert_eq!(free_number(&(0..MOST).collect::<Vec<_>>(), ""), None);
    }

    #[test]
    fn names_that_dns_would_refuse_are_refused() {
        for name in ["mesh", "m", "east-1"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", "Mesh", "1st", "-a", "a-", "a_b", "a/b", "a-name-that-is-too-long"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
