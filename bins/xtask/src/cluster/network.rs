//! The wire between host and nodes, as input of `ip -batch`.

use super::plan::Plan;

/// On the host: one interface, whose other end is in the namespaces of the wire, and the routes through it.
pub(crate) fn host(plan: &Plan, wire: u32) -> String {
    let link = plan.host_link();
    let mut text = format!(
        "link add {link} type veth peer name host netns {wire}\naddr add {host}/24 dev {link}\nlink set {link} up\nroute add {services} via {first}\n",
        host = plan.host_address(),
        services = plan.service_range(),
        first = plan.node_address(0),
    );
    for node in plan.nodes() {
        text += &format!("route add {} via {}\n", plan.pod_range(node), plan.node_address(node));
    }
    text
}

/// In the wire: the host's plug.
pub(crate) fn host_plug() -> String {
    "link set host master wire up\n".into()
}

/// In the wire: the plug of a node, whose first process is `machine` on the host.
pub(crate) fn node_plug(node: u8, machine: u32) -> String {
    format!("link add node{node} type veth peer name eth0 netns {machine}\nlink set node{node} master wire up\n")
}

/// In a node: its address, and the routes to the other nodes' pods. Whatever else there is lies behind the host, which forwards nothing by itself.
pub(crate) fn node(plan: &Plan, node: u8) -> String {
    let mut text =
        format!("addr add {}/24 dev eth0\nlink set eth0 up\nroute add default via {}\n", plan.node_address(node), plan.host_address());
    for other in plan.nodes().filter(|other| *other != node) {
        text += &format!("route add {} via {}\n", plan.pod_range(other), plan.node_address(other));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { name: "mesh".into(), number: 1, nodes: 2 }
    }

    #[test]
    fn the_host_has_one_interface_and_a_route_to_every_pod_and_service() {
        let expected = "\
link add mesh1 type veth peer name host netns 42
addr add 10.121.0.254/24 dev mesh1
link set mesh1 up
route add 10.101.0.0/16 via 10.121.0.1
route add 10.81.0.0/24 via 10.121.0.1
route add 10.81.1.0/24 via 10.121.0.2
";
        assert_eq!(host(&plan(), 42), expected);
    }

    #[test]
    fn a_node_has_a_route_to_every_other_node_and_none_to_itself() {
        let expected = "\
addr add 10.121.0.2/24 dev eth0
link set eth0 up
route add default via 10.121.0.254
route add 10.81.0.0/24 via 10.121.0.1
";
        assert_eq!(node(&plan(), 1), expected);
    }
}
